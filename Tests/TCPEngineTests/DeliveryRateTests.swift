// The delivery-rate estimate (draft-cheng-iccrg-delivery-rate-estimation, now draft-ietf-ccwg-bbr-06 4.1), and that a connection
// tells BBR what it has to know.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct DeliveryRateTests {
    /// Segments of 1,000 bytes that leave and arrive at given milliseconds.
    private struct Course {
        var rate = DeliveryRate()
        var queue = RetransmissionQueue()
        var nxt = StreamOffset(1)
        var una = StreamOffset(1)

        private func at(_ milliseconds: Int64) -> Instant {
            Instant(nanoseconds: 1_000_000_000) + .milliseconds(milliseconds)
        }

        mutating func send(at milliseconds: Int64, count: Int = 1) {
            for _ in 0..<count {
                let now = at(milliseconds)
                let snapshot = rate.snapshot(at: now, pipe: queue.pipe(outstanding: nxt - una), count: 1000)
                queue.sent(from: nxt, upTo: nxt + 1000, at: now, snapshot)
                nxt = nxt + 1000
            }
        }

        mutating func resend(_ index: Int, at milliseconds: Int64) {
            let from = StreamOffset(1) + index * 1000
            let now = at(milliseconds)
            let snapshot = rate.snapshot(at: now, pipe: queue.pipe(outstanding: nxt - una), count: 1000)
            queue.retransmitted(from: from, to: from + 1000, at: now, snapshot)
        }

        /// The sample of an ACK for `segments`, and for those of `selected`.
        mutating func acknowledge(
            _ segments: Int, selected: Range<Int>? = nil, at milliseconds: Int64, minimum: Int64? = nil
        ) -> RateSample? {
            var delivery = Delivery()
            una = StreamOffset(1) + segments * 1000
            queue.acknowledge(upTo: una, &delivery)
            if let selected {
                queue.select(
                    from: StreamOffset(1) + selected.lowerBound * 1000,
                    to: StreamOffset(1) + selected.upperBound * 1000,
                    maximumCount: 100, &delivery)
            }
            let showsRate = rate.take(
                delivery, minimumRoundTrip: minimum.map { .milliseconds($0) }, at: at(milliseconds))
            return rate.sample(of: delivery, showsRate: showsRate)
        }
    }

    @Test("the rate is what was delivered between a segment's departure and its ACK (4.1.1.2.1)")
    func ackRate() {
        var course = Course()
        // One every 10 ms, acknowledged 100 ms later.
        for i in 0..<10 as Range<Int64> { course.send(at: i * 10) }
        for i in 0..<10 as Range<Int64> {
            let sample = course.acknowledge(Int(i) + 1, at: 100 + i * 10)
            // All began with an idle network: the first flight shows 1, 2, 3 ... in 100, 110, 120 ms.
            #expect(sample?.delivered == (Int(i) + 1) * 1000)
            #expect(sample?.interval == .milliseconds(100 + i * 10))
            course.send(at: 100 + i * 10)
        }
        for i in 0..<10 as Range<Int64> {
            let sample = course.acknowledge(Int(i) + 11, at: 200 + i * 10)
            #expect(sample?.bytesPerSecond == 100_000)
            #expect(sample?.snapshot.delivered == (Int(i) + 1) * 1000)
        }
    }

    @Test("ACKs that come faster than what they are for was sent show no more than that (4.1.1.2.4)")
    func sendRate() {
        var course = Course()
        for i in 0..<10 as Range<Int64> { course.send(at: i * 10) }
        // All ACKs are held back, and come within a millisecond.
        _ = course.acknowledge(1, at: 200)
        let sample = course.acknowledge(10, at: 201)
        #expect(sample?.delivered == 10_000 && sample?.interval == .milliseconds(201))
        for i in 0..<10 as Range<Int64> { course.send(at: 210 + i * 10) }
        _ = course.acknowledge(11, at: 300)
        let next = course.acknowledge(20, at: 301)
        // 9 segments after the first of the flight, in 90 ms of sending: not in the one of the ACKs.
        #expect((next?.bytesPerSecond ?? .max) <= 111_112)
    }

    @Test("idle time is not part of any sample (4.1.2.2)")
    func idle() {
        var course = Course()
        course.send(at: 0)
        _ = course.acknowledge(1, at: 100)
        course.send(at: 60_000, count: 2)
        let sample = course.acknowledge(3, at: 60_100)
        #expect(sample?.bytesPerSecond == 20_000)
    }

    @Test("samples are the user's doing until what was in the network when it ran out is delivered (4.1.1.3, 4.1.2.3)")
    func userLimited() {
        var course = Course()
        course.send(at: 0, count: 2)
        course.rate.becameApplicationLimited(pipe: 2000)
        course.send(at: 1)
        #expect(course.rate.isApplicationLimited)
        #expect(course.acknowledge(2, at: 100)?.snapshot.isApplicationLimited == false)
        #expect(course.rate.isApplicationLimited, "the gap is still on its way")
        course.send(at: 101)
        #expect(course.acknowledge(3, at: 102)?.snapshot.isApplicationLimited == true)
        #expect(!course.rate.isApplicationLimited)
        course.send(at: 103)
        #expect(course.acknowledge(4, at: 201)?.snapshot.isApplicationLimited == true)
        #expect(course.acknowledge(5, at: 203)?.snapshot.isApplicationLimited == false)
    }

    @Test("what took less than the shortest round trip shows no rate, but what was delivered is known (4.1.2.3)")
    func tooShort() {
        var course = Course()
        course.send(at: 0, count: 3)
        let sample = course.acknowledge(1, at: 50, minimum: 100)
        #expect(sample?.bytesPerSecond == 0 && sample?.delivered == 1000)
        #expect(course.rate.estimate == nil && course.rate.delivered == 1000)
        #expect(course.acknowledge(2, at: 100, minimum: 100)?.bytesPerSecond == 20_000)
        // The last estimate stays.
        _ = course.acknowledge(2, selected: 2..<3, at: 101, minimum: 200)
        #expect(course.rate.estimate?.bytesPerSecond == 20_000)
    }

    @Test("an ACK that delivers nothing shows nothing (4.1.2.3)")
    func nothing() {
        var course = Course()
        course.send(at: 0)
        #expect(course.acknowledge(0, at: 100) == nil)
    }

    @Test("of what an ACK delivers, what was sent last counts, not what lies highest (4.1.2.3, IsNewestPacket)")
    func newest() {
        var course = Course()
        course.send(at: 0, count: 4)
        // Nothing was delivered in between: both have the same count, and the retransmission is the newer one.
        course.queue.markLost(0) { _, _ in }
        course.resend(0, at: 300)
        var delivery = Delivery()
        course.queue.acknowledge(upTo: StreamOffset(4001), &delivery)
        #expect(delivery.snapshotSentAt == Instant(nanoseconds: 1_300_000_000))
        #expect(delivery.snapshot?.delivered == 0)
    }
}

