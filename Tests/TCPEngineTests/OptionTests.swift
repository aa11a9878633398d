// Timestamps, selective acknowledgments, urgent data, keepalive, user timeout: one rule at a time.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct TimestampTests {
    static func offer(_ value: UInt32) -> (inout TCPOptions) -> Void {
        { $0.timestamps = Timestamps(value: value, echoReply: 0) }
    }

    @Test("every segment after a SYN with timestamps echoes the newest one that was in order (RFC 7323 4.3)")
    func echo() throws {
        let one = OneHost()
        try one.establish(Self.offer(1000))
        let first = one.inject(.ack, seq: 1, ack: 1, [1, 2], window: 1000, Self.offer(1010))
        #expect(first.last?.header.options.timestamps?.echoReply == 1010)
        // Ahead of a hole: not the segment that covers Last.ACK.sent.
        let ahead = one.inject(.ack, seq: 10, ack: 1, [9], window: 1000, Self.offer(1020))
        #expect(ahead.last?.header.options.timestamps?.echoReply == 1010)
    }

    @Test("a segment with an older timestamp is acknowledged and dropped (RFC 7323 5.3)", arguments: [1, 5, 1 << 30])
    func stale(age: Int) throws {
        let one = OneHost()
        try one.establish(Self.offer(5))
        let old = UInt32(truncatingIfNeeded: 5 - age)
        let answer = one.inject(.ack, seq: 1, ack: 1, [1, 2, 3], Self.offer(old))
        #expect(answer.count == 1)
        #expect(answer.first.map(one.acknowledged) == 1)
        #expect(one.connection?.receivedCount == 0)
        #expect(one.connection?.info.segmentsStale == 1)
    }

    @Test("after 24 idle days an old timestamp says nothing (RFC 7323 5.5)")
    func idle() throws {
        let one = OneHost()
        try one.establish(Self.offer(5))
        one.now = one.now + .seconds(25 * 24 * 3600)
        one.inject(.ack, seq: 1, ack: 1, [1, 2, 3], Self.offer(4))
        #expect(one.connection?.receivedCount == 3)
    }

    @Test("a peer that does not offer timestamps gets none")
    func notOffered() throws {
        let one = OneHost()
        try one.establish()
        let answer = one.inject(.ack, seq: 1, ack: 1, [1])
        #expect(answer.first?.header.options.timestamps == nil)
    }

    @Test("segments leave room for the timestamps")
    func size() throws {
        let one = OneHost()
        try one.establish {
            $0.timestamps = Timestamps(value: 1, echoReply: 0)
            $0.maximumSegmentSize = 1000
        }
        try one.send(5000)
        #expect(one.sent().map(\.payload.count).max() == 988)
    }

    @Test("a port in TIME-WAIT is reused by a SYN with a newer timestamp, even with an older number (RFC 6191)")
    func reuse() throws {
        let one = OneHost()
        try one.establish(Self.offer(1000))
        let connection = try #require(one.connection)
        one.host.close(connection, at: one.now)
        _ = one.sent()
        one.inject([.ack, .fin], seq: 1, ack: 2, [], Self.offer(1001))
        #expect(one.host.connectionCount == 1 && connection.state == .timeWait)
        let stale = one.inject(.syn, seq: -1000, [], Self.offer(1001))
        #expect(stale.first?.bits.contains(.syn) == false, "an equal timestamp with an older number is old")
        let fresh = one.inject(.syn, seq: -1000, [], Self.offer(1002))
        #expect(fresh.first?.bits == [.syn, .ack])
    }
}

@Suite struct SelectiveAcknowledgmentTests {
    private func established() throws -> OneHost {
        let one = OneHost()
        try one.establish { $0.sackPermitted = true }
        return one
    }

