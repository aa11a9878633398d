// Programs as a person starts them: the Swift samples, and the commands without a daemon or with wrong arguments.
import Chisocket
import Glibc
import Testing

@Suite("Programs", .timeLimit(.minutes(15)))
struct ProgramTests {
    @Test("the Swift samples: a line comes back from the echo server")
    func echo() throws {
        let folder = try TemporaryFolder()
        let a = try TestDaemon("127.89.41.1", in: folder)
        let b = try TestDaemon("127.89.41.2", in: folder)
        let server = try Program("echo-server", ["7"], daemon: a.path, in: folder)
        try waitUntil { try DaemonControl.sockets(of: a.path).contains { $0.stateName == "LISTEN" } }
        let client = try Program(
            "echo-client", ["127.89.41.1", "7"], daemon: b.path, in: folder, input: "hello\nand again\n")
        #expect(client.end() == 0, "\(client.errors)")
        #expect(client.output == "hello\nand again\n")
        server.send(SIGTERM)
        _ = server.end()
    }

    @Test("the Swift samples: a file arrives as it was")
    func file() throws {
        let folder = try TemporaryFolder()
        let a = try TestDaemon("127.89.42.1", in: folder)
        let b = try TestDaemon("127.89.42.2", in: folder)
        let content = String(repeating: "0123456789abcdef", count: 40_000)
        let path = folder.path + "/content"
        try writeFile(path, content)
        let receiver = try Program("file-sender", ["--receive", "7"], daemon: a.path, in: folder)
        try waitUntil { try DaemonControl.sockets(of: a.path).contains { $0.stateName == "LISTEN" } }
        let sender = try Program("file-sender", [path, "127.89.42.1", "7"], daemon: b.path, in: folder)
        #expect(sender.end() == 0, "\(sender.errors)")
        #expect(receiver.end() == 0, "\(receiver.errors)")
        #expect(receiver.output == content)
        #expect(receiver.errors == "received 640000 bytes\n")
    }

    @Test("chitcp cat sends all of its input, although the other side closed its own direction at once")
    func catAfterHalfClose() throws {
        let folder = try TemporaryFolder()
        let a = try TestDaemon("127.89.44.1", in: folder)
        let b = try TestDaemon("127.89.44.2", in: folder)
        let content = String(repeating: "0123456789abcdef", count: 200_000)
        let receiver = try Program("chitcp", ["cat", "-l", "7"], daemon: a.path, in: folder)
        try waitUntil { try DaemonControl.sockets(of: a.path).contains { $0.stateName == "LISTEN" } }
        let sender = try Program("chitcp", ["cat", "127.89.44.1", "7"], daemon: b.path, in: folder, input: content)
        #expect(sender.end() == 0, "\(sender.errors)")
        #expect(receiver.end() == 0, "\(receiver.errors)")
        #expect(receiver.output == content, "\(receiver.output.utf8.count) bytes")
    }

    @Test(
        "without a daemon each command says which path it tried and what to do, and exits 1",
        arguments: [["sockets"], ["cat", "127.0.0.1", "7"], ["echo", "--port", "7"], ["perf", "127.0.0.1"]])
    func noDaemon(arguments: [String]) throws {
        let folder = try TemporaryFolder()
        let program = try Program("chitcp", arguments, daemon: DaemonPath(folder.path + "/nobody"), in: folder)
        #expect(program.end() == 1)
        #expect(program.errors.contains("no daemon answers at \(folder.path)/nobody"), "\(program.errors)")
        #expect(program.errors.contains("is chitcpd running?"), "\(program.errors)")
        #expect(program.output.isEmpty)
    }

