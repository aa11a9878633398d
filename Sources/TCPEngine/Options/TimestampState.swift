// The timestamps option of RFC 7323: our clock, the peer's, and protection against wrapped sequence numbers.
import TCPSegments

/// What a connection keeps for the timestamps option. Its clock ticks once a millisecond (RFC 7323 5.4).
struct TimestampState {
    /// Both SYNs carried the option: from here on every segment but a reset does (RFC 7323 3.2).
    var isOn = false
    /// Added to the clock, different for every pair of endpoints, so that a host's uptime does not show (RFC 7323 5.4).
    var offset: UInt32 = 0
    /// TS.Recent: what is echoed.
    private(set) var recent: UInt32 = 0
    private(set) var recentAt = Instant.origin
    /// TS.Recent as of one to two windows of data ago, as of less than one, and where the next window begins.
    private var floor: UInt32 = 0
    private var nextFloor: UInt32 = 0
    private var windowEnd = StreamOffset.zero
    /// Last.ACK.sent: RCV.NXT as of the last ACK that left.
    var lastAckSent = StreamOffset.zero

    /// The clock.
    func value(at now: Instant) -> UInt32 { Self.value(at: now, offset: offset) }

    static func value(at now: Instant, offset: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000) &+ offset
    }

    /// The option to send.
    func option(at now: Instant) -> Timestamps { Timestamps(value: value(at: now), echoReply: recent) }

    /// The peer's SYN had the option.
    mutating func begin(peer value: UInt32, at now: Instant) {
        isOn = true
        recent = value
        recentAt = now
        floor = value
        nextFloor = value
    }

    /// RFC 7323 5.3 (R1): true if the segment is older than what has been seen. A clock that has been idle for 24 days may
    /// have wrapped (5.5) and says nothing.
    func isStale(_ value: UInt32, at now: Instant) -> Bool {
        Int32(bitPattern: value &- recent) < 0 && now - recentAt < Self.idleLimit
    }

    /// True if a segment in the window may carry this timestamp although it is older than TS.Recent: it was sent no earlier than
    /// the window was opened to it, and a retransmission overtook it.
    func mayHaveBeenOvertaken(_ value: UInt32) -> Bool { Int32(bitPattern: value &- floor) >= 0 }

    /// RFC 7323 4.3 (2): the timestamp of a segment that covers Last.ACK.sent is the one to echo.
    mutating func segmentAccepted(_ value: UInt32, start: StreamOffset, window: Int, at now: Instant) {
        guard start - lastAckSent <= 0, !isStale(value, at: now) else { return }
        if start - windowEnd >= 0 {
            floor = nextFloor
            nextFloor = recent
            windowEnd = start + window
        }
        recent = value
        recentAt = now
    }

    /// The round trip that an echoed timestamp tells, to a millisecond; nil if it cannot be one of ours.
    func roundTrip(echo: UInt32, at now: Instant) -> TimeInterval? {
        let elapsed = Int32(bitPattern: value(at: now) &- echo)
        guard elapsed >= 0, echo != 0 else { return nil }
        return .milliseconds(Int64(max(elapsed, 1)))
    }

    /// RFC 7323 5.5.
    private static var idleLimit: TimeInterval { .seconds(24 * 24 * 3600) }
}
