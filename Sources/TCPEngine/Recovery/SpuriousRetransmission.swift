// Retransmissions that were not needed, and taking the reaction to them back: Eifel (RFC 3522, 4015), D-SACK (RFC 3708).
import TCPSegments

extension ReductionRecord {
    /// `bytes` of `range` left again; `stamp` is the clock of the timestamps option, or 0 if it tells nothing.
    func countsAsRetransmitted(_ range: Range<StreamOffset>, bytes: Int, stamp: UInt32) {
        unreported += bytes
        if let known = retransmitted {
            retransmitted = min(known.lowerBound, range.lowerBound)..<max(known.upperBound, range.upperBound)
        } else {
            retransmitted = range
            firstRetransmission = stamp
        }
    }
}

extension Connection {
    /// The peer received [lower, upper) twice (RFC 2883 4).
    func duplicateWasReported(_ range: Range<StreamOffset>) {
        let count = range.upperBound - range.lowerBound
        if tailProbe?.end == range.upperBound {
            // RFC 8985 7.4.1: a probe that was not needed tells nothing of reordering.
            statistics.needlessRetransmissions += 1
            return
        }
        // What the network duplicated says nothing about our retransmissions; there cannot be more reports than of those.
        guard UInt64(statistics.needlessRetransmissions) < statistics.segmentsRetransmitted else { return }
        statistics.needlessRetransmissions += 1
        rack.duplicateReported(una: tcb.send.una, nxt: tcb.send.nxt)
        guard let reduction, let ours = reduction.retransmitted, range.lowerBound >= ours.lowerBound,
            range.upperBound <= ours.upperBound
        else { return }
        reduction.unreported -= count
    }

    /// RFC 3522: an ACK of something new that echoes a timestamp from before the first retransmission is of the original.
    /// RFC 3708: if every retransmission was reported as a duplicate, none was needed.
    func mayUndo(echo: UInt32?) -> Bool {
        guard let reduction, reduction.retransmitted != nil, configuration.recovery.contains(.undo) else {
            return false
        }
        if reduction.unreported <= 0 { return true }
        let first = reduction.firstRetransmission
        guard episode != nil, let echo, echo != 0, first != 0 else { return false }
        return Int32(bitPattern: echo &- first) < 0
    }

    /// Nothing was lost: the window and the threshold are as before (RFC 4015 3.2).
    func undoReduction() {
        guard let record = reduction else { return }
        congestion.restore(record.before)
        if episode?.phase != .timeout { rack.recoveryWasNeedless() }
        reduction = nil
        episode = nil
        retransmissionQueue.forgetLosses()
        duplicates.reset()
        roundTrip.endBackoff()
        statistics.undoneReductions += 1
    }
}