    @Test("blocks come newest first and merge (RFC 2018 4)")
    func order() throws {
        let one = try established()
        let bytes = pattern(10)
        #expect(one.inject(.ack, seq: 21, ack: 1, bytes).first.map(one.blocks) == [21..<31])
        #expect(one.inject(.ack, seq: 61, ack: 1, bytes).first.map(one.blocks) == [61..<71, 21..<31])
        #expect(one.inject(.ack, seq: 41, ack: 1, bytes).first.map(one.blocks) == [41..<51, 61..<71, 21..<31])
        #expect(one.inject(.ack, seq: 31, ack: 1, bytes).first.map(one.blocks) == [21..<51, 61..<71])
        let filled = one.inject(.ack, seq: 1, ack: 1, pattern(20))
        #expect(filled.first.map(one.acknowledged) == 51)
        #expect(filled.first.map(one.blocks) == [61..<71])
    }

    @Test("what comes twice is reported once, before the rest (RFC 2883 4)")
    func duplicates() throws {
        let one = try established()
        one.inject(.ack, seq: 1, ack: 1, pattern(10))
        #expect(one.inject(.ack, seq: 1, ack: 1, pattern(10)).first.map(one.blocks) == [1..<11])
        #expect(one.inject(.ack, seq: 21, ack: 1, pattern(10)).first.map(one.blocks) == [21..<31])
        #expect(one.inject(.ack, seq: 25, ack: 1, pattern(3)).first.map(one.blocks) == [25..<28, 21..<31])
        // Partly new: only what was there before is a duplicate.
        #expect(one.inject(.ack, seq: 6, ack: 1, pattern(10)).first.map(one.blocks) == [6..<11, 21..<31])
    }

    @Test("a peer that does not permit them gets none")
    func notPermitted() throws {
        let one = OneHost()
        try one.establish()
        #expect(one.inject(.ack, seq: 21, ack: 1, pattern(10)).first.map(one.blocks) == [])
    }
}

@Suite struct UrgentDataTests {
    @Test("the pointer names the byte after the urgent data, segment by segment (RFC 9293 3.8.5)")
    func sending() throws {
        let one = OneHost()
        try one.establish { $0.maximumSegmentSize = 100 }
        let connection = try #require(one.connection)
        one.host.setNoDelay(connection, true, at: one.now)
        _ = try pattern(250).withUnsafeBytes { try one.host.sendUrgent(connection, $0, at: one.now) }
        let segments = one.sent()
        #expect(segments.map(\.header.urgentPointer) == [250, 150, 50])
        #expect(segments.allSatisfy { $0.bits.contains(.urg) })
        try one.send(10)
        #expect(one.sent().first?.bits.contains(.urg) == false, "it was all sent before")
    }

    @Test("the user hears of urgent data once, and where it ends (RFC 6093)")
    func receiving() throws {
        let one = OneHost()
        try one.establish()
        one.inject([.ack, .urg], seq: 1, ack: 1, pattern(10), urgent: 4)
        one.inject([.ack, .urg], seq: 11, ack: 1, pattern(10), urgent: 0)
        #expect(one.events.filter { $0 == "urgent" }.count == 2, "\(one.events)")
        #expect(one.connection?.bytesToUrgentEnd == 10)
        #expect(one.connection?.receivedCount == 20, "urgent data stays in the stream")
    }
}

@Suite struct KeepAliveTests {
    private func keepAlive() throws -> OneHost {
        let one = OneHost()
        try one.establish()
        let connection = try #require(one.connection)
        one.host.setKeepAlive(
            connection, true, idle: .seconds(10), interval: .seconds(2), probes: 3, at: one.now)
        return one
    }

    @Test("an idle peer is asked, and given up when it stays silent (RFC 9293 3.8.4)")
    func silent() throws {
        let one = try keepAlive()
        #expect(one.wait(.seconds(9)).isEmpty)
        let probes = one.wait(.seconds(8))
        #expect(probes.map(one.position) == [0, 0, 0, 1], "three probes below SND.NXT, then a reset")
        #expect(probes.last?.bits.contains(.rst) == true)
        #expect(one.connection?.state == .closed)
    }

    @Test("an answer begins the idle time anew")
    func answers() throws {
        let one = try keepAlive()
        #expect(one.wait(.seconds(11)).count == 1)
        one.inject(.ack, seq: 1, ack: 1)
        #expect(one.wait(.seconds(9)).isEmpty)
        #expect(one.wait(.seconds(2)).count == 1)
        #expect(one.connection?.state == .established)
    }

