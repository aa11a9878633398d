// The handshake: retransmissions, refusals, what the SYN's options and window mean (RFC 9293 3.5, 3.7.1, 3.8.1).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct HandshakeTests {
    /// When each segment that leaves within `duration` does so, in milliseconds.
    static func times(_ one: OneHost, _ duration: TimeInterval) -> [(Int64, OneHost.Sent)] {
        let start = one.now
        let end = start + duration
        var all: [(Int64, OneHost.Sent)] = []
        while let next = one.host.nextTimeout, next <= end {
            one.now = max(one.now, next)
            one.host.handleTimeout(at: one.now)
            all += one.sent().map { ((one.now.nanoseconds - start.nanoseconds) / 1_000_000, $0) }
        }
        one.now = end
        return all
    }

    @Test("a SYN is sent again after 1, 2, 4 ... seconds, and then given up (RFC 6298 2.1, 5.5)")
    func synSpacing() throws {
        let one = OneHost()
        #expect(try one.open().map(\.bits) == [.syn])
        let again = Self.times(one, .seconds(300))
        #expect(again.map(\.0) == [1000, 3000, 7000, 15_000, 31_000, 63_000])
        #expect(again.allSatisfy { $0.1.bits == .syn && one.position($0.1) == 0 })
        #expect(one.stateNow == nil && one.ending == .failed(.timedOut))
    }

    @Test("a SYN-ACK is sent again after 1, 2, 4 ... seconds, and then forgotten (RFC 6298)")
    func synAckSpacing() throws {
        let (one, _) = try OneHost.reach(.synReceivedPassive, .zeroWrap)
        let again = Self.times(one, .seconds(300))
        #expect(again.map(\.0) == [1000, 3000, 7000, 15_000, 31_000])
        #expect(again.allSatisfy { $0.1.bits == [.syn, .ack] && one.acknowledged($0.1) == 1 })
        #expect(one.stateNow == nil)
    }

    @Test("the SYN-ACK of a simultaneous open is sent again, too")
    func simultaneousSpacing() throws {
        let (one, _) = try OneHost.reach(.synReceivedSimultaneous, .zeroWrap)
        let again = Self.times(one, .seconds(4))
        #expect(again.allSatisfy { $0.1.bits == [.syn, .ack] })
        #expect(again.count >= 2)
    }

    @Test("data completes a handshake whose last ACK was lost (RFC 9293 3.10.7.4, fifth)")
    func lostAck() throws {
        let (one, _) = try OneHost.reach(.synReceivedPassive, .zeroWrap)
        one.inject([.ack, .psh], seq: 1, ack: 1, pattern(30))
        #expect(one.connection?.state == .established)
        #expect(one.read() == pattern(30))
    }

    @Test("data ahead of a hole completes it as well, and waits")
    func outOfOrder() throws {
        let (one, _) = try OneHost.reach(.synReceivedPassive, .zeroWrap)
        one.inject(.ack, seq: 31, ack: 1, pattern(30))
        #expect(one.connection?.state == .established)
        #expect(one.read().isEmpty)
        one.inject(.ack, seq: 1, ack: 1, pattern(30))
        #expect(one.read() == pattern(30) + pattern(30))
    }

    @Test("a final ACK with an old timestamp does not establish (RFC 7323 5.3)")
    func staleFinalAck() throws {
        let one = OneHost()
        try one.listen()
        one.inject(.syn, seq: 0) { $0.timestamps = Timestamps(value: 1000, echoReply: 0) }
        let answer = one.inject(.ack, seq: 1, ack: 1) { $0.timestamps = Timestamps(value: 999, echoReply: 0) }
        #expect(one.reply(answer) == .ack(seq: 1, ack: 1))
        #expect(answer.first?.header.options.timestamps?.echoReply == 1000)
        #expect(one.connection == nil && one.stateNow == .synReceived)
        one.inject(.ack, seq: 1, ack: 1) { $0.timestamps = Timestamps(value: 1000, echoReply: 0) }
        #expect(one.connection?.state == .established)
    }

    @Test("the window of a SYN is not scaled, whatever its option says (RFC 7323 2.2)", arguments: [false, true])
    func synWindow(active: Bool) throws {
        let one = OneHost()
        let options: (inout TCPOptions) -> Void = {
            $0.windowScale = 7
            $0.maximumSegmentSize = 1000
        }
        if active {
            try one.open()
            one.inject([.syn, .ack], seq: 0, ack: 1, window: 300, options)
        } else {
            try one.listen()
            one.inject(.syn, seq: 0, window: 300, options)
            // The final ACK's window is scaled: 10 << 7.
            one.inject(.ack, seq: 1, ack: 1, window: 10)
        }
        let expected: UInt32 = active ? 300 : 1280
        #expect(one.connection?.info.sndWnd == expected)
        try one.send(2000)
        #expect(one.sent().reduce(0) { $0 + $1.payload.count } <= Int(expected))
    }

    @Test("a shift count above 14 counts as 14 (RFC 7323 2.3)")
    func largeShift() throws {
        let one = OneHost()
        try one.listen()
        one.inject(.syn, seq: 0, window: 300) { $0.windowScale = 15 }
        one.inject(.ack, seq: 1, ack: 1, window: 3)
        #expect(one.connection?.info.sndWnd == 3 << 14)
    }

    @Test("scaling is off unless both SYNs had the option (RFC 7323 2.2)")
    func noScale() throws {
        let one = OneHost()
        try one.listen()
        let synAck = one.inject(.syn, seq: 0, window: 300)
        #expect(synAck.first?.header.options.windowScale == nil)
        one.inject(.ack, seq: 1, ack: 1, window: 400)
        #expect(one.connection?.info.sndWnd == 400)
    }

    struct MSSCase: Sendable, CustomStringConvertible {
        let description: String
        var ipv6 = false
        var offered: UInt16?
        var link: UInt16 = 1460
        let expected: Int
    }

    static let segmentSizes = [
        MSSCase(description: "no option, IPv4: 536 (MUST-15)", expected: 536),
        MSSCase(description: "no option, IPv6: a deviation", ipv6: true, expected: 536),
        MSSCase(description: "no option, a link that takes less", link: 300, expected: 300),
        MSSCase(description: "the option", offered: 1000, expected: 1000),
        MSSCase(description: "the option beyond what the link takes (MUST-16)", offered: 9000, expected: 1460),
        MSSCase(description: "a tiny one", offered: 1, expected: 1),
        MSSCase(description: "nothing at all", offered: 0, expected: 1),
    ]

    @Test("no segment is larger than the peer's MSS and the link allow", arguments: segmentSizes, [false, true])
    func segmentSize(c: MSSCase, active: Bool) throws {
        let one = OneHost(ipv6: c.ipv6)
        if c.link != 1460 {
            one.host.removeLink(LinkID(1), at: one.now)
            one.addLink(maximumSegmentSize: c.link)
        }
        if active {
            // The link is there already: the MSS of the test's is not asked again.
            one.connection = try one.host.open(
                from: one.tuple.local, localAddress: one.tuple.local.address, to: one.tuple.remote, at: one.now)
            one.addLink(maximumSegmentSize: c.link)
            _ = one.sent()
            one.inject([.syn, .ack], seq: 0, ack: 1) { $0.maximumSegmentSize = c.offered }
        } else {
            try one.establish { $0.maximumSegmentSize = c.offered }
        }
        try one.send(8 * c.expected)
        #expect(one.sent().map(\.payload.count).max() == c.expected)
    }

    @Test("the SYN announces what the link takes (MUST-14, MUST-67)", arguments: [UInt16(300), 1460, 65_495])
    func announced(link: UInt16) throws {
        let one = OneHost()
        one.host.removeLink(LinkID(1), at: one.now)
        one.connection = try one.host.open(
            from: one.tuple.local, localAddress: one.tuple.local.address, to: one.tuple.remote, at: one.now)
        one.addLink(maximumSegmentSize: link)
        #expect(one.sent().map(\.header.options.maximumSegmentSize) == [link])
    }

    @Test("RST with a good ACK refuses; what was queued is gone and can be queued no more", arguments: [0, 100])
    func refused(queued: Int) throws {
        let (one, _) = try OneHost.reach(.synSent, .zeroWrap)
        if queued > 0 { try one.send(queued) }
        #expect(one.inject([.rst, .ack], seq: 0, ack: 1).isEmpty)
        #expect(one.ending == .failed(.refused))
        #expect(one.connection?.sendQueued == 0)
        #expect(throws: ConnectionError.notConnected) { try one.send(1) }
    }

    @Test("data queued in SYN-SENT leaves with the handshake's ACK, at most what the SYN-ACK's window allows")
    func queuedEarly() throws {
        let (one, _) = try OneHost.reach(.synSent, .zeroWrap)
        try one.send(1000)
        let segments = one.inject([.syn, .ack], seq: 0, ack: 1, window: 300) { $0.maximumSegmentSize = 200 }
        #expect(segments.first?.bits.contains(.ack) == true)
        #expect(segments.reduce(0) { $0 + $1.payload.count } <= 300)
        #expect(segments.map(\.payload.count) == [200])
    }

    @Test("URG on a SYN-ACK is heard (RFC 9293 3.10.7.3, fourth: go on at the sixth step)")
    func urgentSynAck() throws {
        let (one, _) = try OneHost.reach(.synSent, .zeroWrap)
        // SEG.SEQ + SEG.UP counts from the SYN.
        one.inject([.syn, .ack, .urg], seq: 0, ack: 1, pattern(10), urgent: 5)
        #expect(one.events.contains("urgent"))
        #expect(one.connection?.bytesToUrgentEnd == 4)
    }
}
