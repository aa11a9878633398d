// `chitcp capture`: the segments of running daemons, as tshark and people read them.
import CLinux
import Chisocket
import Glibc
import NetworkLayer
import Testing

@Suite("chitcp capture", .timeLimit(.minutes(15)))
struct LiveCaptureTests {
    /// The size of a file, 0 if there is none.
    private func size(of file: String) -> Int {
        var status = stat()
        return stat(file, &status) == 0 ? Int(status.st_size) : 0
    }

    /// A capture into `file` that has begun.
    private func start(_ arguments: [String], at daemon: TestDaemon, into file: String) async throws -> RunningProgram {
        let program = try startProgram(
            BuildFolder.command, ["capture", "--socket", daemon.path.path, "-w", file] + arguments)
        try await eventually { size(of: file) > 0 }
        return program
    }

    /// True if a program has ended, which still is to be waited for.
    private func hasEnded(_ program: RunningProgram) -> Bool {
        var information = siginfo_t()
        let result = waitid(P_PID, id_t(program.pid), &information, Int32(WEXITED) | Int32(WNOHANG) | Int32(WNOWAIT))
        return result == 0 && information.si_signo == SIGCHLD
    }

    /// Interrupts a capture and gives what it said.
    private func end(_ program: RunningProgram) throws -> String {
        kill(program.pid, SIGINT)
        let result = program.wait()
        #expect(result.code == 0, "\(result.output)")
        return result.output
    }

    /// Sends `sent` from one host to the other, and back.
    private func exchange(_ sent: [UInt8], _ hosts: TwoHosts, port: UInt16 = 7) async throws {
        let listener = try await Chisocket.listening(on: hosts.b.endpoint(port), daemon: hosts.b.path)
        async let accepting = listener.accept()
        let client = try await Chisocket.connect(to: hosts.b.address, port: port, daemon: hosts.a.path)
        let server = try await accepting
        let echo = Task {
            for try await piece in server.pieces() { try await server.send(piece) }
            server.close()
        }
        async let writing: Void = {
            try await client.send(sent)
            try await client.shutdown(.sending)
        }()
        var back = 0
        for try await piece in client.pieces() { back += piece.count }
        try await writing
        try await echo.value
        #expect(back == sent.count)
    }

    @Test(
        "tshark reads what it writes: nothing malformed, directions and interfaces, and drops are marked",
        .enabled(if: TShark.isThere, "tshark is not installed"), arguments: ["", "loss=20%", "loss=20%,direction=in"])
    func tsharkReads(impaired words: String) async throws {
        let hosts = try TwoHosts()
        let folder = try TemporaryFolder()
        let file = folder.path + "/capture.pcapng"
        let capture = try await start([], at: hosts.a, into: file)
        if !words.isEmpty {
            let result = try runProgram(
                BuildFolder.command,
                [
                    "impair", "--socket", hosts.a.path.path, "--loss", "20%", "--direction",
                    words.hasSuffix("in") ? "in" : "out",
                ])
            try #require(result.code == 0, "\(result.output)")
        }
        // Both ways together, what is sent again included, less than what waits for a reader that does not get its turn (4 MiB).
        try await exchange(pattern(1_000_000), hosts)
        // The last ACKs are on their way still, and may be lost before or after the capture's end.
        func lost() throws -> Int { Int(try DaemonControl.impairments(of: hosts.a.path).first?.lost ?? 0) }
        let lostBefore = try lost()
        let said = try end(capture)
        let lostAfter = try lost()
        #expect(!said.contains("missed"), "\(said)")

        let rows = try TShark.rows(
            of: file,
            [
                "ip.src", "frame.packet_flags_direction", "frame.interface_name", "frame.comment",
                "tcp.checksum.status",
                "ip.checksum.status", "_ws.malformed", "tcp.len", "frame.time_epoch",
            ], in: folder)
        #expect(rows.count > 30)
        let ours = hosts.a.address, theirs = hosts.b.address
        // 1: inbound, 2: outbound.
        #expect(rows.allSatisfy { $0[0] == ours && $0[1] == "0x00000002" || $0[0] == theirs && $0[1] == "0x00000001" })
        #expect(rows.allSatisfy { $0[2] == "frames \(ours)-\(theirs)" })
        #expect(rows.allSatisfy { $0[4] == "1" && $0[5] == "1" && $0[6].isEmpty })
        #expect(rows.contains { !$0[8].hasSuffix("000") }, "times are in nanoseconds")
        let bytes = rows.filter { $0[0] == ours && $0[3].isEmpty }.reduce(0) { $0 + (Int($1[7]) ?? 0) }
        #expect(bytes >= 1_000_000)
        let comments = rows.map { $0[3] }.filter { !$0.isEmpty }
        #expect((lostBefore...lostAfter).contains(comments.count))
        #expect(words.isEmpty == comments.isEmpty)
        let place = words.hasSuffix("in") ? "on arrival" : "before it left"
        #expect(comments.allSatisfy { $0 == "dropped \(place): lost by an impairment" })
        #expect(said.contains("\(rows.count) segments"), "\(said)")
    }

