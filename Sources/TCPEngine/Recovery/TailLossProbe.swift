// The last segments of a flight have nobody behind them to show that they are missing: a probe (RFC 8985 7).
import TCPSegments

/// A probe that was sent and whose fate is not known yet.
struct TailLossProbe {
    /// TLP.end_seq: SND.NXT after the probe.
    let end: StreamOffset
    /// It repeated the last segment, for want of new data.
    let isRetransmission: Bool

    /// What the ACKs after a probe say.
    enum Outcome {
        case undecided
        /// Nothing was lost, or recovery takes care of it.
        case settled
        /// The probe repaired a loss: the window has to be reduced as for any (RFC 8985 7.4.2).
        case repairedLoss
    }

    /// - Parameters:
    ///   - reportsDuplicate: the ACK reports the probe as a duplicate (D-SACK).
    ///   - isBareDuplicate: it is a duplicate without news: both the segment and its repetition arrived.
    func take(una: StreamOffset, reportsDuplicate: Bool, isBareDuplicate: Bool) -> Outcome {
        guard una >= end else { return .undecided }
        if !isRetransmission || reportsDuplicate || isBareDuplicate { return .settled }
        return una > end ? .repairedLoss : .undecided
    }
}

extension Connection {
    /// RFC 8985 7.2: how long after the last transmission the probe leaves.
    var probeTimeout: TimeInterval {
        guard let smoothed = roundTrip.smoothed else { return .seconds(1) }
        // One segment alone may wait for the peer's delayed ACK.
        let isAlone = retransmissionQueue.ranges.count == 1 && tcb.send.nxt - tcb.send.una <= tcb.sendMSS
        return smoothed * 2 + (isAlone ? configuration.maximumAckDelay : .milliseconds(2))
    }

    /// RFC 8985 7.2: probes are for flights without a sign of loss, one at a time.
    var mayProbeTail: Bool {
        selectiveAcks && tailProbe == nil && episode == nil && retransmissionQueue.isClean && timeoutCount == 0
            && state.isSynchronized && configuration.recovery.contains(.tailLossProbe)
    }

    /// The timer for a probe expired: send it, or wait on if something has been sent since it was armed.
    func tailProbeTimedOut(at now: Instant) {
        retransmissionTimerProbes = false
        let due = min(lastSent + probeTimeout, progressAt + roundTrip.timeout)
        if due > now {
            retransmissionTimerProbes = true
            timers.arm(.retransmission, at: due)
        } else {
            tailProbePending = mayProbeTail
            timers.arm(.retransmission, at: retransmissionDeadline(at: now))
        }
    }

    /// RFC 8985 7.3: a new segment if the peer's window has room for one, else the last one again.
    func tailProbeTransmission(at now: Instant, into out: inout Transmission) -> Bool {
        guard tailProbePending else { return false }
        tailProbePending = false
        guard tcb.send.nxt > tcb.send.una, tcb.send.wnd > 0 else { return false }
        statistics.tailLossProbes += 1
        let fresh = min(sendBuffer.end - tcb.send.nxt, tcb.send.windowEdge - tcb.send.nxt, dataSize)
        if fresh > 0 {
            segments(from: tcb.send.nxt, length: fresh, at: now, again: false, into: &out)
            tailProbe = TailLossProbe(end: tcb.send.nxt, isRetransmission: false)
            return true
        }
        let begin = retransmissionQueue.start(of: retransmissionQueue.ranges.count - 1)
        let fin = finWasSent ? 1 : 0
        // The last segment of the last transmission, with its FIN.
        let data = tcb.send.nxt - begin - fin
        let length = (data > 0 ? (data - 1) % dataSize + 1 : 0) + fin
        segments(from: tcb.send.nxt - length, length: length, at: now, again: true, into: &out)
        tailProbe = TailLossProbe(end: tcb.send.nxt, isRetransmission: true)
        return true
    }
}
