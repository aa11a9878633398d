// TIME-WAIT: how it ends, how it starts anew, and when a SYN may end it (RFC 9293 3.6.1, RFC 6191).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct TimeWaitTests {
    static let ways: [Way] = [.timeWaitFromFinWait2, .timeWaitFromClosing, .timeWaitFromFinWait1, .timeWaitWatched]

    private func newSyn(_ one: OneHost, _ s: Situation) -> [OneHost.Sent] { one.inject(.syn, seq: s.rcvNxt + 1000) }

    @Test("TIME-WAIT lasts twice the maximum segment lifetime (MUST-13)", arguments: ways)
    func ends(way: Way) throws {
        let (one, _) = try OneHost.reach(way, .zeroWrap)
        _ = one.wait(.milliseconds(1899))
        #expect(one.stateNow == .timeWait)
        #expect(one.wait(.milliseconds(2)).isEmpty)
        #expect(one.stateNow == nil)
    }

    @Test("the peer's FIN again is acknowledged and starts the time anew", arguments: ways)
    func again(way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        for _ in 0..<5 {
            _ = one.wait(.milliseconds(1500))
            let answer = one.inject([.ack, .fin], seq: s.rcvNxt - 1, ack: s.sndNxt)
            #expect(one.reply(answer) == .ack(seq: s.sndNxt, ack: s.rcvNxt))
        }
        _ = one.wait(.milliseconds(1999))
        #expect(one.stateNow == .timeWait)
        _ = one.wait(.milliseconds(2))
        #expect(one.stateNow == nil)
    }

    @Test(
        "a connection that reopens from TIME-WAIT begins beyond the numbers of the old one (MAY-2, 1)", arguments: ways)
    func laterNumbers(way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        let synAck = try #require(newSyn(one, s).first)
        #expect(synAck.bits == [.syn, .ack])
        #expect(one.position(synAck) > s.sndNxt)
        // And it comes up.
        let iss = one.position(synAck)
        one.inject(.ack, seq: s.rcvNxt + 1001, ack: iss + 1, pattern(5))
        #expect(one.connection?.state == .established)
        #expect(one.read() == pattern(5))
    }

    @Test(
        "a listener that announces connections reopens from TIME-WAIT, too, and nothing of the old one stays",
        arguments: ways)
    func announced(way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        try one.listen()
        one.listener?.announcesConnections = true
        let synAck = try #require(newSyn(one, s).first)
        #expect(synAck.bits == [.syn, .ack])
        #expect(one.host.connectionCount == 1)
        one.inject(.rst, seq: s.rcvNxt + 1001)
        _ = one.wait(.seconds(10))
        #expect(one.host.connectionCount == 0)
    }

    @Test("an active OPEN in place of a TIME-WAIT begins beyond its numbers, too")
    func activeReuse() throws {
        let one = OneHost()
        try one.establish { $0.timestamps = Timestamps(value: 7, echoReply: 0) }
        let connection = try #require(one.connection)
        one.host.close(connection, at: one.now)
        _ = one.sent()
        one.inject([.ack, .fin], seq: 1, ack: 2) { $0.timestamps = Timestamps(value: 7, echoReply: 0) }
        #expect(one.stateNow == .timeWait)
        #expect(throws: ConnectionError.addressInUse) { try one.open() }
        one.now = one.now + .milliseconds(1001)
        let syn = try one.open()
        #expect(syn.map(\.bits) == [.syn])
        #expect(one.position(syn[0]) > 2)
    }

    @Test("if the SYN was an old duplicate, the peer's reset brings TIME-WAIT back (MAY-2, 2)")
    func oldDuplicate() throws {
        let (one, s) = try OneHost.reach(.timeWaitFromFinWait2, .zeroWrap)
        let synAck = try #require(newSyn(one, s).first)
        #expect(one.stateNow == .synReceived)
        one.inject([.rst], seq: one.acknowledged(synAck))
        #expect(one.stateNow == .timeWait)
        // It ends when it would have ended.
        _ = one.wait(.milliseconds(1899))
        #expect(one.stateNow == .timeWait)
        _ = one.wait(.milliseconds(2))
        #expect(one.stateNow == nil)
    }

    @Test("a SYN that the listener has no room for leaves TIME-WAIT as it is", arguments: [false, true])
    func noRoom(watched: Bool) throws {
        let one = OneHost()
        try one.listen(backlog: 1)
        try one.establish()
        let connection = try #require(one.connection)
        if watched { connection.eventMask = .stateChanges }
        one.host.close(connection, at: one.now)
        _ = one.sent()
        one.inject([.ack, .fin], seq: 1, ack: 2)
        #expect(one.stateNow == .timeWait)
        try #require(one.listener).handedOver = 2
        #expect(one.inject(.syn, seq: 5000).isEmpty)
        #expect(one.stateNow == .timeWait)
    }
}
