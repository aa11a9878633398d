// Pacing: when the next segment may leave.
import TCPSegments

/// A token bucket. It is asked how much may leave now, or when enough may; nobody is called back.
struct Pacer {
    /// Bytes that may leave at `filledAt`.
    private var tokens = 0
    private var filledAt = Instant.origin

    /// Bytes that may leave at `now`. The bucket fills with `rate` bytes a second and holds `depth`.
    mutating func allowance(rate: Int, depth: Int, at now: Instant) -> Int {
        let gained = proportion(rate, Int((now - filledAt).nanoseconds), nanosecondsPerSecond)
        guard gained > 0 else { return tokens }
        if gained >= depth - tokens {
            tokens = max(tokens, depth)
            filledAt = now
        } else {
            tokens += gained
            // Only the time of whole bytes is used up, so that slow rates lose nothing to rounding.
            filledAt = min(now, filledAt + Self.time(for: gained, rate: rate))
        }
        return tokens
    }

    /// `count` bytes leave. The bucket may owe: a retransmission that cannot wait is paid for later.
    mutating func spend(_ count: Int) { tokens -= count }

    /// When `count` bytes may leave, if nothing else does until then.
    func time(of count: Int, rate: Int) -> Instant {
        count <= tokens ? filledAt : filledAt + Self.time(for: count - tokens, rate: rate)
    }

    /// Rounded up.
    private static func time(for count: Int, rate: Int) -> TimeInterval {
        let time = proportion(count, nanosecondsPerSecond, rate)
        return .nanoseconds(
            Int64(time == .max || proportion(rate, time, nanosecondsPerSecond) >= count ? time : time + 1))
    }
}