    @Test(
        "wrong arguments are named, with the usage, and exit 64",
        arguments: [
            (["perf", "--seconds", "0"], "--seconds"), (["perf", "--runs", "0"], "--runs"),
            (["perf", "--test", "speed"], "speed"), (["perf", "--server", "127.0.0.1"], "--server and HOST"),
            (["perf", "--test", "idle", "127.0.0.1"], "idle needs daemons of its own"),
            (["perf", "--connections", "0"], "--connections"), (["perf", "--message-size", "0"], "--message-size"),
            (["perf", "--port", "0"], "--port"), (["perf", "--port", "65536"], "65536"),
            (["demo", "--loss", "lots"], "lots"), (["demo", "--loss", "200%"], "200%"), (["cat"], "HOST"),
            (["impair"], "say what is to happen"), (["impair", "--loss", "lots"], "--loss=lots"),
            (["impair", "--direction", "up", "--loss", "1%"], "--direction=up"),
            (["impair", "--seed", "1"], "what is"),
            (["impair", "--loss", "1"], "--loss=1: a share of the packets like 1%"),
            (["impair", "loss=1%"], "loss=1%: options are wanted here"),
            (["impair", "--queue", "10kB"], "--queue and --mark go with a rate, like --rate"),
            (
                ["impair", "--loss", "1%", "--to", "127.0.0.1", "--from", "127.0.0.2", "--direction", "in"],
                "--direction=in: to and from name a host each way"
            ),
            (["impair", "show", "--socket", ""], "a path is needed"), (["sockets", "-s", ""], "a path is needed"),
            (["sockets", "S1"], "Unexpected argument 'S1'"),
            (["capture", "tcp port 80"], "\"tcp port 80\" is no filter: HOST:PORT, HOST, :PORT or [ADDRESS]:PORT"),
            (["capture", "10.0.0.0/8"], "\"10.0.0.0/8\" is no filter"), (["capture", ""], "\"\" is no filter"),
            (["capture", "1::2::3"], "is no filter"), (["capture", "127.0.0.1:http"], "is no filter"),
            (["relay", "--tun", "a"], "say two devices"),
            (
                ["relay", "--tun", "a", "--tun", "b", "--mark", "1kB"],
                "--mark goes with a rate, like --impair rate=10mbit"
            ),
            (["relay", "--tun", "a", "--tun", "b", "--impair", "rate=1mbit", "--mark", "much"], "--mark much: a size"),
            (
                ["relay", "--tun", "a", "--tun", "b", "--impair", "rate=1mbit", "--back", "loss=1%", "--mark", "1kB"],
                "--back rate="
            ),
            (
                ["relay", "--tun", "a", "--tun", "b", "--impair", "rate=1mbit,mark=2kB", "--mark", "1kB"],
                "--mark and --impair mark=: say one"
            ),
            (["relay", "--tun", "a", "--tun", "b", "--impair", "to=1.2.3.4"], "--impair to: not an impairment"),
            (["lab", "up"], "<file>"), (["lab", "exec", "alice", "ls"], "chitcp lab exec HOST -- PROGRAM"),
            (["daemon", "--buffer-growth-max", "much"], "--buffer-growth-max much: a size like 64MiB"),
            (["daemon", "--buffer-growth-max", "0"], "or off"),
            (["daemon", "--buffer-growth-max", "1025GiB"], "at most"),
            (["impair", "clear", "--direction", "up"], "--direction up"), (["daemon", "--impair", "loss=x"], "loss=x"),
            (["daemon", "--impair", "loss=1%", "--loss", "1%"], "said twice"),
            (["daemon", "--impair", "mark"], "mark"),
            (["daemon", "--loss", "lots"], "lots"), (["daemon", "--address", "nowhere"], "nowhere"),
        ])
    func wrongArguments(arguments: [String], named: String) throws {
        let folder = try TemporaryFolder()
        let program = try Program("chitcp", arguments, daemon: DaemonPath(folder.path + "/nobody"), in: folder)
        #expect(program.end() == 64, "\(program.errors)")
        #expect(program.errors.contains(named), "\(program.errors)")
        #expect(program.errors.contains("Usage: chitcp"), "\(program.errors)")
    }

    @Test(
        "a name that nobody knows is named, and what there may be instead; exit 1, and no file is touched",
        arguments: [
            (["capture", "no-such-host.invalid"], "a filter is HOST:PORT, HOST, :PORT"),
            (["capture", "-w", "FILE", "no-such-host.invalid:80"], "a filter is"),
            (
                ["impair", "--loss", "1%", "--to", "no-such-host.invalid"],
                "cannot find the host no-such-host.invalid: "
            ),
            (["impair", "clear", "--from", "no-such-host.invalid"], "cannot find the host"),
            (["impair", "--loss", "1%", "--from", "0.0.0.0"], "0.0.0.0 is not a host's address"),
            (["capture", "-w", "FILE"], "no daemon answers"),
            (["lab", "up", "no-such.yaml"], "cannot read no-such.yaml"),
            (["lab", "down", "nothing"], "there is no lab nothing"),
        ])
    func unknownNames(arguments: [String], sentence: String) throws {
        let folder = try TemporaryFolder()
        let file = folder.path + "/capture.pcapng"
        try writeFile(file, "what was there")
        let program = try Program(
            "chitcp", arguments.map { $0 == "FILE" ? file : $0 }, daemon: DaemonPath(folder.path + "/nobody"),
            in: folder)
        #expect(program.end() == 1)
        #expect(program.errors.contains(sentence), "\(program.errors)")
        #expect(!program.errors.contains("Usage:"), "\(program.errors)")
        #expect(try readText(file) == "what was there")
    }

