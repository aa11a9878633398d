// How many segments leave in one transmission, and where that shows.
import TCPSegments

extension Connection {
    /// The most payload in one transmission, in bytes.
    private static var batchLimit: Int { 128 * 1024 }

    /// The most payload in the next transmission of new data, in bytes; a segment goes in any case.
    @inline(__always) func batchLimit(flight: Int, window: Int) -> Int {
        // A segment that answers a mark goes alone, so that its bits are not repeated.
        if watched.contains(.singleSegments) || marks?.owesAnswer ?? false { return 0 }
        return configuration.batches ? sizedBatch(flight: flight, window: window) : Self.batchLimit
    }

    /// Linux's tcp_tso_autosize and tcp_cwnd_test: a millisecond of the pace that Linux would keep, at least a few segments; never
    /// more than half of the window, so that there are two batches in flight.
    private func sizedBatch(flight: Int, window: Int) -> Int {
        let size = dataSize
        let pace = proportion(
            congestion.window * (congestion.window < congestion.slowStartThreshold / 2 ? 2 : 1), nanosecondsPerSecond,
            Int(max(roundTrip.smoothed ?? .milliseconds(1), .microseconds(1)).nanoseconds))
        let paced = max(pace / 1024 / size, configuration.minimumSegmentsPerBatch)
        let half = max(1, window / size / 2)
        return max(1, min(paced, half, Self.largestBatch / size, max(1, (window - flight) / size))) * size
    }

    /// How many bytes of what is unsent would leave next in one batch.
    public var nextBatch: Int {
        let flight = inFlight
        let window = sendWindow
        guard window - flight >= dataSize else { return 0 }
        return max(0, min(unsentBytes, tcb.send.windowEdge - tcb.send.nxt, batchLimit(flight: flight, window: window)))
    }

    /// Linux's largest packet before segmentation.
    private static var largestBatch: Int { 65_536 - 1 - 320 }

    /// Linux: whatever leaves as several segments at once ends with PSH, and keeps it when sent again.
    func pushes(upTo end: StreamOffset, _ count: Int, again: Bool) -> Bool {
        again ? retransmissionQueue.isPushed(endingAt: end) : count > dataSize
    }
}
