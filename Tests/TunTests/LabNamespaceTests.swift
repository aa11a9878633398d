// `chitcp lab --namespaces`: real IP between our TCP and the kernel's, and nothing of it left, however it ends.
import Glibc
import Testing

@Suite(
    "chitcp lab with namespaces", .timeLimit(.minutes(3)),
    .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct LabNamespaceTests {
    /// A lab of two daemons and a kernel; what is left of it is taken away with this object.
    private final class Lab {
        let name: String
        let folder: String
        let file: String

        init(_ name: String) throws {
            self.name = "\(name)-\(getpid())"
            var template = Array("/tmp/chitcp-lab-XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            folder = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            file = folder + "/lab.yaml"
            let text = """
                name: \(self.name)
                hosts:
                  alice:
                  bob:
                  linux: {kernel: true}
                links:
                  - between: [alice, linux]
                    there: loss=1%,delay=2ms
                    back: loss=1%,delay=2ms

                """
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
        #expect(up.code == 0 && up.said.contains("linux  10.88.0.3  the Linux kernel"), "\(up.said)")
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

    @Test("what a killed lab left goes with the next command, programs in its namespaces included")
    func killed() throws {
        let lab = try Lab("killed")
        #expect(try lab("up --namespaces \(lab.file)").code == 0)
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
