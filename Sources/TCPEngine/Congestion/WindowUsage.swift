// Whether the window is used at all: one that is not must not grow.
import TCPSegments

/// The largest flight of each window of data, and whether the window limited it (RFC 7661; Linux's tcp_cwnd_validate).
struct WindowUsage {
    private var largest = 0
    private(set) var wasLimited = false
    /// The window of data that is being looked at ends here.
    private var end = StreamOffset.zero
    /// When the window was last full, and the largest flight since.
    private var fullAt = Instant.origin
    private var used = 0

    /// After a transmission, or when there is nothing to transmit: `flight` is in the network, and `isLimited` if a segment
    /// more would not fit. Returns the most that was used, when it is time to take the window back to that.
    @inline(__always) mutating func note(
        flight: Int, isLimited: Bool, una: StreamOffset, nxt: StreamOffset, timeout: TimeInterval, at now: Instant
    ) -> Int? {
        if una >= end || isLimited || flight > largest {
            largest = flight
            wasLimited = isLimited
            end = nxt
        }
        if wasLimited {
            used = 0
            fullAt = now
            return nil
        }
        used = max(used, flight)
        guard now - fullAt >= timeout else { return nil }
        defer {
            fullAt = now
            used = 0
        }
        return used
    }

    /// RFC 9293 has no rule; Linux's: slow start may go on while more than half of the window is used.
    @inline(__always) func isLimited(window: Int, threshold: Int) -> Bool {
        wasLimited || (window < threshold && window < 2 * largest)
    }
}
