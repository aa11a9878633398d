// Impairments of running daemons: bytes arrive all the same, what happened is counted, and it changes while connections run.
import Chisocket
import ControlRecords
import Daemon
import Glibc
import Impairments
import NetworkLayer
import TCPSegments
import TestSupport
import Testing

/// Two daemons and a connection between them.
private final class ImpairedPair {
    let folder: TemporaryFolder
    let a: TestDaemon
    let b: TestDaemon
    let client: Chisocket
    let server: Chisocket

    init(_ change: (inout DaemonConfiguration) -> Void = { _ in }) throws {
        folder = try TemporaryFolder()
        let net = freshNet()
        a = try TestDaemon(net + ".1", in: folder, change)
        b = try TestDaemon(net + ".2", in: folder)
        let listener = try b.listener(port: 7)
        client = try a.connect(to: b, port: 7)
        server = try listener.acceptLimited()
    }

    /// Impairs `daemon` from now on.
    func impair(_ daemon: TestDaemon, _ words: String) throws {
        for rule in try ImpairmentRule.parse(words) { try DaemonControl.impair(rule.record, at: daemon.path) }
    }

    func status(of daemon: TestDaemon) throws -> chitcp_impairment_status {
        try #require(try DaemonControl.impairments(of: daemon.path).first)
    }

    /// What of `data` arrives at the server.
    func transfer(_ data: [UInt8]) throws -> [UInt8] {
        let client = self.client
        let writing = Background {
            try client.send(data)
            try client.shutdown(.sending)
        }
        let received = try server.receiveAll()
        #expect(writing.join() == nil)
        return received
    }
}

@Suite("Impairments of running daemons", .timeLimit(.minutes(15)))
struct ImpairmentTests {
    /// Segments of Ethernet's size: many of them, whatever the data.
    private static let small: @Sendable (inout DaemonConfiguration) -> Void = {
        $0.host.connection.maximumSegmentSize = 1460
    }

