// When slow start has found the path's capacity: HyStart++ (RFC 9406).
import TCPSegments

/// Watches the round trips of slow start, round by round: when they grow the window grows more slowly for five rounds, and then
/// slow start is over, unless the round trips shrink again. Integers only.
struct HyStart {
    private enum Phase: UInt8 { case slowStart, conservative }

    private var phase = Phase.slowStart
    private var samples: UInt8 = 0
    private var rounds: UInt8 = 0
    private var lastRound = TimeInterval.max
    private var currentRound = TimeInterval.max
    private var baseline = TimeInterval.max
    /// The round ends when this is acknowledged.
    private var roundEnd = StreamOffset.zero

    // RFC 9406 4.3.
    private static var samplesNeeded: UInt8 { 8 }
    private static var conservativeRounds: UInt8 { 5 }
    private static var growthDivisor: Int { 4 }
    /// L without pacing.
    private static var segmentLimit: Int { 8 }

    /// How much the window may grow for this ACK. True: slow start is over.
    mutating func acknowledged(_ sample: AckSample, segmentSize: Int) -> (growth: Int, isOver: Bool) {
        if sample.una >= roundEnd {
            if phase == .conservative {
                rounds += 1
                if rounds >= Self.conservativeRounds { return (0, true) }
            }
            lastRound = currentRound
            currentRound = .max
            samples = 0
            roundEnd = sample.nxt
        }
        if let roundTrip = sample.roundTrip {
            currentRound = min(currentRound, roundTrip)
            samples = min(samples + 1, Self.samplesNeeded)
        }
        if samples >= Self.samplesNeeded {
            switch phase {
            case .slowStart:
                guard lastRound < .max else { break }
                // MIN_RTT_THRESH and MAX_RTT_THRESH are 4 and 16 ms.
                let threshold = max(.milliseconds(4), min(lastRound / 8, .milliseconds(16)))
                if currentRound >= lastRound + threshold {
                    baseline = currentRound
                    phase = .conservative
                    rounds = 0
                }
            case .conservative:
                if currentRound < baseline {
                    baseline = .max
                    phase = .slowStart
                }
            }
        }
        let growth = min(sample.delivered, Self.segmentLimit * segmentSize)
        return (phase == .conservative ? growth / Self.growthDivisor : growth, false)
    }
}

extension TimeInterval {
    /// Longer than anything.
    fileprivate static var max: TimeInterval { .nanoseconds(.max) }
}
