// Small segments: Nagle's algorithm with Minshall's refinement, delayed ACKs, PSH (RFC 9293 3.7.4, 3.8.6.3, 3.9.1.2).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct NagleTests {
    private static func established(noDelay: Bool = false) throws -> OneHost {
        let one = OneHost { $0.connection.noDelay = noDelay }
        try one.establish { $0.maximumSegmentSize = 1000 }
        return one
    }

    @Test("a second small segment waits for the ACK of the first (SHLD-7)")
    func waits() throws {
        let one = try Self.established()
        try one.send(100)
        #expect(one.sent().map(\.payload.count) == [100])
        try one.send(100)
        try one.send(100)
        #expect(one.sent().isEmpty)
        #expect(one.connection?.holdReason == .nagle)
        #expect(one.inject(.ack, seq: 1, ack: 101).map(\.payload.count) == [200])
    }

    @Test("a full segment does not wait, and its small rest waits only for another small one (Minshall)")
    func fullSegments() throws {
        let one = try Self.established()
        try one.send(2100)
        #expect(one.sent().map(\.payload.count) == [1000, 1000, 100])
        try one.send(50)
        #expect(one.sent().isEmpty)
        try one.send(950)
        #expect(one.sent().map(\.payload.count) == [1000], "a full one has come together")
    }

    @Test("with TCP_NODELAY nothing waits (MUST-17)")
    func noDelay() throws {
        let one = try Self.established(noDelay: true)
        for _ in 0..<5 {
            try one.send(10)
            #expect(one.sent().map(\.payload.count) == [10])
        }
    }

    @Test("switching TCP_NODELAY on lets go what was held back")
    func switchOn() throws {
        let one = try Self.established()
        try one.send(10)
        _ = one.sent()
        try one.send(10)
        #expect(one.sent().isEmpty)
        one.host.setNoDelay(try #require(one.connection), true, at: one.now)
        #expect(one.sent().map(\.payload.count) == [10])
    }

    @Test("CLOSE lets the last small segment go, with the FIN")
    func closeReleases() throws {
        let one = try Self.established()
        try one.send(10)
        _ = one.sent()
        try one.send(10)
        #expect(one.sent().isEmpty)
        one.host.close(try #require(one.connection), at: one.now)
        let last = one.sent()
        #expect(last.map(\.payload.count) == [10])
        #expect(last.first?.bits == [.ack, .psh, .fin])
    }

    @Test("PSH is set when the last queued byte leaves, and not before (MUST-61, RFC 9293 3.9.1.2)")
    func push() throws {
        let one = try Self.established()
        try one.send(2500)
        #expect(one.sent().map { $0.bits.contains(.psh) } == [false, false, true])
    }

    // MARK: Delayed ACKs

    /// Past the ACKs at once of a connection's beginning. SEG.SEQ of what comes next.
    private static func settled() throws -> (OneHost, Int) {
        let one = try established()
        var seq = 1
        for _ in 0..<20 {
            _ = one.inject(.ack, seq: seq, ack: 1, pattern(1000)) + one.wait(.milliseconds(40))
            seq += 1000
            one.read()
        }
        return (one, seq)
    }

    @Test("a lone segment is acknowledged within 40 ms, well below half a second (MUST-40)")
    func delayed() throws {
        let (one, seq) = try Self.settled()
        #expect(one.inject(.ack, seq: seq, ack: 1, pattern(10)).isEmpty)
        #expect(one.wait(.milliseconds(39)).isEmpty)
        let answer = one.wait(.milliseconds(1))
        #expect(answer.map(one.acknowledged) == [seq + 10])
    }

    @Test("every second full segment is acknowledged at once (SHLD-19)")
    func everySecond() throws {
        let (one, start) = try Self.settled()
        var seq = start
        var answers: [Int] = []
        for _ in 0..<10 {
            answers.append(one.inject(.ack, seq: seq, ack: 1, pattern(1000)).count)
            seq += 1000
        }
        #expect(answers.reduce(0, +) >= 5)
        #expect(zip(answers, answers.dropFirst()).allSatisfy { $0 + $1 >= 1 }, "\(answers)")
    }

    @Test("an answer carries the ACK: there is no other one")
    func rides() throws {
        let (one, seq) = try Self.settled()
        one.inject(.ack, seq: seq, ack: 1, pattern(10))
        try one.send(10)
        let answer = one.sent()
        #expect(answer.count == 1 && answer.first?.payload.count == 10)
        #expect(answer.first.map(one.acknowledged) == seq + 10)
        #expect(one.wait(.milliseconds(100)).allSatisfy { $0.payload.count > 0 || $0.bits != .ack })
    }

    @Test("data ahead of a hole and data that fills it are acknowledged at once (RFC 5681 4.2)")
    func holes() throws {
        let (one, seq) = try Self.settled()
        #expect(one.inject(.ack, seq: seq + 10, ack: 1, pattern(10)).map(one.acknowledged) == [seq])
        #expect(one.inject(.ack, seq: seq + 20, ack: 1, pattern(10)).map(one.acknowledged) == [seq])
        #expect(one.inject(.ack, seq: seq, ack: 1, pattern(10)).map(one.acknowledged) == [seq + 30])
    }
}
