// When slow start has found the path's capacity, as Linux decides it: HyStart (Ha and Rhee, 2008).
import TCPSegments

/// Watches the round trips of slow start, round by round, from a window of sixteen segments on: when the shortest of a round's
/// first eight is longer than the shortest of all by an eighth (4 to 16 ms), slow start is over.
struct ClassicHyStart {
    private var shortest = TimeInterval.zero
    private var currentRound = TimeInterval.zero
    private var samples: UInt8 = 0
    /// The round ends when this is acknowledged.
    private var roundEnd = StreamOffset.zero

    private static var samplesNeeded: UInt8 { 8 }
    private static var smallestWindow: Int { 16 }

    /// True: slow start is over.
    mutating func findsCapacity(_ sample: AckSample, _ window: CongestionWindow) -> Bool {
        if let roundTrip = sample.roundTrip {
            shortest = shortest == .zero ? roundTrip : min(shortest, roundTrip)
        }
        guard window.size >= Self.smallestWindow * window.segmentSize else { return false }
        if sample.una > roundEnd {
            roundEnd = sample.nxt
            currentRound = .zero
            samples = 0
        }
        guard let roundTrip = sample.roundTrip else { return false }
        currentRound = currentRound == .zero ? roundTrip : min(currentRound, roundTrip)
        if samples < Self.samplesNeeded {
            samples += 1
            return false
        }
        return currentRound > shortest + max(.milliseconds(4), min(shortest / 8, .milliseconds(16)))
    }
}
