// Eight-byte time values: an instant on some monotonic clock, and the difference of two.

/// A point in time on a monotonic clock, in nanoseconds since that clock's origin. Which clock is the caller's affair:
/// the daemon passes CLOCK_MONOTONIC, the simulator its virtual clock.
public struct Instant: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// Nanoseconds since the clock's origin, 0 or more.
    public let nanoseconds: Int64

    /// An instant that lies `nanoseconds` after the clock's origin.
    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// The clock's origin.
    @inlinable public static var origin: Instant { Instant(nanoseconds: 0) }

    /// Numeric order.
    @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    /// Saturates instead of overflowing: 2^63 ns are 292 years.
    @inlinable public static func + (a: Instant, b: TimeInterval) -> Instant {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
        return Instant(nanoseconds: overflow ? (b.nanoseconds < 0 ? .min : .max) : sum)
    }

    /// The time from `b` to `a`; saturates.
    @inlinable public static func - (a: Instant, b: Instant) -> TimeInterval {
        let (difference, overflow) = a.nanoseconds.subtractingReportingOverflow(b.nanoseconds)
        return TimeInterval(nanoseconds: overflow ? (a < b ? .min : .max) : difference)
    }
}

/// A length of time in nanoseconds; may be negative. Arithmetic saturates.
public struct TimeInterval: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// The length in nanoseconds.
    public let nanoseconds: Int64

    /// A length of `nanoseconds`.
    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// No time at all.
    @inlinable public static var zero: TimeInterval { TimeInterval(nanoseconds: 0) }

    /// A length in nanoseconds.
    @inlinable public static func nanoseconds(_ n: Int64) -> TimeInterval { TimeInterval(nanoseconds: n) }
    /// A length in microseconds (saturating).
    @inlinable public static func microseconds(_ n: Int64) -> TimeInterval { .nanoseconds(1_000) * n }
    /// A length in milliseconds (saturating).
    @inlinable public static func milliseconds(_ n: Int64) -> TimeInterval { .nanoseconds(1_000_000) * n }
    /// A length in seconds (saturating).
    @inlinable public static func seconds(_ n: Int64) -> TimeInterval { .nanoseconds(1_000_000_000) * n }

    /// The length in seconds, for display and statistics only.
    @inlinable public var inSeconds: Double { Double(nanoseconds) / 1e9 }

    /// Numeric order.
    @inlinable public static func < (a: TimeInterval, b: TimeInterval) -> Bool { a.nanoseconds < b.nanoseconds }

    /// The sum.
    @inlinable public static func + (a: TimeInterval, b: TimeInterval) -> TimeInterval {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
        return TimeInterval(nanoseconds: overflow ? (b.nanoseconds < 0 ? .min : .max) : sum)
    }

    /// The difference.
    @inlinable public static func - (a: TimeInterval, b: TimeInterval) -> TimeInterval {
        let (difference, overflow) = a.nanoseconds.subtractingReportingOverflow(b.nanoseconds)
        return TimeInterval(nanoseconds: overflow ? (a < b ? .min : .max) : difference)
    }

    /// The product.
    @inlinable public static func * (a: TimeInterval, n: Int64) -> TimeInterval {
        let (product, overflow) = a.nanoseconds.multipliedReportingOverflow(by: n)
        return TimeInterval(nanoseconds: overflow ? ((a.nanoseconds < 0) != (n < 0) ? .min : .max) : product)
    }

    /// `n` must not be 0; rounds toward zero.
    @inlinable public static func / (a: TimeInterval, n: Int64) -> TimeInterval {
        precondition(n != 0, "a time interval divided by zero")
        let (quotient, overflow) = a.nanoseconds.dividedReportingOverflow(by: n)
        return TimeInterval(nanoseconds: overflow ? .max : quotient)
    }
}

extension TimeInterval: CustomStringConvertible {
    /// The length with a unit that suits it, e.g. `1.5ms`.
    public var description: String {
        let magnitude = nanoseconds.magnitude
        switch magnitude {
        case 0..<1_000: return "\(nanoseconds)ns"
        case 1_000..<1_000_000: return "\(Double(nanoseconds) / 1e3)us"
        case 1_000_000..<1_000_000_000: return "\(Double(nanoseconds) / 1e6)ms"
        default: return "\(Double(nanoseconds) / 1e9)s"
        }
    }
}

extension Instant: CustomStringConvertible {
    /// Seconds since the clock's origin with nanosecond digits, e.g. `12.000000345`.
    public var description: String {
        let fraction = String(nanoseconds.magnitude % 1_000_000_000)
        let zeros = String(repeating: "0", count: 9 - fraction.count)
        return (nanoseconds < 0 ? "-" : "") + "\(nanoseconds.magnitude / 1_000_000_000).\(zeros)\(fraction)"
    }
}