    @Test("the user timeout ends a connection whose data stays unacknowledged (RFC 9293 3.10.8)")
    func userTimeout() throws {
        let one = OneHost()
        try one.establish()
        let connection = try #require(one.connection)
        one.host.setUserTimeout(connection, .seconds(3))
        try one.send(10)
        _ = one.wait(.milliseconds(2900))
        #expect(connection.state == .established)
        _ = one.wait(.milliseconds(200))
        #expect(connection.state == .closed)
        #expect(one.events.contains { $0.contains("timedOut") }, "\(one.events)")
    }

    @Test("the user timeout ends a connection whose window stays closed")
    func closedWindow() throws {
        let one = OneHost()
        try one.establish(window: 0)
        let connection = try #require(one.connection)
        one.host.setUserTimeout(connection, .seconds(5))
        try one.send(10)
        for _ in 0..<20 {
            for probe in one.wait(.milliseconds(500)) where !probe.payload.isEmpty {
                one.inject(.ack, seq: 1, ack: 1, window: 0)
            }
        }
        #expect(connection.state == .closed)
    }
}

@Suite struct SynTests {
    @Test("data and FIN with a SYN wait until the connection is up (RFC 9293 3.10.7.2)")
    func early() throws {
        let one = OneHost()
        _ = try one.host.listen(on: one.tuple.local, backlog: 4)
        let answer = one.inject([.syn, .fin], seq: 0, pattern(10))
        #expect(answer.first.map(one.acknowledged) == 1)
        #expect(one.connection == nil)
        let ack = one.inject(.ack, seq: 12, ack: 1)
        #expect(one.connection?.receivedCount == 10)
        #expect(one.connection?.state == .closeWait)
        #expect(ack.last.map(one.acknowledged) == 12)
    }

    @Test("two SYNs that cross make one connection (RFC 9293 3.5, figure 8)", arguments: [0, 5])
    func simultaneous(text: Int) throws {
        let one = OneHost()
        let connection = try one.host.open(
            from: one.tuple.local, localAddress: one.tuple.local.address, to: one.tuple.remote, at: one.now)
        one.host.addLink(
            LinkID(1),
            LinkProperties(maximumSegmentSize: 1460, maximumSegmentLifetime: .seconds(1), computesChecksum: false),
            for: one.tuple.addresses, at: one.now)
        #expect(one.sent().first?.bits == .syn)
        let answer = one.inject(.syn, seq: 0, pattern(text))
        #expect(answer.first?.bits == [.syn, .ack])
        #expect(connection.state == .synReceived)
        one.inject([.syn, .ack], seq: 0, ack: 1)
        #expect(connection.state == .established)
        #expect(connection.receivedCount == text)
    }

    @Test("the first two duplicate ACKs let a new segment each leave (RFC 3042)")
    func limitedTransmit() throws {
        let one = OneHost()
        try one.establish { $0.maximumSegmentSize = 1000 }
        try one.send(30_000)
        let window = one.sent().count
        for _ in 0..<2 { #expect(one.inject(.ack, seq: 1, ack: 1).map(\.payload.count) == [1000]) }
        let third = one.inject(.ack, seq: 1, ack: 1)
        #expect(third.first.map(one.position) == 1, "the third duplicate retransmits, after \(window) segments")
    }

    @Test("after an idle time the window begins anew (RFC 5681 4.1)")
    func idleRestart() throws {
        let one = OneHost()
        try one.establish { $0.maximumSegmentSize = 1000 }
        try one.send(40_000)
        var arrived = one.sent()
        while let last = arrived.last {
            arrived = one.inject(.ack, seq: 1, ack: one.position(last) + last.payload.count)
        }
        let connection = try #require(one.connection)
        let grown = connection.info.congestionWindow
        #expect(grown > 10_000)
        _ = one.wait(.seconds(5))
        try one.send(40_000)
        #expect(one.sent().reduce(0) { $0 + $1.payload.count } == 10_000)
        #expect(connection.info.congestionWindow == 10_000)
    }
}
