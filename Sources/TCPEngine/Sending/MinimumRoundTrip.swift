// The shortest round trip of late.
import TCPSegments

/// The smallest round-trip sample of a window of time (RFC 8985 6.2 step 1; Linux's tcp_min_rtt_wlen).
struct MinimumRoundTrip {
    private var shortest = TimeInterval.zero
    private var takenAt: Instant?

    /// How long a sample counts.
    private static var window: TimeInterval { .seconds(300) }

    /// Nil before the first sample.
    var value: TimeInterval? { takenAt == nil ? nil : shortest }

    @inline(__always) mutating func sample(_ roundTrip: TimeInterval, at now: Instant) {
        if let takenAt, roundTrip > shortest, now - takenAt <= Self.window { return }
        shortest = roundTrip
        takenAt = now
    }
}
