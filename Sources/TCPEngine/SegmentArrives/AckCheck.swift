// Fifth check of RFC 9293 3.10.7.4: the ACK field.
import TCPSegments

extension Connection {
    func checkAck(_ segment: ArrivingSegment, at now: Instant) -> Disposition {
        // A segment without ACK is dropped (RFC 9293 3.10.7.4, fifth).
        guard segment.bits.contains(.ack) else { return .drop }
        let ack = StreamOffset.unwrap(segment.header.acknowledgmentNumber, from: tcb.send.iss, near: tcb.send.una)
        let fromUna = ack - tcb.send.una
        let completesHandshake = state == .synReceived

        if state == .synReceived {
            // SND.UNA < SEG.ACK =< SND.NXT, else a reset.
            // RFC 7413 4.2.2: of a fast-opened connection SND.UNA lies behind the SYN-ACK already.
            guard fromUna > 0 || (fromUna == 0 && sendsBeforeHandshakeEnds), ack - tcb.send.nxt <= 0 else {
                pendingReset = PendingReset(answering: segment)
                return .drop
            }
            updateSendWindow(segment.header.window.scaled(by: tcb.send.scale).bytes)
            tcb.send.wl1 = segment.header.sequenceNumber
            tcb.send.wl2 = ack
            establish(at: now)
        }
        // RFC 9293 3.10.7.4: an ACK of what was never sent is answered and dropped.
        guard ack - tcb.send.nxt <= 0 else {
            return configuration.answersUnsentAcks || state != .established ? .acknowledge : .drop
        }
        // RFC 5961 5.2: an ACK older than the largest window is not the peer's.
        guard fromUna >= -Int(tcb.send.maximumWindow) else { return .acknowledge }

        if marks != nil {
            takeFeedback(segment, bytes: fromUna, completesHandshake: completesHandshake, at: now)
        }
        unansweredProbes = 0
        let oldWindow = tcb.send.wnd
        let newWindow = segment.header.window.scaled(by: tcb.send.scale).bytes
        let isWindowUpdate = newWindow != oldWindow
        if fromUna > 0 {
            acknowledged(upTo: ack, segment.header, at: now)
        } else {
            // RFC 5681 2: a duplicate acknowledgment. SACK blocks count on any ACK, an old one included.
            let isDuplicate =
                fromUna == 0 && segment.length == 0 && !isWindowUpdate && tcb.send.nxt > tcb.send.una && oldWindow > 0
            if isDuplicate || (selectiveAcks && segment.header.options.sackBlocks.count > 0) {
                takeAcknowledgment(upTo: ack, segment.header, isDuplicate: isDuplicate, at: now)
            }
        }
        // RFC 9293 3.10.7.4: only a newer segment, or a newer ACK of the same, updates the window; the same again shrinks none on
        // FreeBSD.
        let isNewer =
            tcb.send.wl1.isBefore(segment.header.sequenceNumber)
            || (tcb.send.wl1 == segment.header.sequenceNumber && tcb.send.wl2 <= ack
                && (tcb.send.wl2 < ack || newWindow > oldWindow || !configuration.answersLikeFreeBSD))
        if fromUna >= 0, isNewer {
            updateSendWindow(newWindow)
            tcb.send.wl1 = segment.header.sequenceNumber
            tcb.send.wl2 = ack
            windowChanged(from: oldWindow, at: now)
        }
        // RFC 9293 3.10.7.4, CLOSING: what does not acknowledge our FIN is ignored from here on.
        return state == .closing ? .drop : .proceed
    }

    /// SND.UNA advances to `ack`.
    private func acknowledged(upTo ack: StreamOffset, _ header: SegmentHeader, at now: Instant) {
        progressAt = now
        softError = nil
        takeAcknowledgment(upTo: ack, header, isDuplicate: false, at: now)
        sendBuffer.acknowledge(upTo: min(ack, sendBuffer.end))
        writes?.letGo(pushing: !configuration.batches)
        timeoutCount = 0
        // RFC 6298 (5.2), (5.3): all acknowledged stops the timer, anything new restarts it.
        if ack == tcb.send.nxt {
            timers.cancel(.retransmission)
            timers.cancel(.persist)
            timers.cancel(.reordering)
        } else if !timers.isArmed(.persist) {
            armRetransmission(at: now)
        }
        if let end = sendUrgent, ack >= end { sendUrgent = nil }
        announceRoom()
        if finQueued, ack > finPosition { finWasAcknowledged(at: now) }
    }

    /// RFC 9293 3.10.7.4, fifth: what the ACK of our FIN does in each state.
    private func finWasAcknowledged(at now: Instant) {
        switch state {
        case .finWait1:
            transition(to: .finWait2)
            if isOrphan { timers.arm(.finWait2, at: now + configuration.finWait2Timeout) }
        case .closing:
            enterTimeWait(at: now)
        case .lastAck:
            finish(nil)
        case .closed, .listen, .synSent, .synReceived, .established, .finWait2, .closeWait, .timeWait:
            break
        }
    }

    /// The window opened, closed or moved.
    func windowChanged(from old: UInt32, at now: Instant) {
        let outstanding = tcb.send.nxt > tcb.send.una
        if tcb.send.wnd == 0 {
            // From here the persist timer rules (RFC 9293 3.8.6.1); a closed window is not a sign of loss.
            let hasMore = outstanding || sendBuffer.end > tcb.send.nxt || (finQueued && !finWasSent)
            timers.cancel(.retransmission)
            if hasMore, !timers.isArmed(.persist) {
                progressAt = now
                armPersist(at: now)
            }
        } else if old == 0 || timers.isArmed(.persist) {
            timers.cancel(.persist)
            probePending = false
            roundTrip.endBackoff()
            if outstanding {
                // What was sent into the closed window is gone.
                if old == 0 {
                    loseEverything()
                    recoveryPoint = tcb.send.nxt
                }
                armRetransmission(at: now)
            }
        }
    }

    /// TIME-WAIT: 2 MSL (RFC 9293 3.6.1).
    func enterTimeWait(at now: Instant) {
        timers.cancelAll()
        timers.arm(.timeWait, at: now + maximumSegmentLifetime * 2)
        transition(to: .timeWait)
    }
}
