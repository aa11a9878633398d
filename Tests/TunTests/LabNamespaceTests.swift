// `chitcp lab --namespaces`: real IP between our TCP and the kernel's, and nothing of it left, however it ends.
import Glibc
import TCPSegments
import TestSupport
import Testing

@Suite(
    "chitcp lab with namespaces", .timeLimit(.minutes(15)),
    .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct LabNamespaceTests {
    /// A lab of two daemons and a kernel; what is left of it is taken away with this object.
    private final class Lab {
        static let trio = """
            hosts:
              alice:
              bob:
              linux: {kernel: true}
            links:
              - between: [alice, linux]
                there: loss=1%,delay=2ms
                back: loss=1%,delay=2ms

            """
        let name: String
        private var lastPort: UInt16 = 7
        let folder: String
        let file: String

        init(_ name: String, _ text: String = Lab.trio) throws {
            self.name = "\(name)-\(getpid())"
            var template = Array("/tmp/chitcp-lab-XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            folder = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            file = folder + "/lab.yaml"
            let text = "name: \(self.name)\n" + text
            let stream = try #require(fopen(file, "w"))
            fputs(text, stream)
            fclose(stream)
        }

        /// Runs `chitcp lab` with these words in a shell; what it says, and whether it succeeds.
        func callAsFunction(_ words: String) throws -> (code: Int32, said: String) {
            let process = try CommandProcess(
                script: "export CHITCP_LABS=\(folder)/labs; exec \(CommandProcess.path) lab \(words)")
            let code = process.wait()
            return (code, process.said)
        }

        var namespaces: [String] {
            guard let directory = opendir("/run/netns") else { return [] }
            defer { closedir(directory) }
            var names: [String] = []
            while let entry = readdir(directory) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name.hasPrefix("chitcp.\(self.name)") { names.append(name) }
            }
            return names
        }

        func freshPort() -> UInt16 {
            lastPort += 1
            return lastPort
        }

        deinit {
            _ = try? self("down")
            for name in ["labs/.lock", "lab.yaml"] { unlink(folder + "/" + name) }
            rmdir(folder + "/labs")
            rmdir(folder)
        }
    }

    @Test("hosts reach each other, TCP crosses the impaired link both ways, and down leaves nothing")
    func life() throws {
        let lab = try Lab("life")
        let up = try lab("up --namespaces \(lab.file)")
        #expect(up.code == 0 && up.said.contains("linux  10.88.0.3 fd88::3  the Linux kernel"), "\(up.said)")
        #expect(lab.namespaces.count == 4)
        let own = CommandProcess.path
        // Our server, and the kernel's client.
        let server = try CommandProcess(
            script: "export CHITCP_LABS=\(lab.folder)/labs; exec \(own) lab exec alice -- \(own) echo --port 7 --once")
        try waitFor { try lab("exec alice -- \(own) sockets").said.contains("LISTEN") }
        let echoed = try lab("exec linux -- bash -c 'exec 3<>/dev/tcp/@alice/7; echo hello >&3; head -n 1 <&3'")
        try #require(echoed.code == 0 && echoed.said == "hello\n", "\(echoed.said)")
        _ = server.wait()
        // Between two daemons, over IP as well.
        let second = try CommandProcess(
            script: "export CHITCP_LABS=\(lab.folder)/labs; exec \(own) lab exec bob -- \(own) echo --port 7 --once")
        try waitFor { try lab("exec bob -- \(own) sockets").said.contains("LISTEN") }
        let through = try lab("exec alice -- sh -c 'echo again | \(own) cat @bob 7'")
        try #require(through.code == 0 && through.said == "again\n", "\(through.said)")
        _ = second.wait()
        let status = try lab("status")
        #expect(status.said.contains("alice: what goes to 10.88.0.3: loss=1% delay=2ms seed=1"), "\(status.said)")
        #expect(status.said.contains("alice: what comes from 10.88.0.3: loss=1% delay=2ms seed=1"), "\(status.said)")
        #expect(try lab("down").code == 0)
        #expect(lab.namespaces.isEmpty)
    }

    /// A word from a program of `client` that knows nothing of chiTCP to a server of `server` and back.
    private func echo(_ lab: Lab, from client: String, to server: String, at address: String) throws {
        let own = CommandProcess.path
        // A port of its own: a program that is just being started may hold a copy of the listener before.
        let port = lab.freshPort()
        let call = "exec \(client) -- bash -c 'exec 3<>/dev/tcp/\(address)/\(port); echo hello >&3; head -n 1 <&3'"
        if server == "linux" {
            let text = try lab("exec linux -- echo \(address)").said.split(separator: "\n").first
            let endpoint = Endpoint(try #require(text.flatMap { IPAddress(String($0)) }), port)
            let listener = try NetworkNamespace("chitcp.\(lab.name).linux").run {
                try KernelSocket.listening(on: endpoint)
            }
            let answer = Background {
                let connection = try listener.accept()
                try connection.send(try connection.receive())
            }
            let said = try lab(call).said
            #expect(said == "hello\n", "\(client) to \(server) at \(address)")
            #expect(answer.join() == nil)
            return
        }
        let process = try CommandProcess(
            script: """
                export CHITCP_LABS=\(lab.folder)/labs
                exec \(own) lab exec \(server) -- \(own) echo -p \(port) --address \(address) --once
                """)
        try waitFor { try lab("exec \(server) -- \(own) sockets").said.contains("LISTEN") }
        let said = try lab(call).said
        #expect(said == "hello\n", "\(client) to \(server) at \(address): \(process.said)")
        #expect(process.wait() == 0, "\(process.said)")
    }

    @Test("IPv6 goes both ways between daemons and with the kernel, echo requests included, and links impair it")
    func families() throws {
        let lab = try Lab("six")
        let up = try lab("up --namespaces \(lab.file)")
        try #require(up.code == 0, "\(up.said)")
        for (client, server) in [("linux", "alice"), ("alice", "linux"), ("alice", "bob"), ("bob", "linux")] {
            try echo(lab, from: client, to: server, at: "@\(server).6")
        }
        let ping = try lab("exec linux -- ping -c 3 -W 10 -i 0.2 @bob.6")
        #expect(ping.code == 0, "\(ping.said)")
        let status = try lab("status")
        #expect(status.said.contains("alice: what goes to fd88::3: loss=1% delay=2ms seed=1"), "\(status.said)")
        #expect(status.said.contains("alice: what comes from fd88::3: loss=1% delay=2ms seed=1"), "\(status.said)")
        #expect(try lab("exec alice -- \(CommandProcess.path) sockets").code == 0)
    }

    @Test("hosts have the addresses that the file says, outside of the lab's networks as well")
    func ownAddresses() throws {
        let lab = try Lab(
            "own",
            """
            hosts:
              alice: {address: [192.168.7.1, 'fd00:7::1']}
              bob: {address: 'fd88::9'}
              linux: {kernel: true, address: [172.20.0.3, 'fd88::1']}
              other:

            """)
        let up = try lab("up --namespaces \(lab.file)")
        try #require(up.code == 0, "\(up.said)")
        for line in [
            "alice  192.168.7.1 fd00:7::1  CHITCPD_SOCK", "bob  fd88::9  CHITCPD",
            "linux  172.20.0.3 fd88::1  the Linux",
            "other  10.88.0.4 fd88::4  CHITCPD",
        ] { #expect(up.said.contains(line), "\(up.said)") }
        for (client, server, address) in [
            ("linux", "alice", "@alice.4"), ("linux", "alice", "@alice.6"), ("alice", "linux", "@linux.4"),
            ("bob", "linux", "@linux.6"), ("bob", "alice", "@alice.6"), ("other", "alice", "@alice.4"),
        ] { try echo(lab, from: client, to: server, at: address) }
        let refused = try lab("exec alice -- true @bob.4")
        #expect(refused.code == 1 && refused.said.contains("bob has no IPv4 address"), "\(refused.said)")
    }

    @Test("what a killed lab left goes with the next command, programs in its namespaces included")
    func killed() throws {
        let lab = try Lab("killed")
        let up = try lab("up --namespaces \(lab.file)")
        try #require(up.code == 0, "\(up.said)")
        let program = try CommandProcess(
            script: "export CHITCP_LABS=\(lab.folder)/labs; exec \(CommandProcess.path) lab exec linux -- sleep 1000")
        let state = readText("\(lab.folder)/labs/\(lab.name)/state").split(separator: "\n")
        let line = try #require(state.first { $0.hasPrefix("supervisor ") })
        let supervisor = try #require(pid_t(line.dropFirst("supervisor ".count)))
        try waitFor { readText("/proc/\(program.pid)/comm") == "sleep\n" }
        #expect(kill(supervisor, SIGKILL) == 0)
        #expect(lab.namespaces.count == 4)
        #expect(try lab("down").code == 0)
        #expect(lab.namespaces.isEmpty)
        #expect(program.wait() == 128 + SIGTERM)
    }

    private func waitFor(_ condition: () throws -> Bool) throws {
        for _ in 0..<1500 {
            if try condition() { return }
            usleep(20_000)
        }
        Issue.record("waited 30 s in vain")
    }
}
