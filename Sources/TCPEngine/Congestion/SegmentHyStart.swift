// When slow start has found the path's capacity, as Linux decides it: HyStart (Ha and Rhee, 2008).
import TCPSegments

/// Watches the acknowledgments of slow start, round by round, from a window of sixteen segments on. Slow start is over when they
/// come one after the other for longer than half of the shortest round trip, or when the shortest of a round's first eight round
/// trips is longer than the shortest of all by an eighth (4 to 16 ms).
struct SegmentHyStart {
    /// Slow start has been ended.
    private(set) var isOver = false
    /// The shortest round trip; zero before there is one.
    private(set) var shortest = TimeInterval.zero
    private var currentRound: TimeInterval?
    private var samples: UInt8 = 0
    private var roundStart = Instant.origin
    private var lastAck = Instant.origin
    /// The round ends when more than this is acknowledged.
    private var roundEnd = StreamOffset.zero

    private static var samplesNeeded: UInt8 { 8 }
    private static var smallestWindow: Int { 16 }
    /// ACKs that are no further apart belong to one train.
    private static var trainGap: TimeInterval { .milliseconds(2) }

    /// A round trip of data that was sent once.
    mutating func noteRoundTrip(_ roundTrip: TimeInterval) {
        if shortest == .zero || roundTrip < shortest { shortest = roundTrip }
    }

    /// True: slow start is over. `window` in segments, before it grows for this ACK.
    mutating func findsCapacity(_ sample: AckSample, roundTrip: TimeInterval, window: Int) -> Bool {
        if sample.una > roundEnd {
            roundStart = sample.arrival
            lastAck = sample.arrival
            roundEnd = sample.nxt
            currentRound = nil
            samples = 0
        }
        guard window >= Self.smallestWindow else { return false }
        if sample.arrival - lastAck <= Self.trainGap {
            lastAck = sample.arrival
            if sample.arrival - roundStart > shortest / 2 { isOver = true }
        }
        let least = currentRound.map { min($0, roundTrip) } ?? roundTrip
        currentRound = least
        if samples < Self.samplesNeeded {
            samples += 1
        } else if least > shortest + max(.milliseconds(4), min(shortest / 8, .milliseconds(16))) {
            isOver = true
        }
        return isOver
    }
}
