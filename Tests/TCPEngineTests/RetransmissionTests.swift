// Retransmission by timeout, and how the congestion window grows (RFC 6298, RFC 5681 3.1).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct RetransmissionTests {
    private static func established(mss: UInt16 = 1000, window: UInt16 = 65_535) throws -> OneHost {
        let one = OneHost()
        try one.establish(window: window) { $0.maximumSegmentSize = mss }
        return one
    }

    @Test(
        "what stays unacknowledged is sent again with doubled distance, up to two minutes, and given up (RFC 6298 5.5, R2)"
    )
    func spacing() throws {
        let one = try Self.established()
        try one.send(10)
        #expect(one.sent().count == 1)
        let again = HandshakeTests.times(one, .seconds(3600))
        let data = again.filter { !$0.1.payload.isEmpty }
        #expect(data.count >= 15 && data.allSatisfy { $0.1.payload == pattern(10) && one.position($0.1) == 1 })
        let distances = zip(data, data.dropFirst()).map { $1.0 - $0.0 }.dropFirst(2)
        for (a, b) in zip(distances, distances.dropFirst()) { #expect(b == min(2 * a, 120_000), "\(distances)") }
        #expect(again.last?.1.bits.contains(.rst) == true, "the peer may live on: it hears of the end")
        #expect(one.ending == .failed(.timedOut))
        // RFC 9293 3.8.3, SHLD-11: R2 is at least 100 s.
        #expect(again.last.map { $0.0 >= 100_000 } == true)
    }

    @Test("an ACK of new data ends the backoff")
    func backoffEnds() throws {
        let one = try Self.established()
        try one.send(10)
        _ = one.sent()
        for _ in 0..<5 { #expect(!one.waitForSegment().isEmpty) }
        one.inject(.ack, seq: 1, ack: 11)
        try one.send(10)
        _ = one.sent()
        let before = one.now
        #expect(!one.waitForSegment().isEmpty)
        #expect(one.now - before <= .seconds(3))
    }

    @Test("each segment of a lost flight is sent again, in order, as ACKs come")
    func wholeFlight() throws {
        let one = try Self.established()
        try one.send(5000)
        #expect(one.sent().count == 5)
        var arrived = Set<Int>()
        var next = 1
        for _ in 0..<40 where next < 5001 {
            for segment in one.waitForSegment() where !segment.payload.isEmpty { arrived.insert(one.position(segment)) }
            while arrived.contains(next) {
                next += 1000
                for segment in one.inject(.ack, seq: 1, ack: next) where !segment.payload.isEmpty {
                    arrived.insert(one.position(segment))
                }
            }
        }
        #expect(next == 5001)
        #expect(one.connection?.sendQueued == 0)
    }

    @Test("what was sent twice gives no sample of the round trip (Karn, RFC 6298 3)")
    func karn() throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        try one.send(10)
        _ = one.sent()
        one.now = one.now + .milliseconds(20)
        one.inject(.ack, seq: 1, ack: 11)
        let before = connection.info.smoothedRTT
        try one.send(10)
        _ = one.sent()
        _ = one.wait(.seconds(5))
        one.inject(.ack, seq: 1, ack: 21)
        #expect(connection.info.smoothedRTT == before)
    }

    // MARK: Slow start

    /// Acknowledges everything sent so far in steps of `segments` full segments; what leaves comes back.
    private static func acknowledge(_ one: OneHost, _ flight: [OneHost.Sent], inSteps segments: Int) -> [OneHost.Sent] {
        var out: [OneHost.Sent] = []
        let ends = flight.map { one.position($0) + $0.payload.count }
        for (i, end) in ends.enumerated() where (i + 1) % segments == 0 || i == ends.count - 1 {
            out += one.inject(.ack, seq: 1, ack: end)
        }
        return out
    }

    @Test("in slow start the window grows by what is acknowledged, however many ACKs say so", arguments: [1, 2, 4])
    func slowStart(step: Int) throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        try one.send(200_000)
        let first = one.sent()
        #expect(first.count == 10, "RFC 6928: ten segments")
        one.now = one.now + .milliseconds(50)
        _ = Self.acknowledge(one, first, inSteps: step)
        #expect(connection.info.congestionWindow == 20_000)
    }

    @Test("a sender that the user limits does not grow its window (RFC 7661)", arguments: [1, 4])
    func applicationLimited(segments: Int) throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        for _ in 0..<20 {
            try one.send(segments * 1000)
            let flight = one.sent()
            one.now = one.now + .milliseconds(20)
            _ = Self.acknowledge(one, flight, inSteps: 1)
        }
        #expect(connection.info.congestionWindow <= 11_000)
    }

    @Test("after a timeout the window is one segment, and slow start runs to half of the flight (RFC 5681 3.1)")
    func afterTimeout() throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        try one.send(10_000)
        _ = one.sent()
        // However the tail is probed first, a timeout follows in the end.
        _ = one.wait(.seconds(10))
        #expect(connection.info.congestionWindow <= 2000)
        #expect(connection.info.slowStartThreshold <= 8000)
    }
}
