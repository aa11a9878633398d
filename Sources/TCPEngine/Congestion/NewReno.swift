// Slow start and congestion avoidance of RFC 5681.
import TCPSegments

/// The standard's congestion control (RFC 5681); the window grows by bytes acknowledged (RFC 3465).
struct NewReno: CongestionAlgorithm {
    /// Bytes acknowledged since the window last grew in congestion avoidance.
    private var credit = 0

    mutating func acknowledged(_ sample: AckSample, _ window: inout CongestionWindow) {
        // RFC 5681 3.1: slow start, and with the rest congestion avoidance, one segment a window.
        credit += window.slowStart(window.countsSegments ? sample.segments * window.segmentSize : sample.delivered)
        if credit >= window.size {
            credit = min(credit - window.size, window.size)
            window.size = min(window.size + window.segmentSize, CongestionWindow.limit)
        }
    }

    mutating func lossDetected(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        // RFC 5681 (4): half of what is outstanding, at least two segments.
        window.threshold =
            window.countsSegments
            ? window.reduced(to: window.size / 2) : max(min(flight, window.size) / 2, 2 * window.segmentSize)
        window.size = window.threshold
        credit = 0
    }

    mutating func marked(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        // RFC 8511 3.1: a mark comes from a short queue, so 0.8 instead of a half keeps the path in use.
        // Linux reduces as for a loss.
        window.threshold =
            window.countsSegments
            ? window.reduced(to: window.size / 2) : max(min(flight, window.size) / 5 * 4, 2 * window.segmentSize)
        window.size = window.threshold
        credit = 0
    }

    mutating func timedOut(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        lossDetected(flight: flight, &window, at: now)
    }
}
