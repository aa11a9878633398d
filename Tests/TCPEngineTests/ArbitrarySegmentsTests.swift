// A connection under whatever a peer may send and a user may call: no trap, no lie, no growth.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct ArbitrarySegmentsTests {
    /// The peer's stream: each position has its byte, whoever sends it when.
    private static func peerByte(_ position: Int) -> UInt8 { UInt8(truncatingIfNeeded: position &* 131 >> 2) }
    /// What our user sends.
    private static func ownByte(_ position: Int) -> UInt8 { UInt8(truncatingIfNeeded: position &* 37 &+ 11) }

    private struct Dice {
        var state: UInt64
        mutating func roll(_ bound: Int) -> Int {
            state = mixed(Int(truncatingIfNeeded: state))
            return Int(state % UInt64(bound))
        }
        mutating func pick<T>(_ choices: [T]) -> T { choices[roll(choices.count)] }
    }

    @Test(
        "whatever comes, in whatever state: what is sent and what is read is right, and everything stays bounded",
        arguments: 0..<30)
    func arbitrary(seed: Int) throws {
        var dice = Dice(state: mixed(seed + 77))
        let buffer = dice.pick([200, 3000, 70_000, 1 << 20])
        let one = OneHost(
            iss: dice.pick([0 &- 5000, (1 << 31) - 5000, 7]), irs: dice.pick([0 &- 5000, (1 << 31) - 5000, 7])
        ) {
            $0.connection.receiveBufferSize = buffer
            $0.connection.noDelay = dice.roll(2) == 0
        }
        let usesOptions = dice.roll(3) > 0
        try one.establish(window: UInt16(dice.pick([0, 300, 65_535]))) {
            $0.maximumSegmentSize = UInt16(dice.pick([40, 100, 536, 1460]))
            guard usesOptions else { return }
            $0.timestamps = Timestamps(value: 1000, echoReply: 0)
            $0.sackPermitted = true
            $0.windowScale = 3
        }
        let connection = try #require(one.connection)
        var queued = 0
        var read = 0
        for step in 0..<250 {
            let info = connection.info
            let next = Int(one.irs.distance(to: info.rcvNxt))
            let una = Int(one.iss.distance(to: info.sndUna))
            let nxt = Int(one.iss.distance(to: info.sndNxt))
            var sent: [OneHost.Sent] = []
            switch dice.roll(20) {
            case 0...12:
                var bits: ControlBits = dice.roll(12) > 0 ? .ack : []
                if dice.roll(40) == 0 { bits.insert(.fin) }
                if dice.roll(30) == 0 { bits.insert(.syn) }
                if dice.roll(60) == 0 { bits.insert(.rst) }
                if dice.roll(5) == 0 { bits.insert(.psh) }
                if dice.roll(20) == 0 { bits.insert(.urg) }
                // A reset is not exact, or every run would soon be over.
                let edge = next + Int(info.rcvWnd)
                let far = dice.pick([
                    next - 3000, next - 1, next + 1, next + 50, edge - 1, edge, edge + 7, next + (1 << 30),
                ])
                let seq = bits.contains(.rst) ? next + 1 + dice.roll(50) : dice.roll(3) > 0 ? next : far
                let ack =
                    dice.roll(4) > 0
                    ? una + dice.roll(nxt - una + 1) : dice.pick([una - 1, una - 70_000, nxt + 1, nxt + (1 << 30)])
                let count = dice.pick([0, 0, 1, 7, 536, 1460, 5000])
                let first = seq + (bits.contains(.syn) ? 1 : 0)
                sent = one.inject(
                    bits, seq: seq, ack: ack, (0..<count).map { Self.peerByte(first + $0) },
                    window: UInt16(dice.pick([0, 1, 50, 4000, 65_535])), urgent: UInt16(dice.roll(65_536))
                ) {
                    guard usesOptions, dice.roll(8) > 0 else { return }
                    $0.timestamps = Timestamps(
                        value: UInt32(dice.pick([999, 1000, 1000 + step, 1 << 30])),
                        echoReply: UInt32(dice.roll(1 << 20)))
                    for _ in 0..<dice.roll(4) {
                        let start = una + dice.roll(4000) - 1000
                        $0.sackBlocks.append(
                            SequenceRange(
                                start: one.iss + UInt32(truncatingIfNeeded: start),
                                length: UInt32(dice.pick([0, 1, 500, 1 << 20]))))
                    }
                }
            case 13...15:
                let count = dice.pick([1, 100, 3000, 9000])
                let bytes = (0..<count).map { Self.ownByte(1 + queued + $0) }
                queued += bytes.withUnsafeBytes { (try? one.host.send(connection, $0, at: one.now)) ?? 0 }
                sent = one.sent()
            case 16...17:
                let got = one.read()
                for (i, byte) in got.enumerated() where byte != Self.peerByte(1 + read + i) {
                    Issue.record("seed \(seed), step \(step): byte \(read + i) read is not the peer's")
                    return
                }
                read += got.count
                sent = one.sent()
            case 18:
                sent = one.wait(.milliseconds(Int64(dice.pick([1, 40, 300, 5000]))))
            default:
                if dice.roll(6) == 0 { one.host.shutdownSending(connection, at: one.now) }
                sent = one.sent()
            }
            let after = connection.info
            for segment in sent {
                guard check(segment, one, queued, after, "seed \(seed), step \(step)") else { return }
            }
            #expect(sent.count < 6000)
            let broken = one.host.invariantViolations(at: one.now)
            #expect(broken.isEmpty, "seed \(seed), step \(step): \(broken)")
            #expect(after.outOfOrderQueued + after.receiveQueued <= 2 * max(buffer, after.receiveBufferSize) + 5000)
            if !broken.isEmpty || connection.state == .closed || connection.state == .timeWait { return }
        }
    }

    /// What leaves carries the user's bytes at their place and acknowledges no more than what came.
    private func check(
        _ segment: OneHost.Sent, _ one: OneHost, _ queued: Int, _ info: ConnectionInfo, _ place: String
    ) -> Bool {
        if !segment.bits.isDisjoint(with: [.rst, .syn]) { return true }
        let position = one.position(segment)
        for (i, byte) in segment.payload.enumerated() where byte != Self.ownByte(position + i) {
            Issue.record("\(place): \(one.describe(segment)) does not carry what was sent")
            return false
        }
        if position + segment.payload.count > queued + 2 || position < 0 {
            Issue.record("\(place): \(one.describe(segment)) lies outside of what was queued: \(queued)")
            return false
        }
        if Int(one.irs.distance(to: info.rcvNxt)) < one.acknowledged(segment) {
            Issue.record("\(place): \(one.describe(segment)) acknowledges what did not come")
            return false
        }
        return true
    }
}
