// How connections end: FIN both ways, half-close, retransmitted FINs, orphans, resets (RFC 9293 3.6).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct CloseTests {
    @Test("a local close first: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT, CLOSED (RFC 9293 figure 12)")
    func localFirst() throws {
        let one = OneHost()
        try one.establish()
        let connection = try #require(one.connection)
        connection.eventMask = .stateChanges
        one.host.shutdownSending(connection, at: one.now)
        #expect(one.sent().map(\.bits) == [[.fin, .ack]])
        one.inject(.ack, seq: 1, ack: 2)
        #expect(one.reply(one.inject([.fin, .ack], seq: 1, ack: 2)) == .ack(seq: 2, ack: 2))
        _ = one.wait(.seconds(2))
        let path = one.events.filter { $0.hasPrefix("stateChanged") }.map { event in
            State.allCases.first { event.contains("to: \($0),") }
        }
        #expect(path == [.finWait1, .finWait2, .timeWait, .closed])
        #expect(one.ending == .orderly)
    }

    @Test("the peer's FIN first: CLOSE-WAIT, LAST-ACK, CLOSED; a segment after that is reset (3.10.7.1)")
    func remoteFirst() throws {
        let one = OneHost()
        try one.establish()
        let connection = try #require(one.connection)
        one.inject([.fin, .ack], seq: 1, ack: 1)
        #expect(connection.state == .closeWait)
        one.host.close(connection, at: one.now)
        #expect(one.sent().map(\.bits) == [[.fin, .ack]])
        #expect(connection.state == .lastAck)
        #expect(one.inject(.ack, seq: 2, ack: 2).isEmpty)
        #expect(one.stateNow == nil && one.ending == .orderly)
        #expect(one.reply(one.inject([.psh, .ack], seq: 2, ack: 2, [1])) == .reset(seq: 2))
    }

    @Test("a peer that acknowledges data and closes, while we send: the rest still arrives (half-close)")
    func halfClose() throws {
        let one = OneHost()
        try one.establish()
        let connection = try #require(one.connection)
        one.inject([.fin, .ack], seq: 1, ack: 1, pattern(10))
        #expect(one.read() == pattern(10) && connection.isAtEndOfStream)
        try one.send(1000)
        #expect(one.sent().reduce(0) { $0 + $1.payload.count } == 1000)
        one.inject(.ack, seq: 12, ack: 1001)
        #expect(connection.sendQueued == 0 && connection.state == .closeWait)
    }

    // MARK: FIN retransmission

    static let unacknowledged: [Way] = [.finWait1, .finWait1Orphan, .closing, .lastAck]

    @Test(
        "an unacknowledged FIN is sent again with growing distance, until it is acknowledged", arguments: unacknowledged
    )
    func finAgain(way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        // Acknowledge the data, so that the FIN alone is outstanding.
        one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt - 1, window: OneHost.peerWindow)
        let again = HandshakeTests.times(one, .seconds(8))
        #expect(again.count >= 4)
        #expect(again.allSatisfy { $0.1.bits == [.fin, .ack] && one.position($0.1) == s.sndNxt - 1 })
        let distances = zip(again, again.dropFirst()).map { $1.0 - $0.0 }
        #expect(zip(distances, distances.dropFirst()).allSatisfy { $1 == 2 * $0 }, "\(again.map(\.0))")
        one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt, window: OneHost.peerWindow)
        #expect(HandshakeTests.times(one, .seconds(1)).isEmpty)
    }

    @Test("a FIN that nobody ever acknowledges ends the connection (R2, 3.8.3)", arguments: unacknowledged)
    func finGivenUp(way: Way) throws {
        let (one, _) = try OneHost.reach(way, .zeroWrap)
        _ = one.wait(.seconds(3600))
        #expect(one.stateNow == nil)
        #expect(one.ending == .failed(.timedOut))
    }

    @Test("a FIN behind a closed window leaves by a probe and ends the connection", arguments: [0, 10])
    func finBehindClosedWindow(queued: Int) throws {
        let one = OneHost()
        try one.establish(window: 0)
        let connection = try #require(one.connection)
        if queued > 0 { try one.send(queued) }
        one.host.close(connection, at: one.now)
        #expect(one.sent().isEmpty)
        #expect(connection.state == .finWait1)
        let probes = one.wait(.seconds(2))
        #expect(!probes.isEmpty)
        #expect(probes.allSatisfy { one.position($0) == 1 && $0.bits.contains(.fin) == (queued == 0) })
        // The window opens: everything leaves.
        let rest = one.inject(.ack, seq: 1, ack: 1, window: 1000)
        #expect(rest.last?.bits.contains(.fin) == true)
        one.inject([.fin, .ack], seq: 1, ack: queued + 2)
        #expect(one.stateNow == .timeWait)
    }

    // MARK: FIN-WAIT-2

    @Test("a closed connection waits 60 s for the peer's FIN (tcp_fin_timeout); what comes later is reset")
    func orphanInFinWait2() throws {
        let (one, s) = try OneHost.reach(.finWait2Orphan, .zeroWrap)
        _ = one.wait(.seconds(59))
        #expect(one.stateNow == .finWait2)
        #expect(one.wait(.seconds(1)).isEmpty)
        #expect(one.stateNow == nil)
        #expect(one.inject([.fin, .ack], seq: s.rcvNxt, ack: s.sndNxt).map(\.bits) == [.rst])
    }

    @Test("a half-closed connection whose user still reads waits for ever")
    func userInFinWait2() throws {
        let (one, s) = try OneHost.reach(.finWait2, .zeroWrap)
        _ = one.wait(.seconds(36_000))
        #expect(one.stateNow == .finWait2)
        one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt, pattern(3))
        #expect(one.read() == pattern(3))
        // CLOSE now starts the 60 s.
        one.host.close(try #require(one.connection), at: one.now)
        _ = one.wait(.seconds(61))
        #expect(one.stateNow == nil)
    }

    // MARK: shutdown(2)

    @Test("after SHUT_RD what comes is acknowledged and discarded, and the window stays open")
    func shutRead() throws {
        let (one, s) = try OneHost.reach(.established, .zeroWrap)
        let connection = try #require(one.connection)
        one.host.shutdownReceiving(connection, at: one.now)
        #expect(one.sent().isEmpty)
        var next = s.rcvNxt
        for _ in 0..<10 {
            let answer =
                one.inject(.ack, seq: next, ack: s.sndNxt, pattern(400), window: OneHost.peerWindow)
                + one.wait(.milliseconds(40))
            next += 400
            #expect(answer.last.map(one.acknowledged) == next)
            #expect((answer.last?.header.window.value ?? 0) >= 400)
        }
        #expect(connection.receivedCount == 0 && connection.state == .established)
    }

    @Test("SHUT_RD discards what is unread; SHUT_WR after it sends FIN", arguments: [0, 100])
    func shutBoth(queued: Int) throws {
        let (one, s) = try OneHost.reach(.established, .zeroWrap)
        let connection = try #require(one.connection)
        one.inject(.ack, seq: s.rcvNxt, ack: s.sndUna, pattern(50), window: OneHost.peerWindow)
        if queued > 0 { try one.send(queued) }
        one.host.shutdownReceiving(connection, at: one.now)
        #expect(connection.receivedCount == 0)
        one.host.shutdownSending(connection, at: one.now)
        let segments = one.sent()
        #expect(segments.last?.bits.contains(.fin) == true)
        #expect(segments.reduce(0) { $0 + $1.payload.count } == queued)
        #expect(connection.state == .finWait1)
        // The peer goes on sending; nobody is reset.
        let answer = one.inject(.ack, seq: s.rcvNxt + 50, ack: s.sndNxt + queued + 1, pattern(10))
        #expect(answer.allSatisfy { !$0.bits.contains(.rst) })
        #expect(connection.state == .finWait2)
    }

    @Test("after SHUT_RDWR, close ends it as CLOSE does: orphaned in FIN-WAIT-2, data is still discarded")
    func closeAfterShutdown() throws {
        let (one, s) = try OneHost.reach(.established, .zeroWrap)
        let connection = try #require(one.connection)
        one.host.shutdownReceiving(connection, at: one.now)
        one.host.shutdownSending(connection, at: one.now)
        _ = one.sent()
        one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt + 1)
        one.host.close(connection, at: one.now)
        #expect(one.sent().isEmpty)
        _ = one.wait(.seconds(61))
        #expect(one.stateNow == nil)
    }

    // MARK: CLOSE with data

    @Test("CLOSE while received data is unread resets, so that the peer hears of the loss (3.6.1, SHLD-3)")
    func unread() throws {
        let (one, s) = try OneHost.reach(.closeWait, .zeroWrap)
        #expect(s.state == .closeWait)
        let (other, t) = try OneHost.reach(.established, .zeroWrap)
        other.inject([.ack, .fin], seq: t.rcvNxt, ack: t.sndNxt, pattern(5))
        other.host.close(try #require(other.connection), at: other.now)
        #expect(other.sent().map(\.bits) == [[.rst, .ack]])
        // Without anything unread it is a FIN.
        one.host.close(try #require(one.connection), at: one.now)
        #expect(one.sent().map(\.bits) == [[.fin, .ack]])
    }

    @Test("CLOSE sends what was queued before the FIN, however long that takes, and loses nothing")
    func closeDelivers() throws {
        let one = OneHost()
        try one.establish(window: 1000) { $0.maximumSegmentSize = 500 }
        let connection = try #require(one.connection)
        try one.send(10_000)
        one.host.close(connection, at: one.now)
        var segments = one.sent()
        var got = 0
        for _ in 0..<100 where connection.state == .finWait1 {
            var end = 1
            for s in segments {
                got += s.payload.count
                end = one.position(s) + s.payload.count + (s.bits.contains(.fin) ? 1 : 0)
            }
            segments = one.inject(.ack, seq: 1, ack: end, window: 1000)
            if segments.isEmpty { segments = one.wait(.seconds(1)) }
        }
        #expect(got == 10_000)
        #expect(connection.state == .finWait2)
    }

    // MARK: What has ended

    @Test("a reset that comes while an ACK is delayed leaves no timer behind", arguments: [0, 100])
    func resetWhileAnAckIsDelayed(count: Int) throws {
        let one = OneHost { $0.connection.answerDelay = .milliseconds(1) }
        try one.establish()
        #expect(one.inject([.ack, .psh], seq: 1, ack: 1, pattern(100)).isEmpty)
        let connection = try #require(one.connection)
        try #require(connection.nextTimeout != nil)
        // Text with a reset is ignored (RFC 9293 3.10.7.4, first).
        one.inject(.rst, seq: 101, ack: 1, pattern(count))
        #expect(connection.state == .closed)
        #expect(connection.nextTimeout == nil)
        #expect(one.host.invariantViolations(at: one.now) == [])
        try #require(connection.nextTimeout == nil)
        #expect(one.wait(.seconds(10)).isEmpty)
        #expect(one.read().count == 100)
    }

    @Test("what has ended and has nothing to send does not wait for a link", arguments: [true, false], [true, false])
    func endedBehindAStuckLink(aborts: Bool, isThere: Bool) throws {
        let one = OneHost()
        one.host.setWritable(LinkID(1), false)
        for _ in 0..<100 {
            let connection = try one.host.open(
                from: nil, localAddress: one.tuple.local.address, to: one.tuple.remote, at: one.now)
            if isThere { one.addLink() }
            _ = one.sent()
            #expect(one.host.connectionCount == 1)
            if aborts { one.host.abort(connection, at: one.now) } else { one.host.close(connection, at: one.now) }
            _ = one.sent()
            #expect(one.host.connectionCount == 0)
        }
        one.addLink()
        one.host.setWritable(LinkID(1), true)
        #expect(one.sent().isEmpty)
    }

    // MARK: Listeners

    @Test("closing a listener resets what was established and not accepted")
    func unaccepted() throws {
        let one = OneHost()
        let listener = try one.host.listen(on: one.tuple.local, backlog: 4)
        // The events are taken by hand, so that nobody accepts.
        func push(_ bits: ControlBits, _ seq: UInt32, _ ack: UInt32) -> [ControlBits] {
            let header = SegmentHeader(
                sourcePort: one.tuple.remote.port, destinationPort: one.tuple.local.port,
                sequenceNumber: one.irs + seq, acknowledgmentNumber: one.iss + ack, controlBits: bits,
                window: WindowField(1000))
            one.host.handle(
                header, payload: UnsafeRawBufferPointer(start: nil, count: 0), tuple: one.tuple, on: LinkID(1),
                at: one.now)
            return drain()
        }
        func drain() -> [ControlBits] {
            var bits: [ControlBits] = []
            while let output = one.host.poll(at: one.now) {
                if case .transmit(let t, _, _) = output { bits.append(t.segment(0).header.controlBits) }
            }
            return bits
        }
        #expect(push(.syn, 0, 0) == [[.syn, .ack]])
        #expect(push(.ack, 1, 1) == [])
        #expect(listener.acceptQueueCount == 1)
        one.host.close(listener, at: one.now)
        #expect(drain() == [[.rst, .ack]])
        #expect(one.stateNow == nil)
    }
}
