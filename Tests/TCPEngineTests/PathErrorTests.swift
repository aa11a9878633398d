// Links that fail and errors that routers report: who is told, and who lives on (RFC 9293 3.9.2.2, RFC 5927).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct PathErrorTests {
    private static func report(_ one: OneHost, _ error: PathError, about position: Int) {
        one.host.pathError(
            error,
            about: QuotedSegment(
                tuple: one.tuple, sequenceNumber: one.iss + UInt32(truncatingIfNeeded: position)),
            at: one.now)
    }

    static let errors: [(PathError, Ending?)] = [
        (.unreachable, .failed(.unreachable)), (.rejected, .failed(.refused)), (.soft, nil),
    ]

    @Test(
        "an error about the SYN ends a connecting socket at once, a soft one does not (SHLD-25, SHLD-26)",
        arguments: errors)
    func synSent(error: PathError, ending: Ending?) throws {
        let (one, _) = try OneHost.reach(.synSent, .zeroWrap)
        Self.report(one, error, about: 0)
        #expect(one.sent().isEmpty)
        #expect(one.ending == ending)
        #expect(one.stateNow == (ending == nil ? .synSent : nil))
    }

    @Test(
        "an error about what is not in flight is made up, and changes nothing (RFC 5927 4.1)", arguments: errors,
        [-1, 1, 5000])
    func forged(error: (PathError, Ending?), position: Int) throws {
        let (one, _) = try OneHost.reach(.synSent, .zeroWrap)
        Self.report(one, error.0, about: position)
        #expect(one.stateNow == .synSent && one.ending == nil)
        #expect(one.host.statistics.strayPathErrors == 1)
    }

    @Test("no report ends a connection that is up (MUST-56); if nobody ever answers it says why", arguments: errors)
    func established(error: PathError, _: Ending?) throws {
        let (one, s) = try OneHost.reach(.established, .zeroWrap)
        Self.report(one, error, about: s.sndUna)
        #expect(one.stateNow == .established)
        _ = one.wait(.seconds(10))
        // The peer answers after all: all is forgotten.
        one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt, window: OneHost.peerWindow)
        #expect(one.connection?.sendQueued == 0)
        try one.send(10)
        _ = one.wait(.seconds(3600))
        #expect(one.ending == .failed(.timedOut))
    }

    @Test("a connection that a segment led to another link asks for a link anew when nobody answers there")
    func ledAstray() throws {
        let one = OneHost()
        try one.establish()
        let properties = LinkProperties(
            maximumSegmentSize: 1460, maximumSegmentLifetime: .seconds(1), computesChecksum: false)
        one.host.openLink(LinkID(2), properties, for: one.tuple.addresses)
        // Somebody who knows the numbers, on a link of his own.
        let forged = SegmentHeader(
            sourcePort: one.tuple.remote.port, destinationPort: one.tuple.local.port, sequenceNumber: one.irs + 1,
            acknowledgmentNumber: one.iss + 1, controlBits: .ack, window: WindowField(500))
        one.host.handle(
            forged, payload: UnsafeRawBufferPointer(start: nil, count: 0), tuple: one.tuple, on: LinkID(2), at: one.now)
        try one.send(100)
        func links() -> [LinkID] {
            var links: [LinkID] = []
            while let output = one.host.poll(at: one.now) {
                if case .transmit(_, _, let link) = output { links.append(link) }
                if case .linkWanted = output { one.addLink() }
            }
            return links
        }
        #expect(links() == [LinkID(2)])
        for _ in 0..<2 {
            // A tail loss probe goes the same way; the retransmission does not.
            one.now = try #require(one.host.nextTimeout)
            one.host.handleTimeout(at: one.now)
            if links() == [LinkID(1)] { break }
        }
        #expect(one.connection?.info.consecutiveTimeouts == 1)
        one.inject(.ack, seq: 1, ack: 101)
        #expect(one.connection?.sendQueued == 0)
    }

    @Test(
        "a packet that was too big is sent again in smaller ones, not below 552 bytes",
        arguments: [(1000, 960), (100, 512), (0, 1452)])
    func tooBig(mtu: UInt32, size: Int) throws {
        let one = OneHost()
        try one.establish { $0.maximumSegmentSize = 1460 }
        try one.send(5000)
        #expect(one.sent().first?.payload.count == 1460)
        Self.report(one, .tooBig(mtu: mtu), about: 1)
        var segments = one.sent() + one.wait(.seconds(2))
        #expect(segments.first.map(one.position) == 1)
        var end = 1
        for _ in 0..<50 where end < 5001 {
            for s in segments where one.position(s) <= end { end = max(end, one.position(s) + s.payload.count) }
            #expect(segments.allSatisfy { $0.payload.count <= size })
            segments = one.inject(.ack, seq: 1, ack: end)
            if segments.isEmpty { segments = one.wait(.seconds(1)) }
        }
        #expect(end == 5001)
    }

    // MARK: Links

    static let failures: [(LinkFailure, Ending?)] = [
        (.refused, .failed(.refused)), (.unreachable, .failed(.unreachable)), (.noAnswer, nil),
    ]

    @Test("a link that cannot be had fails connecting sockets, or counts as loss", arguments: failures)
    func linkFailed(failure: LinkFailure, ending: Ending?) throws {
        let one = OneHost()
        one.host.removeLink(LinkID(1), at: one.now)
        one.connection = try one.host.open(
            from: one.tuple.local, localAddress: one.tuple.local.address, to: one.tuple.remote, at: one.now)
        _ = one.sent()
        one.host.linkFailed(one.tuple.addresses, failure, at: one.now)
        #expect(one.sent().isEmpty)
        #expect(one.ending == ending)
        guard ending == nil else { return }
        // The next retransmission finds a link.
        #expect(one.wait(.milliseconds(1100)).isEmpty)
        one.addLink()
        #expect((one.sent() + one.wait(.seconds(3))).map(\.bits).first == .syn)
    }

    @Test("a connection that is up takes a lost link for loss, and goes on over the next one", arguments: failures)
    func linkLost(failure: LinkFailure, _: Ending?) throws {
        let (one, s) = try OneHost.reach(.established, .zeroWrap)
        one.host.removeLink(LinkID(1), at: one.now)
        #expect(one.wait(.seconds(1)).isEmpty)
        one.host.linkFailed(one.tuple.addresses, failure, at: one.now)
        #expect(one.stateNow == .established && one.ending == nil)
        _ = one.wait(.seconds(1))
        one.addLink()
        let again = one.sent() + one.wait(.seconds(10))
        #expect(again.contains { one.position($0) == s.sndUna && !$0.payload.isEmpty })
        one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt, window: OneHost.peerWindow)
        #expect(one.connection?.sendQueued == 0)
    }
}
