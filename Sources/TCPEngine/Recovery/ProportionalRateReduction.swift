// How much may be sent during fast recovery: proportional rate reduction (RFC 6937bis).
import TCPSegments

/// Brings what is in the network down to the slow-start threshold by the end of recovery, evenly.
struct ProportionalRateReduction {
    /// RecoverFS: what was outstanding when the recovery began.
    private let flightAtEntry: Int
    /// prr_delivered and prr_out.
    private var delivered = 0
    private var sent = 0
    /// cwnd.
    private(set) var window: Int

    /// What is let go are whole segments (`ConnectionConfiguration.countsSegments`).
    private let countsSegments: Bool

    init(flightAtEntry: Int, window: Int, countsSegments: Bool = false) {
        self.flightAtEntry = max(flightAtEntry, 1)
        self.window = window
        self.countsSegments = countsSegments
    }

    /// RFC 6937bis, on every ACK. `isSafe`: SND.UNA advanced and no further loss was found.
    mutating func acknowledged(_ bytes: Int, inFlight: Int, threshold: Int, segmentSize: Int, isSafe: Bool) {
        delivered += bytes
        var budget: Int
        if inFlight > threshold {
            // Proportional: ceil(prr_delivered * ssthresh / RecoverFS) - prr_out. The sizes are below 2^31.
            let unit = countsSegments ? flightAtEntry * segmentSize : flightAtEntry
            budget = (min(delivered, 1 << 31) * threshold + unit - 1) / unit * (countsSegments ? segmentSize : 1) - sent
        } else {
            // Conservative reduction bound; with safe ACKs the slow-start reduction bound.
            budget = max(delivered - sent, bytes)
            if isSafe { budget += segmentSize }
            budget = min(threshold - inFlight, budget)
        }
        // The first retransmission leaves in any case.
        if sent == 0 { budget = max(budget, segmentSize) }
        window = inFlight + max(budget, 0)
    }

    mutating func sent(_ bytes: Int) { sent += bytes }
}
