// CUBIC as Linux counts it: whole segments, a curve in 1/1024 s that is looked at once a millisecond, HyStart.
import TCPSegments

/// RFC 9438 with Linux's arithmetic, for connections whose windows others know to the segment
/// (`ConnectionConfiguration.countsSegments`).
struct SegmentCubic: CongestionAlgorithm {
    private var hyStart = SegmentHyStart()
    /// W_max, and the plateau of the curve that is being followed, in segments; 0: none.
    private var maximum: Int32 = 0
    private var plateau: Int32 = 0
    /// What the standard's algorithm would have, and the segments acknowledged since it last grew.
    private var friendly: Int32 = 0
    private var friendlyCredit: Int32 = 0
    /// One segment more for so many acknowledged ones, and how many there are by now.
    private var pace: Int32 = 0
    private var credit: Int32 = 0
    /// The window when `pace` was last computed, and the millisecond of that.
    private var lastWindow: Int32 = 0
    private var lastAt: Int64 = 0
    /// t_epoch in milliseconds; 0: congestion avoidance has not begun since the last reduction. K in 1/1024 s.
    private var epoch: Int64 = 0
    private var k: Int64 = 0

    /// 0.7 in 1/1024.
    private static var beta: Int { 717 }
    /// C in 1/1024, for a window of ten.
    private static var scale: Int64 { 410 }
    /// 8 (1 + beta) / 3 (1 - beta): how many segments let the standard's window grow, in eighths of the window.
    private static var friendliness: Int { 15 }

    mutating func acknowledged(_ sample: AckSample, _ window: inout CongestionWindow) {
        let segments = window.size / window.segmentSize
        let now = sample.arrival.nanoseconds / 1_000_000
        if let roundTrip = sample.roundTrip, epoch == 0 || now - epoch >= 1000 {
            hyStart.noteRoundTrip(roundTrip)
            if !hyStart.isOver, window.size < window.threshold,
                hyStart.findsCapacity(sample, roundTrip: roundTrip, window: segments)
            {
                window.threshold = segments * window.segmentSize
            }
        }
        guard sample.isWindowLimited else { return }
        var acknowledged = sample.segments
        if window.size < window.threshold {
            let growth = min(acknowledged * window.segmentSize, window.threshold - window.size)
            window.size = min(window.size + growth, CongestionWindow.limit)
            acknowledged -= (growth + window.segmentSize - 1) / window.segmentSize
        }
        guard acknowledged > 0 else { return }
        // No ACK of a peer's covers more; the sums below stay within 32 bits.
        let count = Int32(min(acknowledged, 1 << 20))
        setPace(Int32(clamping: window.size / window.segmentSize), count, at: now)
        grow(&window, by: count)
    }

    /// tcp_cong_avoid_ai: a segment for each `pace` that are acknowledged.
    private mutating func grow(_ window: inout CongestionWindow, by acknowledged: Int32) {
        var growth: Int32 = 0
        // What was saved up for a slower pace counts for one segment.
        if credit >= pace {
            credit = 0
            growth = 1
        }
        credit += acknowledged
        if credit >= pace {
            growth += credit / pace
            credit %= pace
        }
        window.size = min(window.size + Int(growth) * window.segmentSize, CongestionWindow.limit)
    }

    private mutating func setPace(_ window: Int32, _ acknowledged: Int32, at now: Int64) {
        friendlyCredit = min(friendlyCredit + acknowledged, 1 << 28)
        if lastWindow == window, now - lastAt <= 31 { return }
        if epoch == 0 || now != lastAt {
            lastWindow = window
            lastAt = now
            followCurve(window, acknowledged, at: now)
        }
        // RFC 9438 4.3.
        let step = max(1, Int32(clamping: Int(window) * Self.friendliness / 8))
        // Linux wants more than the step, not as much.
        let steps = max(0, friendlyCredit - 1) / step
        friendly = min(friendly + steps, 1 << 30)
        friendlyCredit -= steps * step
        if friendly > window { pace = min(pace, window / (friendly - window)) }
        // Half as much again in a round trip at most.
        pace = max(pace, 2)
    }

    private mutating func followCurve(_ window: Int32, _ acknowledged: Int32, at now: Int64) {
        if epoch == 0 {
            epoch = now
            friendlyCredit = acknowledged
            friendly = window
            if maximum <= window {
                k = 0
                plateau = window
            } else {
                k = Cubic.cubeRoot((1 << 40) / Self.scale * Int64(maximum - window))
                plateau = maximum
            }
        }
        let t = (now - epoch + hyStart.shortest.nanoseconds / 1_000_000) * 1024 / 1000
        // 128 s are 800,000 segments: more than any window, and nothing overflows.
        let distance = min(abs(t - k), 1 << 17)
        let change = Int32(clamping: (Self.scale * distance * distance * distance) >> 40)
        let target = t < k ? plateau - change : plateau.addingReportingOverflow(change).partialValue
        pace = target > window ? window / (target - window) : 100 * min(window, 1 << 20)
        // Before the first loss the curve would be flat for too long.
        if maximum == 0 { pace = min(pace, 20) }
    }

    /// Data leaves after the network was empty for `idle`: the curve stands still meanwhile.
    mutating func resumed(afterIdle idle: TimeInterval, at now: Instant) {
        guard epoch != 0 else { return }
        epoch = min(epoch + idle.nanoseconds / 1_000_000, now.nanoseconds / 1_000_000)
    }

    mutating func lossDetected(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        let segments = window.size / window.segmentSize
        epoch = 0
        // RFC 9438 4.7.
        maximum = Int32(clamping: segments < Int(maximum) ? segments * (1024 + Self.beta) / 2048 : segments)
        window.threshold = max(segments * Self.beta / 1024, 2) * window.segmentSize
        window.size = window.threshold
        credit = 0
    }

    mutating func marked(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        lossDetected(flight: flight, &window, at: now)
    }

    mutating func timedOut(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        lossDetected(flight: flight, &window, at: now)
        // Everything that was learnt is forgotten.
        self = SegmentCubic()
    }
}
