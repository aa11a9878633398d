// Slow start and congestion avoidance of RFC 5681 with the initial window of RFC 6928.
import TCPSegments

/// The standard's congestion control (RFC 5681); the window grows by bytes acknowledged (RFC 3465).
struct NewReno: CongestionControl {
    static let name = "reno"
    private(set) var window: Int
    private(set) var slowStartThreshold = Int.max
    /// Bytes acknowledged since the window last grew in congestion avoidance.
    private var credit = 0
    private var beforeLoss: (window: Int, threshold: Int)?
    private var segmentSize: Int

    init(segmentSize: Int) {
        self.segmentSize = segmentSize
        window = Self.initialWindow(segmentSize: segmentSize)
    }

    /// RFC 6928 2: min(10 MSS, max(2 MSS, 14600)).
    static func initialWindow(segmentSize: Int) -> Int { min(10 * segmentSize, max(2 * segmentSize, 14_600)) }

    mutating func acknowledged(_ sample: AckSample) {
        guard sample.wasWindowLimited else { return }
        if window < slowStartThreshold {
            // RFC 5681 3.1: slow start.
            window = min(window + sample.acknowledged, max(slowStartThreshold, window + sample.segmentSize))
        } else {
            // RFC 5681 3.1: congestion avoidance, one segment a window.
            credit += sample.acknowledged
            if credit >= window {
                credit -= window
                window += sample.segmentSize
            }
        }
        window = min(window, 1 << 30)
    }

    mutating func lossDetected(inFlight: Int, segmentSize: Int, at now: Instant) {
        beforeLoss = (window, slowStartThreshold)
        // RFC 5681 (4): half of what is outstanding, at least two segments.
        slowStartThreshold = max(inFlight / 2, 2 * segmentSize)
        window = slowStartThreshold
        credit = 0
    }

    mutating func timedOut(inFlight: Int, segmentSize: Int, first: Bool, at now: Instant) {
        if first {
            // RFC 5681 3.1: the threshold is kept when the same segment is retransmitted again.
            beforeLoss = (window, slowStartThreshold)
            slowStartThreshold = max(inFlight / 2, 2 * segmentSize)
        }
        window = segmentSize
        credit = 0
    }

    mutating func lossWasSpurious() {
        guard let before = beforeLoss else { return }
        window = max(window, before.window)
        slowStartThreshold = before.threshold
        beforeLoss = nil
    }

    /// RFC 5681 4.1: the restart window is the initial window, if that is smaller.
    mutating func restartedAfterIdle() { window = min(window, Self.initialWindow(segmentSize: segmentSize)) }

    mutating func segmentSizeChanged(to newSize: Int) {
        if window == Self.initialWindow(segmentSize: segmentSize) {
            window = Self.initialWindow(segmentSize: newSize)
        }
        window = max(window, newSize)
        segmentSize = newSize
    }
}