    /// Starts a demo that takes long, and returns with the folder of its daemons once they run.
    private func longDemo(in folder: TemporaryFolder) throws -> (demo: Program, daemons: String) {
        let path = folder.path + "/large"
        try writeFile(path, String(repeating: "0123456789abcdef", count: 2 << 20))
        let demo = try Program("chitcp", ["demo", "--file", path, "--loss", "20%"], daemon: .standard, in: folder)
        var daemons = ""
        try waitUntil {
            usleep(1_000)
            guard let name = folder.files.first(where: { $0.hasPrefix("chitcp-") && !$0.contains(".") }) else {
                return false
            }
            daemons = folder.path + "/" + name
            return isDaemonRunning(daemons + "/client") && isDaemonRunning(daemons + "/server")
        }
        return (demo, daemons)
    }

    private func isDaemonRunning(_ path: String) -> Bool {
        (try? DaemonControl.sockets(of: DaemonPath(path))) != nil
    }

    @Test("a demo that is interrupted takes its daemons and its folder with it, without a complaint")
    func interruptedDemo() throws {
        let folder = try TemporaryFolder()
        let (demo, daemons) = try longDemo(in: folder)
        demo.send(SIGINT)
        #expect(demo.end() == 128 + SIGINT, "\(demo.errors)")
        #expect(demo.errors == "")
        #expect(access(daemons, F_OK) != 0)
        #expect(!isDaemonRunning(daemons + "/client") && !isDaemonRunning(daemons + "/server"))
    }

    @Test("the daemons of a killed demo end, too")
    func killedDemo() throws {
        let folder = try TemporaryFolder()
        let (demo, daemons) = try longDemo(in: folder)
        demo.send(SIGKILL)
        _ = demo.end()
        for name in ["client", "server"] {
            try waitUntil {
                usleep(1_000)
                return !isDaemonRunning(daemons + "/" + name)
            }
        }
        // What is left is the folder, which nobody was left to remove.
        try waitUntil { rmdirAll(daemons) }
    }

    @Test("chitcp perf measures everything beside the kernel, and leaves nothing behind")
    func perf() throws {
        let folder = try TemporaryFolder()
        let arguments = ["--seconds", "0.1", "--runs", "1", "--connections", "40", "--kernel", "--json"]
        let perf = try Program("chitcp", ["perf"] + arguments, daemon: .standard, in: folder)
        #expect(perf.end() == 0, "\(perf.errors)")
        let lines = perf.output.split(separator: "\n")
        #expect(lines.count == 11, "\(perf.output)")
        for line in lines where !line.contains("idle") {
            #expect(!line.contains("\"chitcp\":null") && !line.contains("\"kernel\":null"), "\(line)")
        }
        #expect(!folder.files.contains { $0.hasPrefix("chitcp-") && !$0.contains(".") }, "\(folder.files)")
    }

    @Test("chitcp perf --server serves a client at another daemon, one after another")
    func perfBetweenDaemons() throws {
        let folder = try TemporaryFolder()
        let a = try TestDaemon("127.89.43.1", in: folder)
        let b = try TestDaemon("127.89.43.2", in: folder)
        let early = try Program("chitcp", ["perf", "127.89.43.1", "--port", "9"], daemon: b.path, in: folder)
        #expect(early.end() == 1)
        #expect(early.errors.contains("is chitcp perf --server running there?"), "\(early.errors)")
        let server = try Program("chitcp", ["perf", "--server", "--port", "9"], daemon: a.path, in: folder)
        try waitUntil { try DaemonControl.sockets(of: a.path).contains { $0.stateName == "LISTEN" } }
        for test in ["bulk", "ping-pong", "rate"] {
            let client = try Program(
                "chitcp", ["perf", "127.89.43.1", "--port", "9", "--seconds", "0.1", "--runs", "1", "--test", test],
                daemon: b.path, in: folder)
            #expect(client.end() == 0, "\(test): \(client.errors)")
            #expect(client.output.contains("chitcp   budget"), "\(client.output)")
        }
        server.send(SIGTERM)
        #expect(server.end() == 128 + SIGTERM)
    }

    private func rmdirAll(_ path: String) -> Bool {
        guard let directory = opendir(path) else { return true }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { unlink(path + "/" + name) }
        }
        closedir(directory)
        return rmdir(path) == 0
    }
}
