// The closed window from the sender's side: probes, their spacing, and what ends them (RFC 9293 3.8.6.1).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct PersistTests {
    /// Established, the peer's window closed, and `queued` bytes waiting behind it.
    static func stuck(_ queued: Int = 100, closeAfter: Int = 0) throws -> OneHost {
        let one = OneHost()
        if closeAfter == 0 {
            try one.establish(window: 0)
        } else {
            try one.establish(window: UInt16(closeAfter))
            try one.send(closeAfter)
            #expect(one.sent().reduce(0) { $0 + $1.payload.count } == closeAfter)
            one.inject(.ack, seq: 1, ack: 1 + closeAfter, window: 0)
        }
        try one.send(queued)
        #expect(one.sent().isEmpty)
        return one
    }

    @Test("the first probe comes after one retransmission timeout, then with doubled distance (SHLD-29, SHLD-30)")
    func spacing() throws {
        let one = try Self.stuck()
        var distances: [Int64] = []
        var last: Int64 = 0
        let start = one.now.nanoseconds / 1_000_000
        for _ in 0..<8 {
            let probe = one.waitForSegment()
            #expect(probe.map(\.payload) == [[pattern(1)[0]]])
            #expect(probe.first.map(one.position) == 1)
            let at = one.now.nanoseconds / 1_000_000 - start
            distances.append(at - last)
            last = at
            one.inject(.ack, seq: 1, ack: 1, window: 0)
        }
        #expect(distances[0] >= 200 && distances[0] <= 1000)
        #expect(zip(distances, distances.dropFirst()).allSatisfy { $1 == 2 * $0 }, "\(distances)")
    }

    @Test("the distance of probes is bounded: after an hour there is one every two minutes")
    func bounded() throws {
        let one = try Self.stuck()
        for _ in 0..<40 { for _ in one.wait(.seconds(100)) { one.inject(.ack, seq: 1, ack: 1, window: 0) } }
        #expect(one.connection?.state == .established)
        var probes = 0
        for _ in 0..<12 {
            for _ in one.wait(.seconds(100)) {
                probes += 1
                one.inject(.ack, seq: 1, ack: 1, window: 0)
            }
        }
        #expect(probes >= 9 && probes <= 11)
    }

    @Test("as long as probes are answered the connection stays, for days (MUST-37)", arguments: [false, true])
    func answered(closed: Bool) throws {
        let one = try Self.stuck()
        let connection = try #require(one.connection)
        if closed { one.host.close(connection, at: one.now) }
        for _ in 0..<3000 {
            #expect(!one.waitForSegment().isEmpty)
            one.inject(.ack, seq: 1, ack: 1, window: 0)
        }
        #expect(connection.state == (closed ? .finWait1 : .established))
        // And then everything leaves.
        let rest = one.inject(.ack, seq: 1, ack: 1, window: 1000)
        #expect(rest.flatMap(\.payload) == pattern(100))
    }

    @Test("probes that nobody answers end the connection")
    func unanswered() throws {
        let one = try Self.stuck()
        let probes = one.wait(.seconds(7200))
        #expect(one.connection?.state == .closed && one.ending == .failed(.timedOut))
        #expect(probes.filter { !$0.bits.contains(.rst) }.count >= 10)
    }

    @Test("the receiver takes the probe's byte: it is not sent again (RFC 9293 3.8.6.1)")
    func taken() throws {
        let one = try Self.stuck()
        _ = one.wait(.seconds(1))
        let rest = one.inject(.ack, seq: 1, ack: 2, window: 1000)
        #expect(rest.map(\.payload) == [Array(pattern(100)[1...])])
        #expect(rest.first.map(one.position) == 2)
    }

    @Test("when the window opens after probes, all goes on at once", arguments: [0, 1, 4])
    func opens(probes: Int) throws {
        let one = try Self.stuck(closeAfter: 50)
        for _ in 0..<probes {
            #expect(one.waitForSegment().count == 1)
            one.inject(.ack, seq: 1, ack: 51, window: 0)
        }
        let rest = one.inject(.ack, seq: 1, ack: 51, window: 1000)
        #expect(rest.flatMap(\.payload) == pattern(100))
        #expect(rest.first.map(one.position) == 51)
    }

    @Test(
        "a window that closes while data is outstanding: probes, no loss is seen, and it arrives once the window opens")
    func closesOnOutstanding() throws {
        let one = OneHost()
        try one.establish(window: 1000)
        try one.send(400)
        #expect(one.sent().count == 1)
        // The receiver has no room for it: RFC 9293 3.8.6, the window shrinks to zero (MUST-35).
        one.inject(.ack, seq: 1, ack: 1, window: 0)
        let window = try #require(one.connection).info.congestionWindow
        let probes = one.wait(.seconds(10))
        #expect(probes.allSatisfy { $0.payload.count == 1 && one.position($0) == 1 })
        #expect(probes.count >= 3)
        #expect(one.connection?.info.congestionWindow == window, "a closed window is not a sign of congestion")
        let rest = one.inject(.ack, seq: 1, ack: 1, window: 1000)
        #expect(rest.map(\.payload) == [pattern(400)])
        one.inject(.ack, seq: 1, ack: 401, window: 1000)
        #expect(one.connection?.sendQueued == 0)
    }

    @Test(
        "the user timeout counts while the window is closed, answered or not (TCP_USER_TIMEOUT)",
        arguments: [false, true])
    func userTimeout(answers: Bool) throws {
        let one = try Self.stuck()
        one.host.setUserTimeout(try #require(one.connection), .seconds(5))
        let start = one.now
        while one.connection?.state != .closed, one.now - start < .seconds(60) {
            _ = one.waitForSegment()
            if answers, one.connection?.state != .closed { one.inject(.ack, seq: 1, ack: 1, window: 0) }
        }
        #expect(one.ending == .failed(.timedOut))
        #expect(one.now - start <= .seconds(6))
    }

    @Test("a window too small for comfort is filled after a while (RFC 9293 3.8.6.2.1)")
    func smallWindow() throws {
        let one = OneHost()
        try one.establish(window: 1000) { $0.maximumSegmentSize = 500 }
        try one.send(1000)
        #expect(one.sent().count == 2)
        // 100 bytes of window: less than half of the largest.
        one.inject(.ack, seq: 1, ack: 1001, window: 100)
        try one.send(600)
        #expect(one.sent().isEmpty)
        #expect(one.connection?.holdReason == .sillyWindow)
        let late = one.wait(.seconds(1))
        #expect(late.first?.payload.count == 100)
    }
}
