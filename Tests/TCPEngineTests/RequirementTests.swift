// Requirements of RFC 9293 (its appendix B) that have no table elsewhere; Documentation/Requirements.md names the rest.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct RequirementTests {
    private static func established(mss: UInt16 = 1000) throws -> OneHost {
        let one = OneHost()
        try one.establish { $0.maximumSegmentSize = mss }
        return one
    }

    @Test("options are taken in any segment: MSS, scale and SACK-permitted outside of a SYN change nothing (MUST-5)")
    func optionsAnywhere() throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        one.inject(.ack, seq: 1, ack: 1, pattern(5), window: 500) {
            $0.maximumSegmentSize = 1
            $0.windowScale = 14
            $0.sackPermitted = true
            $0.timestamps = Timestamps(value: 5, echoReply: 6)
        }
        #expect(one.read() == pattern(5))
        let info = connection.info
        #expect(info.maximumSegmentSize == 1000 && info.sndWnd == 500)
        #expect(!info.usesTimestamps && !info.usesSelectiveAcks)
    }

    @Test("the MSS option goes out with a SYN only (MUST-65)")
    func mssOnSynOnly() throws {
        let one = OneHost()
        try one.listen()
        #expect(one.inject(.syn, seq: 0).first?.header.options.maximumSegmentSize != nil)
        one.inject(.ack, seq: 1, ack: 1, pattern(10))
        try one.send(3000)
        one.host.close(try #require(one.connection), at: one.now)
        let all = one.sent() + one.wait(.seconds(3))
        #expect(!all.isEmpty && all.allSatisfy { $0.header.options.maximumSegmentSize == nil })
    }

    @Test("RST, URG and ACK are processed while the receive window is closed (MUST-66)")
    func closedWindow() throws {
        for bits in [ControlBits.rst, [.ack, .urg]] {
            let (one, s) = try OneHost.reach(.establishedClosedWindow, .zeroWrap)
            one.inject(bits, seq: s.rcvNxt, ack: s.sndNxt, pattern(bits.contains(.urg) ? 5 : 0), urgent: 5)
            if bits.contains(.rst) {
                #expect(one.ending == .failed(.reset))
            } else {
                #expect(one.events.contains("urgent"))
                #expect(one.connection?.bytesToUrgentEnd == s.rcvNxt - 41 + 5)
                #expect(one.connection?.info.sndUna == one.iss + UInt32(s.sndNxt), "its ACK counts")
                #expect(one.connection?.receivedCount == 960, "its text does not")
            }
        }
    }

    @Test("urgent data may be of any length: the pointer is told again where 16 bits end (MUST-31, MUST-62)")
    func longUrgent() throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        let bytes = pattern(100_000)
        var ends: [Int] = []
        let queued = try bytes.withUnsafeBytes { try one.host.sendUrgent(connection, $0, at: one.now) }
        #expect(queued == 100_000)
        var segments = one.sent()
        for _ in 0..<200 where !segments.isEmpty {
            for s in segments {
                #expect(s.bits.contains(.urg))
                ends.append(one.position(s) + Int(s.header.urgentPointer))
            }
            let last = segments[segments.count - 1]
            segments = one.inject(.ack, seq: 1, ack: one.position(last) + last.payload.count)
        }
        #expect(ends.max() == 100_001)
        #expect(zip(ends, ends.dropFirst()).allSatisfy { $0 <= $1 }, "it never moves back")
    }

    @Test("all segments that are there are processed before an ACK is sent (MUST-58, MUST-59)")
    func aggregation() throws {
        let one = try Self.established()
        for i in 0..<10 {
            let header = SegmentHeader(
                sourcePort: one.tuple.remote.port, destinationPort: one.tuple.local.port,
                sequenceNumber: one.irs + UInt32(1 + i * 100), acknowledgmentNumber: one.iss + 1, controlBits: .ack,
                window: WindowField(1000))
            pattern(100).withUnsafeBytes {
                one.host.handle(header, payload: $0, tuple: one.tuple, on: LinkID(1), at: one.now)
            }
        }
        #expect(one.sent().map(one.acknowledged) == [1001])
    }

    @Test("a reset may carry text: it is not looked at (SHLD-2)")
    func resetWithText() throws {
        let one = try Self.established()
        one.inject([.rst, .ack], seq: 1, ack: 1, Array("gone".utf8))
        #expect(one.ending == .failed(.reset))
        #expect(one.connection?.receivedCount == 0)
    }

    @Test("initial sequence numbers follow a clock of 4 us and differ by ends and secret (MUST-8, SHLD-1, MUST-9)")
    func initialNumbers() {
        let tuple = OneHost().tuple
        var other = tuple
        other.remote.port += 1
        let secrets = Secrets(seed: 1)
        func number(_ s: Secrets, _ t: FourTuple, _ ms: Int64) -> SequenceNumber {
            s.initialSequenceNumber(for: t, at: Instant(nanoseconds: ms * 1_000_000))
        }
        let first = number(secrets, tuple, 1000)
        #expect(first.distance(to: number(secrets, tuple, 1004)) == 1000)
        #expect(first.distance(to: number(secrets, other, 1000)).magnitude > 1000)
        #expect(first.distance(to: number(Secrets(seed: 2), tuple, 1000)).magnitude > 1000)
    }

    enum End: String, CaseIterable, Sendable { case orderly, reset, silent, user }

    @Test("the user is told whether the connection ended orderly or not, and how (MUST-12)", arguments: End.allCases)
    func told(end: End) throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        switch end {
        case .orderly:
            one.inject([.fin, .ack], seq: 1, ack: 1)
            #expect(one.events.contains("peerClosed"))
            one.host.close(connection, at: one.now)
            _ = one.sent()
            one.inject(.ack, seq: 2, ack: 2)
            #expect(one.ending == .orderly)
        case .reset:
            one.inject(.rst, seq: 1)
            #expect(one.ending == .failed(.reset))
        case .silent:
            try one.send(1)
            _ = one.wait(.seconds(3600))
            #expect(one.ending == .failed(.timedOut))
        case .user:
            one.host.abort(connection, at: one.now)
            _ = one.sent()
            #expect(one.ending == .failed(.aborted))
        }
        #expect(one.events.filter { $0.hasPrefix("closed") }.count == 1, "once: \(one.events)")
    }

    @Test("excessive retransmissions show in STATUS while they go on (R1, MUST-47)")
    func softError() throws {
        let one = try Self.established()
        let connection = try #require(one.connection)
        try one.send(10)
        _ = one.wait(.seconds(10))
        #expect(connection.info.consecutiveTimeouts >= 3)
        one.inject(.ack, seq: 1, ack: 11)
        #expect(connection.info.consecutiveTimeouts == 0)
    }

    // MARK: Keepalive

    @Test("by default nobody is asked for a sign of life (MUST-25), and the default idle time is two hours (MUST-28)")
    func keepAliveDefaults() throws {
        #expect(!ConnectionConfiguration().keepAlive)
        #expect(ConnectionConfiguration().keepAliveIdle >= .seconds(7200))
        let one = try Self.established()
        #expect(one.wait(.seconds(86_400)).isEmpty)
        #expect(one.connection?.state == .established)
    }

    @Test("segments that are not the peer's are no sign of life (MUST-26)")
    func junkIsNoLife() throws {
        let one = try Self.established()
        one.host.setKeepAlive(
            try #require(one.connection), true, idle: .seconds(10), interval: .seconds(2), probes: 3, at: one.now)
        var probes = 0
        for _ in 0..<20 {
            probes += one.wait(.seconds(1)).filter { one.position($0) == 0 }.count
            // Junk of a blind sender, once a second.
            one.inject(.ack, seq: 1 << 20, ack: 1)
        }
        #expect(probes == 3)
        #expect(one.ending == .failed(.timedOut))
    }

    @Test("no probe leaves while data is outstanding (MUST-26)")
    func noProbeWithData() throws {
        let one = try Self.established()
        one.host.setKeepAlive(
            try #require(one.connection), true, idle: .seconds(3), interval: .seconds(1), probes: 3, at: one.now)
        try one.send(10)
        _ = one.sent()
        let all = one.wait(.seconds(20))
        #expect(!all.isEmpty && all.allSatisfy { one.position($0) == 1 && $0.payload.count == 10 })
    }
}
