// Every state x control bits x place in the window x acknowledgment x text, held against the oracle.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct StateMatrixTests {
    /// All sixteen combinations of SYN, ACK, FIN and RST.
    static let controlBits: [ControlBits] = (0..<16).map { n in
        var bits: ControlBits = []
        for (i, bit) in [ControlBits.syn, .ack, .fin, .rst].enumerated() where n >> i & 1 == 1 { bits.insert(bit) }
        return bits
    }

    /// Places of SEG.SEQ: left of the window, at its left edge, inside, at its right edge, right of it, and far away.
    static func places(_ s: Situation) -> [Int] {
        let edge = s.rcvNxt + s.rcvWnd
        var all = [
            s.rcvNxt - 1, s.rcvNxt, s.rcvNxt + 3, edge - 1, edge, edge + 1, s.rcvNxt - 2000, s.rcvNxt + (1 << 30),
            s.rcvNxt - (1 << 30),
        ]
        // Where the text ends just before, at and just behind an edge.
        all += [s.rcvNxt - 20, edge - 20]
        return unique(all)
    }

    /// SEG.ACK: all, part, a duplicate, old, at RFC 5961's edge and beyond it, and what was never sent.
    static func acks(_ s: Situation) -> [Int] {
        unique([
            s.sndNxt, s.sndNxt - 1, s.sndUna, s.sndUna - 1, s.sndUna - s.maxSndWnd, s.sndUna - s.maxSndWnd - 1,
            s.sndNxt + 1, s.sndNxt + (1 << 30), s.sndNxt - (1 << 30),
        ])
    }

    private static func unique(_ numbers: [Int]) -> [Int] {
        numbers.enumerated().filter { i, n in !numbers[..<i].contains(n) }.map(\.1)
    }

    static func probes(_ s: Situation, extra: ControlBits = []) -> [Probe] {
        var all: [Probe] = []
        for bits in controlBits {
            for ack in bits.contains(.ack) ? acks(s) : [0] {
                for seq in places(s) {
                    for text in [0, 1, 20] {
                        all.append(Probe(bits: bits.union(extra), seq: seq, ack: ack, text: text))
                    }
                }
            }
        }
        return all
    }

    /// Puts one segment to a fresh host and says what differs from the oracle; nil: nothing.
    static func check(_ way: Way, _ numbers: Numbers, _ probe: Probe) throws -> String? {
        let (one, s) = try OneHost.reach(way, numbers)
        let expected = Oracle.verdict(s, probe)
        let unread = one.connection?.receivedCount ?? 0
        let endBefore = one.timeWaitEnd
        let segments = one.inject(
            probe.bits, seq: probe.seq, ack: probe.ack, pattern(probe.text), window: OneHost.peerWindow)
        let delivered = (one.connection?.receivedCount ?? 0) - unread
        var wrong: [String] = []
        func compare<T: Equatable>(_ what: String, _ actual: T, _ expected: T) {
            if actual != expected { wrong.append("\(what) \(actual), expected \(expected)") }
        }
        compare("state", one.stateNow.map { "\($0)" } ?? "none", expected.state.map { "\($0)" } ?? "none")
        compare("reply", one.reply(segments), expected.reply)
        // Resetting a connection discards what was unread.
        if expected.state != nil { compare("delivered", delivered, expected.delivered) }
        // The end of a TIME-WAIT connection was told when it became a record.
        if s.state != .timeWait, expected.state != .timeWait { compare("ending", one.ending, expected.ending) }
        if expected.state == .timeWait {
            compare(
                "end of TIME-WAIT", one.timeWaitEnd,
                expected.restartsTimeWait ? one.now + .seconds(2) : endBefore)
        }
        wrong += one.host.invariantViolations(at: one.now)
        guard !wrong.isEmpty else { return nil }
        return "\(way) (\(numbers)), RCV.NXT=\(s.rcvNxt) RCV.WND=\(s.rcvWnd) SND.UNA=\(s.sndUna) SND.NXT=\(s.sndNxt): "
            + "<SEQ=\(probe.seq)><ACK=\(probe.ack)><CTL=\(probe.bits.names)> \(probe.text) bytes: "
            + wrong.joined(separator: "; ") + " [\(expected.clause)]"
    }

    static func checkAll(_ way: Way, _ numbers: Numbers, _ probes: [Probe]) throws {
        var failures: [String] = []
        for probe in probes {
            if let failure = try check(way, numbers, probe) { failures.append(failure) }
        }
        if !failures.isEmpty {
            Issue.record("\(failures.count) of \(probes.count) cells:\n\(failures.prefix(12).joined(separator: "\n"))")
        }
    }

    /// Every `stride`th probe: a slice in which all kinds of bits, places, acknowledgments and texts meet.
    static func slice(_ way: Way, _ numbers: Numbers, every stride: Int, extra: ControlBits = []) throws -> [Probe] {
        let (_, s) = try OneHost.reach(way, numbers)
        let all = probes(s, extra: extra)
        return Swift.stride(from: 0, to: all.count, by: stride).map { all[$0] }
    }

    @Test("every segment in every state does what RFC 9293 3.10.7 says, around 2^32", arguments: Way.allCases)
    func around32(way: Way) throws {
        try Self.checkAll(way, .zeroWrap, Self.slice(way, .zeroWrap, every: 1))
    }

    @Test("it does so around 2^31 and over IPv6", arguments: Way.allCases, [Numbers.signWrap, .plain])
    func elsewhere(way: Way, numbers: Numbers) throws {
        try Self.checkAll(way, numbers, Self.slice(way, numbers, every: 7))
    }

    @Test("PSH, URG and the bits of ECN change nothing of that", arguments: Way.allCases)
    func otherBits(way: Way) throws {
        try Self.checkAll(
            way, .zeroWrap, Self.slice(way, .zeroWrap, every: 13, extra: [.psh, .urg, .ece, .cwr]))
    }
}
