// What happens when a timer expires (RFC 9293 3.10.8).
import TCPSegments

extension Connection {
    /// Handles every timer that is due at `now`.
    public func handleTimeout(at now: Instant) {
        while state != .closed, let timer = timers.takeDue(at: now) {
            switch timer {
            case .retransmission: retransmissionTimedOut(at: now)
            case .persist: persistTimedOut(at: now)
            case .delayedAck: ackPolicy.delayExpired()
            case .finWait2:
                // The peer never closed its side and nobody is left to read (tcp_fin_timeout).
                finish(nil)
            case .timeWait:
                if ackPolicy.urgency == .now {
                    // A lifetime of 0, or a link that takes nothing: the ACK of the peer's FIN leaves first.
                    timers.arm(.timeWait, at: now + max(.milliseconds(10), maximumSegmentLifetime * 2))
                } else {
                    finish(nil)
                }
            case .keepAlive: keepAliveTimedOut(at: now)
            case .reordering: reorderingTimedOut(at: now)
            case .pacing:
                // Whoever polls next finds that the time has come.
                break
            }
        }
    }

    /// RFC 6298 (5.4) to (5.6).
    private func retransmissionTimedOut(at now: Instant) {
        if retransmissionTimerProbes {
            tailProbeTimedOut(at: now)
            return
        }
        let limit =
            state == .synSent
            ? configuration.synRetries
            : state == .synReceived
                ? configuration.synAckRetries + (sendsBeforeHandshakeEnds ? 1 : 0) : configuration.dataRetries
        // Linux, and what RFC 5482 is for: a user timeout takes the place of the number of retransmissions.
        let isLast =
            userTimeoutIsOver(at: now) || (timeoutCount >= limit && !(state.isSynchronized && userTimeout != nil))
        noteFastOpenTimeout(isLast: isLast, at: now)
        guard !isLast else {
            // RFC 9293 3.8.3, R2: give up. The peer may live on: it hears of it.
            if state.isSynchronized, configuration.resetsWhenGivingUp { sendReset(at: now) }
            finish(softError ?? .timedOut)
            return
        }
        beginUserTimeoutWithRetry(at: now)
        timeoutCount += 1
        roundTrip.backOff()
        switch state {
        case .synSent, .synReceived:
            synPending = true
            handshakeRetransmitted = true
            armRetransmission(at: now)
        case .established, .closeWait, .finWait1, .closing, .lastAck:
            let isSmaller = avoidBlackHole(at: now)
            beginTimeoutRecovery(at: now)
            if isSmaller { loseEverything() }
            armRetransmission(at: now)
        case .closed, .listen, .finWait2, .timeWait:
            break
        }
    }

    /// RFC 9293 3.8.6.1: probe, with growing intervals. A peer that answers keeps the connection alive however long its
    /// window stays closed; one that is silent is given up like one that acknowledges nothing.
    private func persistTimedOut(at now: Instant) {
        guard unansweredProbes <= configuration.dataRetries, !userTimeoutIsOver(at: now) else {
            if configuration.resetsWhenGivingUp { sendReset(at: now) }
            finish(softError ?? .timedOut)
            return
        }
        beginUserTimeoutWithRetry(at: now)
        unansweredProbes += 1
        roundTrip.backOff()
        probePending = true
        armPersist(at: now)
    }

    /// RFC 9293 3.10.8: the user timeout counts from the last progress.
    private func userTimeoutIsOver(at now: Instant) -> Bool {
        guard !userTimeoutAwaitsRetry else { return false }
        return patience.map { now - progressAt >= $0 } ?? false
    }

    /// The user timeout, or that of an OPEN that goes on.
    private var patience: TimeInterval? { userTimeout ?? (state == .synSent ? configuration.openTimeout : nil) }

    /// The user timeout has not begun to count.
    private var userTimeoutAwaitsRetry: Bool {
        configuration.userTimeoutBeginsWithRetry && state.isSynchronized && timeoutCount == 0 && roundTrip.backoffs == 0
    }

    /// The first retransmission, or the first probe of a closed window, is about to leave.
    private func beginUserTimeoutWithRetry(at now: Instant) { if userTimeoutAwaitsRetry { progressAt = now } }

    /// Arms the retransmission timer, or in its place the one for a tail loss probe, which comes sooner (RFC 8985 7.2).
    func armRetransmission(at now: Instant) {
        let deadline = retransmissionDeadline(at: now)
        retransmissionTimerProbes = mayProbeTail
        timers.arm(.retransmission, at: retransmissionTimerProbes ? min(deadline, now + probeTimeout) : deadline)
    }

    /// When the retransmission timer expires that starts now: no later than the user timeout.
    func retransmissionDeadline(at now: Instant) -> Instant { boundByUserTimeout(now + roundTrip.timeout, at: now) }

    /// Arms the persist timer, no later than the user timeout.
    func armPersist(at now: Instant) {
        timers.arm(.persist, at: boundByUserTimeout(now + roundTrip.timeout, at: now))
    }

    private func boundByUserTimeout(_ deadline: Instant, at now: Instant) -> Instant {
        guard let limit = patience, !userTimeoutAwaitsRetry else { return deadline }
        return max(now, min(deadline, progressAt + limit))
    }
}
