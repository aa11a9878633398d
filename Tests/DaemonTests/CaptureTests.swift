// A capture of a real transfer, read by somebody else's program.
import Chisocket
import Glibc
import Impairments
import Testing

/// tshark, if this machine has it (.ci/run installs it where it may).
private let tshark: String? = ["/usr/bin/tshark", "/usr/local/bin/tshark"].first { access($0, X_OK) == 0 }

@Suite("Captures", .timeLimit(.minutes(3)))
struct CaptureTests {
    @Test(
        "tshark reads a capture without complaint: nothing malformed, every checksum right, every byte there",
        .enabled(if: tshark != nil, "tshark is not installed"), arguments: [(31, 0), (32, 20_000)])
    func tsharkReads(host: Int, loss: Int) throws {
        let tshark = try #require(tshark)
        let folder = try TemporaryFolder()
        let capture = folder.path + "/capture.pcap"
        let a = try TestDaemon("127.89.\(host).1", in: folder) {
            $0.capturePath = capture
            var impairment = ImpairmentConfiguration()
            impairment.loss = loss
            $0.impairments = [ImpairmentRule(.out, impairment)]
        }
        let b = try TestDaemon("127.89.\(host).2", in: folder)
        let listener = try b.listener(port: 7)
        let client = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        let sent = pattern(1_000_000)
        let writing = Background {
            try client.send(sent)
            try client.shutdown(.sending)
        }
        #expect(try server.receiveAll() == sent)
        try server.send(Array("done".utf8))
        server.close()
        #expect(try client.receiveAll() == Array("done".utf8))
        #expect(writing.join() == nil)
        client.close()
        a.stop()

        let report = try output(
            of: [
                tshark, "-n", "-r", capture, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T",
                "fields", "-E", "separator=;", "-e", "ip.src", "-e", "tcp.flags.syn", "-e", "tcp.flags.fin", "-e",
                "tcp.checksum.status", "-e", "ip.checksum.status", "-e", "_ws.malformed", "-e", "tcp.len",
            ], in: folder)
        #expect(report.errors == "", "what tshark said: \(report.errors)")
        let rows = report.text.split(separator: "\n").map { $0.split(separator: ";", omittingEmptySubsequences: false) }
        try #require(rows.allSatisfy { $0.count == 7 })
        // 1: good.
        #expect(rows.allSatisfy { $0[3] == "1" && $0[4] == "1" }, "a wrong checksum")
        #expect(rows.allSatisfy { $0[5].isEmpty }, "a malformed packet")
        let syns = rows.filter { $0[1] == "1" }
        #expect(syns.count >= 2 && rows.filter { $0[2] == "1" }.count >= 2)
        let bytes = rows.filter { $0[0] == "127.89.\(host).1" }.reduce(0) { $0 + (Int($1[6]) ?? 0) }
        #expect(bytes >= sent.count)
    }

    /// Runs a program to its end.
    private func output(of command: [String], in folder: TemporaryFolder) throws -> (text: String, errors: String) {
        let out = folder.path + "/out"
        let err = folder.path + "/err"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT, 0o600)
        var argv = command.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var pid: pid_t = 0
        try #require(posix_spawn(&pid, command[0], &actions, nil, &argv, environ) == 0)
        try waitForEnd(of: pid)
        // tshark warns root, who may well read files.
        let errors = try readText(err).split(separator: "\n").filter { !$0.hasPrefix("Running as user \"root\"") }
        return (try readText(out), errors.joined(separator: "\n"))
    }
}