@Suite struct BBRConnectionTests {
    private func connected() throws -> OneHost {
        let one = OneHost { $0.connection.congestionControl = .bbr }
        _ = try one.host.listen(on: one.tuple.local, backlog: 4)
        one.inject(.syn, seq: 0) {
            $0.maximumSegmentSize = 1000
            $0.sackPermitted = true
        }
        one.now = one.now + .milliseconds(100)
        one.inject(.ack, seq: 1, ack: 1)
        return one
    }

    /// Acknowledges all that is outstanding a round trip later.
    private func round(_ one: OneHost, roundTrip: Int64 = 100) throws {
        one.now = one.now + .milliseconds(roundTrip)
        let connection = try #require(one.connection)
        one.inject(.ack, seq: 1, ack: connection.tcb.send.nxt - StreamOffset.zero)
    }

    @Test("rates of ProbeRTT count as limited by the user (draft 5.3.4.3)")
    func probeRTT() throws {
        let one = try connected()
        let connection = try #require(one.connection)
        for _ in 0..<100 where connection.congestion.bbr?.mode != .probeRTT {
            try one.send(20_000)
            _ = one.wait(.milliseconds(1))
            try round(one)
        }
        #expect(connection.congestion.bbr?.mode == .probeRTT)
        #expect(connection.rate.isApplicationLimited)
    }

