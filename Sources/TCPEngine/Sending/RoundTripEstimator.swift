// SRTT, RTTVAR and RTO of RFC 6298.
import TCPSegments

/// Estimates the round-trip time and derives the retransmission timeout from it (RFC 6298 2).
struct RoundTripEstimator {
    private(set) var smoothed: TimeInterval?
    private(set) var variation = TimeInterval.zero
    private(set) var base: TimeInterval
    /// How often the timeout was doubled since the last sample or new ACK (RFC 6298 5.5).
    private(set) var backoffs = 0
    private let minimum: TimeInterval
    private let slop: TimeInterval
    private let maximum: TimeInterval

    init(_ configuration: ConnectionConfiguration) {
        base = configuration.initialRTO
        minimum = configuration.minimumRTO
        slop = configuration.timeoutSlop
        maximum = configuration.maximumRTO
    }

    /// The timeout to arm now.
    var timeout: TimeInterval {
        var t = base
        for _ in 0..<backoffs where t < maximum { t = t * 2 }
        return min(t, maximum)
    }

    /// RFC 6298 (2.2), (2.3): RTTVAR is updated before SRTT, alpha = 1/8, beta = 1/4, K = 4.
    mutating func sample(_ r: TimeInterval) {
        let r = max(r, .nanoseconds(1))
        if let srtt = smoothed {
            let deviation = srtt < r ? r - srtt : srtt - r
            variation = (variation * 3 + deviation) / 4
            smoothed = (srtt * 7 + r) / 8
        } else {
            smoothed = r
            variation = r / 2
        }
        // The minimum bounds the variation's part, as on Linux: a constant round trip of 300 ms needs room for a delayed ACK, too.
        let smoothed = smoothed ?? r
        base = min(
            slop == .zero ? smoothed + max(minimum, variation * 4) : max(smoothed + variation * 4, minimum) + slop,
            maximum)
        backoffs = 0
    }

    /// RFC 6298 (5.5): the timer expired.
    mutating func backOff() { backoffs = min(backoffs + 1, 32) }

    /// New data was acknowledged: the path works again.
    mutating func endBackoff() { backoffs = 0 }

    /// RFC 6298 (5.7): the SYN had to be retransmitted; data starts with 3 s.
    mutating func handshakeWasRetransmitted() {
        if smoothed == nil { base = min(max(base, .seconds(3)), maximum) }
        backoffs = 0
    }
}
