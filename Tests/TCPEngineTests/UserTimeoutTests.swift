// The User Timeout option (RFC 5482): its bytes, what it changes, and within which limits.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct UserTimeoutTests {
    @Test(
        "the option says seconds, or minutes when there are too many of those",
        arguments: [
            (1, 1, 1), (999_000_000, 1, 1), (1_000_000_000, 1, 1), (1_000_000_001, 2, 2),
            (32_767_000_000_000, 0x7FFF, 32_767), (32_768_000_000_000, 0x8000 | 547, 547 * 60),
            (Int64.max, 0xFFFF, 32_767 * 60), (0, 1, 1), (-5, 1, 1),
        ] as [(Int64, UInt16, Int64)])
    func field(nanoseconds: Int64, field: UInt16, seconds: Int64) throws {
        var options = TCPOptions()
        options.append(UserTimeoutOption(.nanoseconds(nanoseconds)))
        let bytes = options.unknown.withBytes { Array($0) }
        #expect(bytes == [28, 4, UInt8(field >> 8), UInt8(truncatingIfNeeded: field)])
        #expect(options.userTimeout?.time == .seconds(seconds))
    }

    @Test("a time of 0 is reserved and ignored, in seconds and in minutes; so is another length")
    func malformed() {
        for bytes: [UInt8] in [[28, 4, 0, 0], [28, 4, 0x80, 0], [28, 3, 1], [28, 6, 0, 1, 0, 1]] {
            var options = TCPOptions()
            bytes.withUnsafeBytes { options.unknown.append($0) }
            #expect(options.userTimeout == nil, "\(bytes)")
        }
    }

    @Test(
        "the timeout is the larger of what both say, within the limits (RFC 5482 3.1)",
        arguments: [(50, 10, 100), (200, 300, 300), (300, 200, 300), (50, 9000, 1000), (9000, 50, 1000)]
            as [(Int64, Int64, Int64)])
    func formula(announced: Int64, remote: Int64, result: Int64) {
        let rules = UserTimeoutRules(announced: .seconds(announced), limits: .seconds(100) ... .seconds(1000))
        #expect(rules.adopted(.seconds(remote)) == .seconds(result))
    }

    private func connected(_ configure: (inout ConnectionConfiguration) -> Void, peer: TimeInterval?) throws -> OneHost
    {
        let one = OneHost { configure(&$0.connection) }
        try one.listen()
        one.inject(.syn, seq: 0) { options in peer.map { options.append(UserTimeoutOption($0)) } }
        one.inject(.ack, seq: 1, ack: 1)
        return one
    }

    /// How long unacknowledged data keeps the connection alive.
    private func patience(_ one: OneHost) throws -> Int64 {
        try one.send(10)
        let began = one.now
        _ = one.sent()
        while one.connection?.state != .closed, let next = one.host.nextTimeout {
            one.now = max(one.now, next)
            one.host.handleTimeout(at: one.now)
            _ = one.sent()
        }
        return (one.now - began).nanoseconds / 1_000_000_000
    }

    @Test("a peer's long timeout keeps a connection alive that the retransmission limit would have ended")
    func longer() throws {
        let one = try connected(
            { $0.userTimeoutRules = UserTimeoutRules(announced: .seconds(120)) }, peer: .seconds(1800))
        #expect(try patience(one) == 1800)
        let without = try connected({ _ in }, peer: .seconds(1800))
        #expect(try (600..<1200).contains(patience(without)))
    }

    @Test("a peer's short one does not end it before the lower limit")
    func shorter() throws {
        let one = try connected({ $0.userTimeoutRules = UserTimeoutRules(announced: .seconds(5)) }, peer: .seconds(5))
        #expect(try patience(one) == 100)
    }

    @Test("what the application has set is not changed by the peer, and is what the peer is told")
    func chosen() throws {
        let one = OneHost {
            $0.connection.userTimeoutRules = UserTimeoutRules(announced: .seconds(500))
            $0.connection.userTimeout = .seconds(30)
        }
        try one.listen()
        let synAck = one.inject(.syn, seq: 0) { $0.append(UserTimeoutOption(.seconds(1800))) }
        #expect(synAck.first?.header.options.userTimeout?.time == .seconds(30))
        one.inject(.ack, seq: 1, ack: 1)
        #expect(try patience(one) == 30)
    }

    @Test("the option is in the SYN, in the first segment without SYN, after a change, and nowhere else")
    func announced() throws {
        let one = OneHost { $0.connection.userTimeoutRules = UserTimeoutRules(announced: .seconds(400)) }
        #expect(try one.open().first?.header.options.userTimeout?.time == .seconds(400))
        let ack = one.inject([.syn, .ack], seq: 0, ack: 1) { $0.maximumSegmentSize = 1000 }
        #expect(ack.map { $0.header.options.userTimeout?.time } == [.seconds(400)])
        try one.send(3000)
        #expect(one.sent().allSatisfy { $0.header.options.userTimeout == nil && $0.payload.count <= 1000 })
        one.inject(.ack, seq: 1, ack: 3001)
        let connection = try #require(one.connection)
        one.host.reconfigure(connection, at: one.now) { $0.userTimeout = .seconds(50) }
        try one.send(3000)
        // The option takes room from the data.
        let changed = one.sent()
        #expect(changed.map { $0.payload.count }.max() == 996)
        #expect(changed.contains { $0.header.options.userTimeout?.time == .seconds(50) })
        #expect(changed.map { $0.payload.count }.reduce(0, +) == 3000)
    }

    @Test("without rules the option is neither sent nor believed")
    func off() throws {
        let one = OneHost()
        try one.listen()
        let synAck = one.inject(.syn, seq: 0) { $0.append(UserTimeoutOption(.seconds(1800))) }
        #expect(synAck.first?.header.options.userTimeout == nil)
        one.inject(.ack, seq: 1, ack: 1) { $0.append(UserTimeoutOption(.seconds(1800))) }
        #expect(one.connection?.userTimeout == nil)
    }

    @Test("a later option of the peer replaces the first; one on a segment that is not acceptable does not")
    func later() throws {
        let one = try connected(
            { $0.userTimeoutRules = UserTimeoutRules(announced: .seconds(120)) }, peer: .seconds(200))
        #expect(one.connection?.userTimeout == .seconds(200))
        one.inject(.ack, seq: 1, ack: 1) { $0.append(UserTimeoutOption(.seconds(300))) }
        #expect(one.connection?.userTimeout == .seconds(300))
        one.inject(.ack, seq: 100_000, ack: 1) { $0.append(UserTimeoutOption(.seconds(700))) }
        #expect(one.connection?.userTimeout == .seconds(300))
    }
}
