// TS.Recent and PAWS (RFC 7323): who may set it, who carries it, what is measured by it.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct TimestampRuleTests {
    /// Established with timestamps; the peer's clock stands at 1000.
    private static func established() throws -> OneHost {
        let one = OneHost()
        try one.establish { $0.timestamps = Timestamps(value: 1000, echoReply: 0) }
        return one
    }

    private static func at(_ value: UInt32) -> (inout TCPOptions) -> Void {
        { $0.timestamps = Timestamps(value: value, echoReply: 0) }
    }

    /// What the next ACK echoes.
    private static func echo(_ one: OneHost, seq: Int = 1, ack: Int = 1) -> UInt32? {
        let answer = one.inject(.ack, seq: seq - 1, ack: ack, [0], Self.at(1 << 20))
        return answer.last?.header.options.timestamps?.echoReply
    }

    struct Attempt: Sendable, CustomStringConvertible {
        let description: String
        let bits: ControlBits
        var seq = 1
        var ack = 1
        var text = 0
    }

    static let refused = [
        Attempt(description: "an ACK of what was not sent", bits: .ack, ack: 99),
        Attempt(description: "an ACK older than MAX.SND.WND", bits: .ack, ack: -70_000),
        Attempt(description: "no ACK", bits: .psh, text: 5),
        Attempt(description: "a segment left of the window", bits: .ack, seq: -20, text: 5),
        Attempt(description: "a segment ahead of a hole", bits: .ack, seq: 20, text: 5),
        Attempt(description: "a reset in the window", bits: .rst, seq: 5),
        Attempt(description: "a SYN", bits: .syn),
    ]

    @Test("a segment that is not believed does not set TS.Recent", arguments: refused)
    func notBelieved(attempt: Attempt) throws {
        let one = try Self.established()
        one.inject(attempt.bits, seq: attempt.seq, ack: attempt.ack, pattern(attempt.text), Self.at(500_000))
        one.now = one.now + .milliseconds(300)
        #expect(Self.echo(one) == 1000)
        // And the true peer is still heard.
        one.inject(.ack, seq: 1, ack: 1, pattern(3), Self.at(1001))
        #expect(one.connection?.receivedCount == 3)
    }

    @Test("FIN, data, ACKs and a user's reset all carry a fresh clock and the echo (RFC 7323 3.2)")
    func carried() throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        func clock(_ sent: [OneHost.Sent]) -> UInt32? {
            #expect(sent.allSatisfy { $0.header.options.timestamps?.echoReply == 1000 })
            return sent.last?.header.options.timestamps?.value
        }
        try one.send(10)
        let first = try #require(clock(one.sent()))
        one.now = one.now + .milliseconds(7)
        one.host.shutdownSending(connection, at: one.now)
        #expect(clock(one.sent()) == first + 7)
        one.now = one.now + .milliseconds(5)
        one.host.abort(connection, at: one.now)
        let reset = one.sent()
        #expect(reset.first?.bits.contains(.rst) == true)
        #expect(clock(reset) == first + 12)
    }

    @Test("two pairs of sockets have clocks that start apart (RFC 7323 5.4)")
    func offsets() throws {
        let one = OneHost()
        try one.listen()
        func clock(_ port: UInt16) -> UInt32? {
            var header = SegmentHeader(
                sourcePort: port, destinationPort: 7, sequenceNumber: one.irs, controlBits: .syn,
                window: WindowField(1000))
            header.options.timestamps = Timestamps(value: 1, echoReply: 0)
            one.host.handle(
                header, payload: UnsafeRawBufferPointer(start: nil, count: 0),
                tuple: FourTuple(local: one.tuple.local, remote: Endpoint(one.tuple.remote.address, port)),
                on: LinkID(1), at: one.now)
            return one.sent().first?.header.options.timestamps?.value
        }
        let a = try #require(clock(4001))
        let b = try #require(clock(4002))
        #expect(Int32(bitPattern: a &- b).magnitude > 1000)
    }

    @Test("a reset is not measured by its timestamp (RFC 7323 5.2)")
    func reset() throws {
        let one = try Self.established()
        one.inject(.rst, seq: 1, [], Self.at(1))
        #expect(one.stateNow == nil && one.ending == .failed(.reset))
    }

    @Test("the peer's clock may wrap (RFC 7323 5.4)")
    func wrap() throws {
        let one = OneHost()
        try one.establish(Self.at(.max - 1))
        one.inject(.ack, seq: 1, ack: 1, pattern(5), Self.at(3))
        #expect(one.read() == pattern(5))
        one.inject(.ack, seq: 6, ack: 1, pattern(5), Self.at(.max))
        #expect(one.read().isEmpty)
    }

    @Test("an old FIN and an old ACK change nothing either", arguments: [ControlBits.ack, [.ack, .fin]])
    func stale(bits: ControlBits) throws {
        let one = try Self.established()
        try one.send(10)
        _ = one.sent()
        let answer = one.inject(bits, seq: 1, ack: 11, [], Self.at(999))
        #expect(answer.map(\.bits) == [.ack])
        #expect(one.connection?.state == .established && one.connection?.sendQueued == 10)
    }
}