    @Test("a loss that the timer finds is noted as one of its round (draft 5.2.4, 5.5.10.2)")
    func timeout() throws {
        let one = try connected()
        let connection = try #require(one.connection)
        try one.send(5000)
        _ = one.sent()
        #expect(connection.congestion.bbr?.lossInRound == false)
        _ = one.wait(.seconds(2))
        #expect(connection.statistics.timeouts > 0)
        #expect(connection.congestion.bbr?.lossInRound == true && connection.congestion.bbr?.isRecovering == true)
        #expect(connection.rate.lost > 0)
    }

    @Test("a recovery that only reordering has caused is taken back when the peer reports the duplicate (draft 5.5.11)")
    func spurious() throws {
        let one = try connected()
        let connection = try #require(one.connection)
        let bbr = try #require(connection.congestion.bbr)
        try one.send(30_000)
        _ = one.sent()
        one.now = one.now + .milliseconds(100)
        let window = connection.congestion.window
        one.acknowledge(1, 1001..<4001)
        #expect(bbr.isRecovering && bbr.lossInRound && bbr.undo != nil)
        one.acknowledge(4001)
        one.now = one.now + .milliseconds(100)
        one.acknowledge(10_001, 1..<1001)
        #expect(one.connection?.info.undoneReductions == 1)
        #expect(!bbr.isRecovering && !bbr.lossInRound && bbr.undo == nil)
        #expect(connection.congestion.window >= window && bbr.shortInflight == BBR.unset)
    }

    @Test("a loss that a tail loss probe has repaired counts in its round, and there is no recovery (draft 5.5.10.3)")
    func tailLoss() throws {
        let one = try connected()
        let connection = try #require(one.connection)
        let bbr = try #require(connection.congestion.bbr)
        try one.send(3000)
        _ = one.sent()
        one.now = one.now + .milliseconds(100)
        one.acknowledge(2001)
        // The third segment is sent again as a probe, and its ACK reports no duplicate.
        let probe = one.waitForSegment()
        #expect(probe.first.map(one.position) == 2001)
        one.now = one.now + .milliseconds(100)
        one.acknowledge(3001)
        // What was sent after it is acknowledged, and still no duplicate.
        try one.send(1000)
        _ = one.sent()
        one.now = one.now + .milliseconds(100)
        one.acknowledge(4001)
        #expect(connection.statistics.probeRepairs == 1)
        #expect(bbr.lossInRound && !bbr.isRecovering)
    }

    @Test("a window that is not full is no limit, however much of it is used (draft 2.2, C.is_cwnd_limited)")
    func windowLimited() throws {
        let one = try connected()
        let connection = try #require(one.connection)
        try one.send(9000)
        _ = one.sent()
        #expect(connection.usage.isLimited(window: connection.congestion.window, threshold: .max))
        #expect(!connection.usage.wasLimited)
        try one.send(9000)
        _ = one.sent()
        #expect(connection.usage.wasLimited)
    }

    @Test("a zero window is no idle time (draft 5.4.1)")
    func closedWindow() throws {
        let one = try connected()
        let connection = try #require(one.connection)
        try one.send(30_000)
        _ = one.sent()
        one.now = one.now + .milliseconds(100)
        one.inject(.ack, seq: 1, ack: 10_001, window: 0)
        #expect(connection.info.inFlight == 0)
        one.now = one.now + .milliseconds(10)
        one.inject(.ack, seq: 1, ack: 10_001, window: 60_000)
        #expect(connection.congestion.bbr?.isRestarting == false)
        // Everything sent and acknowledged, and then more: that is one.
        for _ in 0..<20 where connection.info.inFlight > 0 { try round(one) }
        one.now = one.now + .seconds(1)
        try one.send(1000)
        _ = one.sent()
        #expect(connection.congestion.bbr?.isRestarting == true)
    }
}
