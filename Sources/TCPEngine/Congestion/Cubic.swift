// CUBIC (RFC 9438) in integers: the same windows on every machine.
import TCPSegments

/// The window grows as a cubic function of the time since the last reduction, whatever the round trip, and at least as fast as
/// the standard's would.
struct Cubic: CongestionAlgorithm {
    private var hyStart = HyStart()
    /// W_max in bytes; 0: none yet.
    private var maximum = 0
    /// t_epoch; nil: congestion avoidance has not begun since the last reduction.
    private var epoch: Instant?
    /// When the window was last the limit: what passes without it does not count.
    private var limitedAt = Instant.origin
    /// K in milliseconds.
    private var k: Int64 = 0
    /// W_est in bytes, and cwnd_prior.
    private var estimate = 0
    private var prior = 0
    /// What did not suffice for a byte more, or for a segment more of the estimate.
    private var remainder = 0
    private var estimateCredit = 0

    mutating func acknowledged(_ sample: AckSample, _ window: inout CongestionWindow) {
        guard window.size < window.threshold else {
            avoidCongestion(sample, sample.delivered, &window)
            return
        }
        if window.threshold == .max {
            // RFC 9406: only the first slow start has no threshold.
            let (growth, isOver) = hyStart.acknowledged(sample, segmentSize: window.segmentSize)
            window.size = min(window.size + growth, CongestionWindow.limit)
            if isOver { window.threshold = window.size }
        } else {
            let left = window.slowStart(sample.delivered)
            if left > 0 { avoidCongestion(sample, left, &window) }
        }
    }

    private mutating func avoidCongestion(_ sample: AckSample, _ bytes: Int, _ window: inout CongestionWindow) {
        let now = sample.arrival
        let roundTrip = sample.roundTrip ?? .zero
        if let begun = epoch {
            // RFC 9438 5.8: the time in which the user did not fill the window does not count.
            let pause = now - limitedAt
            if pause > max(roundTrip * 2, .milliseconds(100)) { epoch = begun + pause }
        } else {
            epoch = now
            // RFC 9438 4.2 and 4.8: without a maximum above the window the plateau is here.
            maximum = max(maximum, window.size)
            k = Self.timeToGrow(by: maximum - window.size, segmentSize: window.segmentSize)
            estimate = window.size
            remainder = 0
            estimateCredit = 0
        }
        limitedAt = now
        let elapsed = (now - (epoch ?? now) + roundTrip).nanoseconds / 1_000_000
        // RFC 9438 4.2: the target a round trip from now, at most half as much again.
        let target = min(
            max(
                maximum + Self.growth(after: elapsed - k, segmentSize: window.segmentSize), window.size),
            window.size + window.size / 2)
        // RFC 9438 4.4, 4.5: (target - cwnd) / cwnd for each byte acknowledged.
        remainder += (target - window.size) * bytes
        window.size += remainder / window.size
        remainder %= window.size
        // RFC 9438 4.3: what the standard's algorithm would have; alpha is 3 (1 - beta) / (1 + beta) = 9/17, and 1 above the
        // window before the reduction.
        estimateCredit += estimate >= prior ? bytes : bytes * 9 / 17
        if estimateCredit >= window.size {
            estimateCredit = min(estimateCredit - window.size, window.size)
            estimate += window.segmentSize
        }
        window.size = min(max(window.size, estimate), CongestionWindow.limit)
    }

    mutating func lossDetected(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        // RFC 9438 4.6: beta is 0.7.
        reduce(to: 70, flight: flight, &window)
    }

    mutating func marked(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        // RFC 8511 3.1: 0.85 for marks, which come from short queues.
        reduce(to: 85, flight: flight, &window)
    }

    private mutating func reduce(to percent: Int, flight: Int, _ window: inout CongestionWindow) {
        prior = min(window.size, max(flight, window.segmentSize))
        // RFC 9438 4.7: fast convergence gives room to newer flows.
        maximum = prior < maximum ? prior * 17 / 20 : prior
        window.threshold = max(prior * percent / 100, 2 * window.segmentSize)
        window.size = window.threshold
        epoch = nil
    }

    mutating func timedOut(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        lossDetected(flight: flight, &window, at: now)
        // RFC 9438 4.8: the next congestion avoidance begins with its own window as W_max.
        maximum = 0
    }

    // MARK: The curve

    /// C t^3 in bytes for `t` milliseconds (RFC 9438 figure 1; C is 0.4 segments per cubic second).
    static func growth(after t: Int64, segmentSize: Int) -> Int {
        // 262 s are 7 million segments: nothing larger fits a window, and nothing overflows.
        let t = min(max(t, -(1 << 18)), 1 << 18)
        return Int(t * t * t / 2_500 * Int64(segmentSize) / 1_000_000)
    }

    /// K in milliseconds (RFC 9438 figure 2): how long the curve takes for `bytes`.
    static func timeToGrow(by bytes: Int, segmentSize: Int) -> Int64 {
        cubeRoot(Int64(min(max(bytes, 0), CongestionWindow.limit)) * 2_500_000_000 / Int64(segmentSize))
    }

    /// The largest integer whose cube is not above `n` (0 or more): bit by bit.
    static func cubeRoot(_ n: Int64) -> Int64 {
        var root: Int64 = 0
        var bit: Int64 = 1 << 20
        while bit > 0 {
            let candidate = root | bit
            if candidate * candidate * candidate <= n { root = candidate }
            bit >>= 1
        }
        return root
    }
}
