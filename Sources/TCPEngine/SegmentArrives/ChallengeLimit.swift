// How often a segment that is not acceptable is answered (RFC 5961 7).
import TCPSegments

/// Limits the answers to unacceptable segments, or two hosts that each find the other's ACK out of their windows would
/// answer each other for ever. It counts per connection: a limit for the whole host could be sensed from outside and tell
/// who talks to whom. Whoever provokes answers cannot silence them: each one that leaves goes to the true peer and says
/// everything there is to say.
struct ChallengeLimit {
    private var nextAllowed = Instant.origin

    /// True if this segment may be answered now; the answer counts, and the next one comes no earlier than `interval` later.
    /// Deviation: segments with data or FIN are always answered, or a lost window update would stall the peer.
    mutating func allowsAnswer(
        to header: SegmentHeader, payloadCount: Int, every interval: TimeInterval, at now: Instant
    ) -> Bool {
        let bits = header.controlBits
        guard bits.contains(.syn) || bits.contains(.rst) || (payloadCount == 0 && !bits.contains(.fin)) else {
            return true
        }
        guard now >= nextAllowed else { return false }
        nextAllowed = now + interval
        return true
    }
}