    @Test(
        "every byte arrives, and what happened is counted",
        arguments: [
            "loss=3%", "burst=0.5%/4", "reorder=5%/2ms", "duplicate=5%", "corrupt=3%", "delay=5ms,jitter=3ms",
            "rate=80mbit,queue=40kB", "loss=1%,delay=3ms,jitter=1ms,reorder=2%,duplicate=1%,corrupt=1%",
        ], [PacketDirection.out, .in])
    func bytesArrive(words: String, direction: PacketDirection) throws {
        let pair = try ImpairedPair(Self.small)
        // In either case it is the way from a to b that is bad.
        let impaired = direction == .out ? pair.a : pair.b
        try pair.impair(impaired, "\(words),direction=\(direction)")
        let data = pattern(1_000_000)
        #expect(try pair.transfer(data) == data)
        let status = try pair.status(of: impaired)
        #expect(status.segments > 600)
        let happened = [
            "loss": status.lost, "burst": status.lost, "reorder": status.reordered, "duplicate": status.duplicated,
            "corrupt": status.corrupted, "delay": status.delayed, "rate": status.queue_dropped,
        ]
        for word in words.split(separator: ",") {
            if let count = happened[String(word.prefix { $0 != "=" })] { #expect(count > 0, "\(word)") }
        }
    }

    @Test("without checksums a flipped bit reaches the application, with them it does not", arguments: [true, false])
    func corruptionWithoutChecksum(checksums: Bool) throws {
        let pair = try ImpairedPair { $0.links.checksums = checksums ? .whereCorrupted : .never }
        try pair.impair(pair.a, "corrupt=30%,to=\(pair.b.address)")
        // Nearly all bits of segments of 64 KiB are the application's.
        let data = [UInt8](repeating: 0, count: 8_000_000)
        let received = try pair.transfer(data)
        #expect(received.count == data.count)
        #expect(try pair.status(of: pair.a).corrupted > 5)
        let flipped = received.reduce(0) { $0 + $1.nonzeroBitCount }
        #expect((flipped == 0) == checksums, "\(flipped) bits are wrong")
    }

    @Test("a delay is felt at once by a connection that runs, and gone when it is cleared")
    func changesWhileConnectionsRun() throws {
        let pair = try ImpairedPair()
        func roundTrip() throws -> Int64 {
            let start = monotonicNanoseconds()
            try pair.client.send([1])
            #expect(try pair.server.receive() == [1])
            try pair.server.send([2])
            #expect(try pair.client.receive() == [2])
            return monotonicNanoseconds() - start
        }
        _ = try roundTrip()
        for (words, least) in [("delay=300ms", 300), ("delay=100ms,direction=both", 200)] as [(String, Int64)] {
            try pair.impair(pair.a, words)
            #expect(try roundTrip() >= least * 1_000_000)
        }
        // Clearing lets go what is under way.
        try pair.impair(pair.a, "delay=3600s")
        try pair.client.send([3])
        try waitUntil { try pair.status(of: pair.a).held_segments > 0 }
        #expect(try DaemonControl.clearImpairments(CHITCP_IMPAIR_OUT | CHITCP_IMPAIR_IN, at: pair.a.path) == 2)
        #expect(try pair.server.receive() == [3])
        #expect(try DaemonControl.impairments(of: pair.a.path).isEmpty)
        try pair.server.send([4])
        #expect(try pair.client.receive() == [4])
    }

    @Test("a rate is kept, and its queue drops")
    func rate() throws {
        let pair = try ImpairedPair(Self.small)
        try pair.impair(pair.a, "rate=20mbit,queue=50kB")
        let data = pattern(1_000_000)
        let start = monotonicNanoseconds()
        #expect(try pair.transfer(data) == data)
        // 8 Mbit and headers, less what the queue's last packets still took.
        #expect(monotonicNanoseconds() - start > 375_000_000)
        #expect(try pair.status(of: pair.a).queue_dropped > 0)
    }

    @Test("the command impairs, shows and clears; others' daemons are not changed")
    func command() throws {
        let pair = try ImpairedPair()
        let socket = pair.a.path.path
        func chitcp(_ arguments: String...) throws -> ProgramResult {
            try runProgram(BuildFolder.command, arguments, environment: ["CHITCPD_SOCK": socket])
        }
        var result = try chitcp("impair", "show")
        #expect(result.code == 0 && result.output == "nothing happens to segments\n")
        result = try chitcp(
            "impair", "--to", pair.b.address, "--loss", "100%", "--delay", "1ms", "--jitter", "1ms", "--reorder", "1%",
            "--duplicate", "0.1%", "--corrupt", "0.01%", "--rate", "10mbit", "--queue", "100kB", "--seed", "9",
            "--burst", "1%/4")
        #expect(result.code == 0, "\(result.output)")
        try pair.client.send([1])
        try waitUntil { try pair.status(of: pair.a).lost > 0 }
        result = try chitcp("impair", "show")
        #expect(
            result.output.hasPrefix(
                "what goes to \(pair.b.address): loss=100% burst=1%/4 delay=1ms jitter=1ms reorder=1% duplicate=0.1% corrupt=0.01%"
                    + " rate=10mbit queue=100kB seed=9\n"), "\(result.output)")
        #expect(result.output.contains(" lost"), "\(result.output)")
        result = try chitcp("impair", "clear", "--from", pair.b.address)
        #expect(result.code == 0 && result.output == "0 impairments removed\n")
        result = try chitcp("impair", "clear", "--to", pair.b.address)
        #expect(result.code == 0 && result.output == "1 impairment removed\n")
        #expect(try pair.server.receive() == [1])
        #expect(try DaemonControl.impairments(of: pair.b.path).isEmpty)
    }

    @Test("a daemon is started with impairments in the same words")
    func atStart() throws {
        let pair = try ImpairedPair { $0.impairments = try! ImpairmentRule.parse("delay=1ms,seed=5") }
        let status = try pair.status(of: pair.a)
        #expect(status.rule.delay == 1_000_000 && status.rule.seed == 5 && status.delayed > 0)
    }

    @Test("a record out of bounds is refused, and changes nothing")
    func refusal() throws {
        let pair = try ImpairedPair()
        let good = try #require(try ImpairmentRule.parse("loss=1%").first).record
        let bad: [(String, (inout chitcp_impairment) -> Void)] = [
            ("direction", { $0.direction = 3 }), ("direction", { $0.direction = 0 }), ("loss", { $0.loss = 1_000_001 }),
            ("delay", { $0.delay = .max }), ("jitter", { $0.jitter = 3_600_000_000_001 }), ("rate", { $0.rate = 1 }),
            ("rate", { $0.rate = .max }), ("queue", { $0.queue_limit = 0 }), ("queue", { $0.queue_limit = .max }),
            ("peer", { $0.peer.family = 77 }), ("burst", { $0.burst_end = .max }),
        ]
        for (what, change) in bad {
            var record = good
            change(&record)
            #expect(errnoOf { try DaemonControl.impair(record, at: pair.a.path) } == EINVAL, "\(what)")
        }
        #expect(try DaemonControl.impairments(of: pair.a.path).isEmpty)
    }
}

private func monotonicNanoseconds() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_MONOTONIC, &t)
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
}
