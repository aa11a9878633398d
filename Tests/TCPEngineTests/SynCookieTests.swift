// SYN cookies: a full SYN queue does not keep anybody out, and nobody gets in who was not answered.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct SynCookieTests {
    typealias Crowd = ListenTests.Crowd

    private func offer(_ port: UInt32 = 0, mss: UInt16 = 1460, scale: UInt8? = 7, sack: Bool = true) -> TCPOptions {
        var options = TCPOptions()
        options.maximumSegmentSize = mss
        options.windowScale = scale
        options.sackPermitted = sack
        options.timestamps = Timestamps(value: 5000 + port, echoReply: 0)
        return options
    }

    /// What the peer's ACK carries.
    private func echo(_ synAck: SegmentHeader?, value: UInt32 = 5001) -> TCPOptions {
        var options = TCPOptions()
        options.timestamps = synAck?.options.timestamps.map { Timestamps(value: value, echoReply: $0.value) }
        return options
    }

    /// A listener whose SYN queue is full of peers that never answer.
    private func flooded(backlog: Int = 4, _ configure: (inout HostConfiguration) -> Void = { _ in }) throws -> Crowd {
        let crowd = try Crowd(backlog: backlog, configure)
        for port: UInt16 in 1000..<1008 { crowd.inject(.syn, from: port, seq: 0) }
        #expect(crowd.host.connectionCount == 8 && crowd.host.statistics.synCookiesSent == 0)
        return crowd
    }

    @Test("while the SYN queue is full a SYN is answered and forgotten, and the ACK makes the connection")
    func throughTheFlood() throws {
        let crowd = try flooded()
        for port: UInt16 in 2000..<2100 { #expect(crowd.inject(.syn, from: port, seq: 0).count == 1) }
        #expect(crowd.host.connectionCount == 8)
        #expect(crowd.host.statistics.synCookiesSent == 100)
        crowd.now = crowd.now + .seconds(1)
        #expect(crowd.inject(.ack, from: 2050, seq: 1).isEmpty)
        #expect(crowd.host.statistics.synCookiesAccepted == 1)
        let connection = try #require(crowd.host.accept(crowd.listener))
        #expect(connection.state == .established && connection.tuple.remote.port == 2050)
        // Numbers and windows are those of the handshake.
        crowd.inject([.ack, .psh], from: 2050, seq: 1, count: 700)
        #expect(connection.receivedCount == 700)
        #expect(connection.info.sndWnd == 1000)
        #expect(connection.invariantViolations(at: crowd.now).isEmpty)
    }

    @Test("the first data brings the connection up as well, and none of it is lost")
    func byData() throws {
        let crowd = try flooded()
        crowd.inject(.syn, from: 2000, seq: 0)
        #expect(crowd.inject([.ack, .psh], from: 2000, seq: 1, count: 100).map(\.1.controlBits) == [.ack])
        #expect(crowd.host.accept(crowd.listener)?.receivedCount == 100)
    }

    @Test("a later segment than the first is not answered: the first one comes again")
    func laterSegments() throws {
        let crowd = try flooded()
        crowd.inject(.syn, from: 2000, seq: 0)
        #expect(crowd.inject([.ack, .psh], from: 2000, seq: 1461, count: 100).isEmpty)
        #expect(crowd.listener.acceptQueueCount == 0)
        crowd.inject(.ack, from: 2000, seq: 1, count: 1460)
        #expect(crowd.host.accept(crowd.listener)?.receivedCount == 1460)
    }

    @Test(
        "the segment size comes back as the largest of four that is no larger",
        arguments: [
            (nil, 536), (100, 536), (536, 536), (1299, 536), (1300, 1300), (1400, 1300), (1440, 1440), (1459, 1440),
            (1460, 1460), (9000, 1460),
        ] as [(UInt16?, Int)])
    func segmentSize(announced: UInt16?, expected: Int) throws {
        let crowd = try flooded()
        var options = TCPOptions()
        options.maximumSegmentSize = announced
        let answer = crowd.inject(.syn, from: 2000, seq: 0, options)
        #expect(answer.first?.1.options.timestamps == nil)
        crowd.inject(.ack, from: 2000, seq: 1)
        #expect(crowd.host.accept(crowd.listener)?.info.maximumSegmentSize == expected)
    }

    @Test(
        "with timestamps, window scaling and selective acknowledgments come back, too",
        arguments: [nil, 0, 7, 14, 200] as [UInt8?], [false, true])
    func options(scale: UInt8?, sack: Bool) throws {
        let crowd = try flooded()
        // Whatever the clock shows.
        crowd.now = crowd.now + .milliseconds(Int64(scale ?? 33) * 7 + 5)
        let answer = crowd.inject(.syn, from: 2000, seq: 0, offer(scale: scale, sack: sack)).first?.1
        #expect((answer?.options.windowScale != nil) == (scale != nil))
        #expect(answer?.options.sackPermitted == sack)
        crowd.inject(.ack, from: 2000, seq: 1, echo(answer))
        let info = try #require(crowd.host.accept(crowd.listener)?.info)
        #expect(info.usesTimestamps && info.usesSelectiveAcks == sack && info.usesWindowScaling == (scale != nil))
        #expect(Int(info.sndWnd) == 1000 << Int(min(scale ?? 0, 14)))
        // The clock did not run ahead: the next timestamp is not older than the cookie's.
        let value = try #require(answer?.options.timestamps?.value)
        let reply = crowd.inject([.ack, .psh], from: 2000, seq: 1, count: 5, echo(answer, value: 5002)).first?.1
        #expect(reply.flatMap { $0.options.timestamps }.map { Int32(bitPattern: $0.value &- value) >= 0 } == true)
    }

    @Test("without timestamps nothing is agreed on that the number has no place for")
    func noTimestamps() throws {
        let crowd = try flooded()
        var options = offer()
        options.timestamps = nil
        let answer = crowd.inject(.syn, from: 2000, seq: 0, options).first?.1
        #expect(answer?.options.windowScale == nil && answer?.options.sackPermitted == false)
        crowd.inject(.ack, from: 2000, seq: 1)
        let info = try #require(crowd.host.accept(crowd.listener)?.info)
        #expect(!info.usesWindowScaling && !info.usesSelectiveAcks)
    }

    @Test(
        "a number that was not made here, or for another, or too long ago, is answered with a reset",
        arguments: [(10, 2000, 0), (0, 2001, 0), (0, 2000, 121), (1 << 24, 2000, 0)] as [(UInt32, UInt16, Int64)])
    func refused(difference: UInt32, port: UInt16, seconds: Int64) throws {
        let crowd = try flooded()
        let answer = try #require(crowd.inject(.syn, from: 2000, seq: 0).first?.1)
        crowd.now = crowd.now + .seconds(seconds)
        // Other SYNs keep the listener in the state in which it believes cookies.
        crowd.inject(.syn, from: 3000, seq: 0)
        let header = SegmentHeader(
            sourcePort: port, destinationPort: 7, sequenceNumber: SequenceNumber(1001),
            acknowledgmentNumber: answer.sequenceNumber + 1 + difference, controlBits: .ack)
        crowd.host.handle(
            header, payload: UnsafeRawBufferPointer(start: nil, count: 0),
            tuple: FourTuple(local: crowd.local, remote: Endpoint(crowd.peer, port)), on: LinkID(1), at: crowd.now)
        #expect(crowd.drain().map(\.1.controlBits) == [.rst])
        #expect(crowd.host.statistics.synCookiesRefused == 1)
        #expect(crowd.listener.acceptQueueCount == 0)
    }

    @Test("a listener that has sent no cookies of late believes none")
    func nobodySentAny() throws {
        let crowd = try flooded()
        crowd.inject(.syn, from: 2000, seq: 0)
        crowd.now = crowd.now + .seconds(121)
        #expect(crowd.inject(.ack, from: 2000, seq: 1).map(\.1.controlBits) == [.rst])
        #expect(crowd.host.statistics.synCookiesRefused == 0)
    }

    @Test("a full accept queue lets the ACK go by; the peer's data tries again")
    func acceptQueueIsFull() throws {
        let crowd = try flooded(backlog: 1)
        for port: UInt16 in 2000..<2003 { crowd.inject(.syn, from: port, seq: 0) }
        for port: UInt16 in 2000..<2003 { #expect(crowd.inject(.ack, from: port, seq: 1).isEmpty) }
        #expect(crowd.listener.acceptQueueCount == 2 && crowd.host.statistics.acceptsDeferred == 1)
        // With the accept queue full, SYNs are not answered at all.
        #expect(crowd.inject(.syn, from: 2004, seq: 0).isEmpty)
        _ = crowd.host.accept(crowd.listener)
        crowd.inject([.ack, .psh], from: 2002, seq: 1, count: 10)
        #expect(crowd.listener.acceptQueueCount == 2)
    }

    @Test("switched off, a full queue ignores SYNs; always on, no SYN is remembered", arguments: [false, true])
    func uses(always: Bool) throws {
        let crowd = try Crowd(backlog: 4) { $0.synCookies = always ? .always : .never }
        var answered = 0
        for port: UInt16 in 1000..<1020 { answered += crowd.inject(.syn, from: port, seq: 0).count }
        #expect(answered == (always ? 20 : 8))
        #expect(crowd.host.connectionCount == (always ? 0 : 8))
        #expect(crowd.host.statistics.synCookiesSent == (always ? 20 : 0))
    }

    @Test("over IPv6, too")
    func ipv6() {
        let tuple = FourTuple(
            local: Endpoint(IPAddress(high: 1 << 61, low: 1), 7), remote: Endpoint(IPAddress(high: 1 << 61, low: 2), 9))
        let cookies = Secrets(seed: 4).synCookies
        let now = Instant(nanoseconds: 200_000_000_000)
        for index in 0..<4 {
            let irs = SequenceNumber(77)
            let number = cookies.sequenceNumber(for: tuple, irs: irs, sizeIndex: index, at: now)
            #expect(cookies.verdict(on: number, for: tuple, irs: irs, at: now) == .good(sizeIndex: index))
            // The next period still takes it, the one after that does not; nor does anybody else's key.
            #expect(
                cookies.verdict(on: number, for: tuple, irs: irs, at: now + .seconds(60)) == .good(sizeIndex: index))
            #expect(cookies.verdict(on: number, for: tuple, irs: irs, at: now + .seconds(120)) == .bad)
            #expect(cookies.verdict(on: number, for: tuple, irs: irs - 1000, at: now) == .bad)
            #expect(Secrets(seed: 5).synCookies.verdict(on: number, for: tuple, irs: irs, at: now) == .bad)
            // A segment further on in the first window, and one beyond it.
            #expect(cookies.verdict(on: number, for: tuple, irs: irs + 1460, at: now) == .later)
            #expect(cookies.verdict(on: number, for: tuple, irs: irs + 70_000, at: now) == .bad)
        }
    }
}