    @Test(
        "tshark finds in frame.comment what an impairment does to segments that it lets pass",
        .enabled(if: TShark.isThere, "tshark is not installed"), arguments: ["out", "in"])
    func comments(direction: String) async throws {
        let hosts = try TwoHosts()
        let folder = try TemporaryFolder()
        let file = folder.path + "/capture.pcapng"
        let capture = try await start([], at: hosts.a, into: file)
        let words = "--delay 1ms --reorder 20%/2ms --duplicate 20% --corrupt 20% --direction \(direction)"
        let result = try runProgram(
            BuildFolder.command,
            ["impair", "--socket", hosts.a.path.path] + words.split(separator: " ").map(String.init))
        try #require(result.code == 0, "\(result.output)")
        try await exchange(pattern(1_000_000), hosts)
        // Segments may still pass, until there is no connection any more.
        let before = try #require(try DaemonControl.impairments(of: hosts.a.path).first)
        _ = try end(capture)
        let after = try #require(try DaemonControl.impairments(of: hosts.a.path).first)

        let rows = try TShark.rows(of: file, ["ip.src", "frame.comment", "tcp.checksum.status"], in: folder)
        let impaired = rows.filter { !$0[1].isEmpty }
        // Seen before anything happened to them.
        #expect(rows.allSatisfy { $0[2] == "1" })
        #expect(impaired.allSatisfy { ($0[0] == hosts.a.address) == (direction == "out") })
        func count(_ sentence: String) -> UInt64 { UInt64(impaired.count { $0[1].contains(sentence) }) }
        let late = count("delayed by an impairment: 1")
        let overtaken = count("held back by an impairment, so that later ones overtake it: 3")
        #expect(late > 0 && overtaken > 0 && late + overtaken == impaired.count)
        for (kind, seen, least, most) in [
            ("delayed", late + overtaken, before.delayed, after.delayed),
            ("reordered", overtaken, before.reordered, after.reordered),
            ("duplicated", count("duplicated by an impairment: it arrives twice"), before.duplicated, after.duplicated),
            ("corrupted", count("corrupted by an impairment"), before.corrupted, after.corrupted),
        ] { #expect(seen > 0 && (least...most).contains(seen), "\(kind): \(seen)") }
        let places = ["of the payload", "of the TCP header"].map(count)
        #expect(places[0] + places[1] == count("corrupted by"), "\(places)")
    }

    @Test("a filter by host and port leaves out the others", .enabled(if: TShark.isThere, "tshark is not installed"))
    func filters() async throws {
        let hosts = try TwoHosts()
        let folder = try TemporaryFolder()
        let (one, none, some) = (folder.path + "/1", folder.path + "/2", folder.path + "/3")
        let captures = [
            try await start(["\(hosts.b.address):7"], at: hosts.a, into: one),
            try await start(["\(hosts.a.address):7", "127.0.0.1"], at: hosts.a, into: none),
            try await start([":8", "-s", "120"], at: hosts.a, into: some),
        ]
        try await exchange(pattern(10_000), hosts, port: 7)
        try await exchange(pattern(10_000), hosts, port: 8)
        for capture in captures { _ = try end(capture) }
        let ports = try TShark.rows(of: one, ["tcp.port"], in: folder)
        #expect(!ports.isEmpty && ports.allSatisfy { $0[0].split(separator: ",").contains("7") })
        #expect(try TShark.rows(of: none, ["tcp.port"], in: folder).isEmpty)
        let kept = try TShark.rows(of: some, ["frame.cap_len", "frame.len", "tcp.port"], in: folder)
        #expect(kept.allSatisfy { (Int($0[0]) ?? .max) <= 120 && $0[2].contains("8") })
        #expect(kept.contains { Int($0[1]) ?? 0 > 5000 })
    }

    @Test("without -w it prints a line for each segment, and with -c ends by itself")
    func lines() async throws {
        let hosts = try TwoHosts()
        let program = try startProgram(
            BuildFolder.command, ["capture", "--socket", hosts.a.path.path, "-c", "3", "\(hosts.b.address):7"])
        // It has begun when it sees something: connections are made until it ends.
        try await eventually {
            try await exchange([1, 2, 3], hosts)
            return hasEnded(program)
        }
        let result = program.wait()
        #expect(result.code == 0)
        let lines = result.output.split(separator: "\n")
        let segments = lines.filter { $0.contains(" Flags [") }
        #expect(segments.count == 3, "\(result.output)")
        #expect(segments.allSatisfy { $0.contains(" IP 127.") && $0.contains(" Out ") || $0.contains(" In  ") })
        #expect(lines.contains("chitcp capture: 3 segments"), "\(result.output)")
    }

    @Test("a reader that stops loses segments and stops nobody; what it missed is counted and said")
    func slowReader() async throws {
        let hosts = try TwoHosts()
        let folder = try TemporaryFolder()
        let file = folder.path + "/capture.pcapng"
        let capture = try await start([], at: hosts.a, into: file)
        kill(capture.pid, SIGSTOP)
        try await exchange(pattern(20_000_000), hosts)
        kill(capture.pid, SIGCONT)
        // Once it reads again, what comes is there again, and tells of what is not.
        try await eventually { size(of: file) > 3_000_000 }
        try await exchange(pattern(1000), hosts)
        let said = try end(capture)
        #expect(said.contains("more were missed, because the reader was too slow"), "\(said)")
        guard TShark.isThere else { return }
        let comments = try TShark.rows(of: file, ["frame.comment"], in: folder).map { $0[0] }.filter { !$0.isEmpty }
        #expect(comments.contains { $0.hasSuffix("segments before this one are missing: the reader was too slow") })
    }

    @Test(
        "it goes live into tshark, and ends when that has seen enough",
        .enabled(if: TShark.isThere, "tshark is not installed"))
    func live() async throws {
        let hosts = try TwoHosts()
        let tshark = try #require(TShark.path)
        let pipe = try startProgram(
            "sh",
            [
                "-c",
                "\(BuildFolder.command) capture --socket \(hosts.a.path.path) -w - 2>/dev/null"
                    + " | \(tshark) -n -l -r - -c 4 -T fields -e tcp.flags 2>/dev/null",
            ])
        try await eventually {
            try await exchange([1, 2, 3], hosts)
            return hasEnded(pipe)
        }
        let result = pipe.wait()
        #expect(result.output.split(separator: "\n").count == 4, "\(result.output)")
    }

    @Test("it ends in order when its daemon ends, and says so of a daemon that is not there")
    func daemonEnds() async throws {
        let folder = try TemporaryFolder()
        let hosts = try TwoHosts()
        let file = folder.path + "/capture.pcapng"
        let capture = try await start([], at: hosts.a, into: file)
        try await exchange(pattern(1000), hosts)
        hosts.a.stop()
        let result = capture.wait()
        #expect(result.code == 0, "\(result.output)")
        #expect(result.output.contains(" segments\n"), "\(result.output)")

        let missing = try runProgram(BuildFolder.command, ["capture", "--socket", folder.path + "/none"])
        #expect(missing.code == 1)
        #expect(missing.output.contains("no daemon answers at \(folder.path)/none"), "\(missing.output)")
        for wrong in [["1.2.3.4:x"], ["-s", "1"], ["-c", "0"], ["[::1"]] {
            #expect(try runProgram(BuildFolder.command, ["capture"] + wrong).code == 64, "\(wrong)")
        }
    }

    @Test(
        "the dissector finds in real traffic on the loopback interface the segments that the daemon shows",
        .enabled(if: TShark.isThere && Self.mayCaptureLoopback, "dumpcap cannot capture on lo"))
    func realFrames() async throws {
        let hosts = try TwoHosts()
        let folder = try TemporaryFolder()
        let (shown, real) = (folder.path + "/shown.pcapng", folder.path + "/real.pcapng")
        let filter = "tcp port 23300 and host \(hosts.a.address) and host \(hosts.b.address)"
        let dumpcap = try startProgram("dumpcap", ["-q", "-i", "lo", "-B", "32", "-f", filter, "-w", real])
        try await eventually { size(of: real) > 0 }
        let capture = try await start([], at: hosts.a, into: shown)
        try await exchange(pattern(500_000), hosts)
        // The last segments are answered before anybody stops to look.
        try await eventually { try DaemonControl.sockets(of: hosts.b.path).allSatisfy { $0.stateName == "LISTEN" } }
        _ = try end(capture)
        // What is on its way from the kernel to the file comes within moments, and not at once.
        let expected = try TShark.rows(of: shown, ["ip.len"], in: folder).compactMap { Int($0[0]).map { $0 - 20 } }
        var found: [Int] = []
        try await eventually {
            found = try TShark.rows(
                of: real, ["tcp.stream", "chitcp.length"],
                // On its own interface the kernel leaves checksums unfinished, and two cores may send out of order.
                options: [
                    "-X", "lua_script:\(BuildFolder.sources)../../scripts/wireshark/chitcp.lua", "-o",
                    "tcp.check_checksum:FALSE", "-o", "tcp.reassemble_out_of_order:TRUE",
                ], in: folder, mayBeCutShort: true
            ).flatMap { $0[1].split(separator: ",").compactMap { Int($0) } }
            return found.count >= expected.count
        }
        kill(dumpcap.pid, SIGINT)
        _ = dumpcap.wait()
        #expect(found.sorted() == expected.sorted())
        #expect(expected.count > 10)
    }

    /// True if dumpcap is there and may.
    private static let mayCaptureLoopback: Bool = {
        let result = try? runProgram("dumpcap", ["-q", "-i", "lo", "-a", "duration:1", "-w", "/dev/null"])
        return result?.code == 0
    }()

    @Test("other users see nothing, also if the daemon admits them", .enabled(if: getuid() == 0))
    func otherUsers() async throws {
        let folder = try TemporaryFolder()
        chmod(folder.path, 0o755)
        #expect(try runProgram("cp", [BuildFolder.command, folder.path]).code == 0)
        let daemon = try TestDaemon("\(freshNet()).1", in: folder) { $0.admission.users = [65534] }
        let result = try runProgram(
            "setpriv",
            ["--reuid=65534", "--clear-groups", folder.path + "/chitcp", "capture", "--socket", daemon.path.path],
            environment: ["LD_LIBRARY_PATH": BuildFolder.path])
        #expect(result.code == 1)
        #expect(result.output.contains("only root and the daemon's user"), "\(result.output)")
    }
}
