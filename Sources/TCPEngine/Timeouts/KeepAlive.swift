// Keepalive (RFC 9293 3.8.4): asks an idle peer for a sign of life.
import TCPSegments

extension Connection {
    /// Starts or stops the timer as the configuration says. It is not moved by segments: when it expires, it looks when the
    /// last one came.
    func armKeepAlive(at now: Instant) {
        guard configuration.keepAlive, state.isSynchronized, state != .timeWait else {
            timers.cancel(.keepAlive)
            return
        }
        unansweredKeepAlives = 0
        timers.arm(.keepAlive, at: max(now, lastReceived + configuration.keepAliveIdle))
    }

    func keepAliveTimedOut(at now: Instant) {
        let configuration = self.configuration
        let idle = now - lastReceived
        if tcb.send.nxt > tcb.send.una || sendBuffer.end > tcb.send.nxt {
            // What is outstanding or stuck has a timer of its own.
            timers.arm(.keepAlive, at: now + configuration.keepAliveIdle)
        } else if idle < configuration.keepAliveIdle {
            unansweredKeepAlives = 0
            timers.arm(.keepAlive, at: lastReceived + configuration.keepAliveIdle)
        } else if giveUpKeepAlive(idle: idle) {
            // RFC 9293 3.8.4: one lost probe proves nothing; as many as configured do.
            sendReset(at: now)
            finish(.timedOut)
        } else {
            unansweredKeepAlives += 1
            keepAlivePending = true
            timers.arm(.keepAlive, at: now + configuration.keepAliveInterval)
        }
    }

    /// A user timeout takes the place of the number of probes, as on Linux.
    private func giveUpKeepAlive(idle: TimeInterval) -> Bool {
        if let limit = userTimeout { return unansweredKeepAlives > 0 && idle >= limit }
        return unansweredKeepAlives >= configuration.keepAliveProbes
    }

    /// RFC 9293 3.8.4: SEG.SEQ = SND.NXT - 1 and no data, so that any peer has to answer.
    func keepAliveProbe(at now: Instant, into out: inout Transmission) -> Bool {
        guard keepAlivePending else { return false }
        keepAlivePending = false
        statistics.segmentsSent += 1
        out.header = acknowledgingHeader(.ack, at: tcb.send.nxt - 1, now: now)
        return true
    }
}
