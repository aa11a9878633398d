// SEGMENT ARRIVES as FreeBSD's tcp_do_segment orders it (`ConnectionConfiguration.answersLikeFreeBSD`): resets and SYNs before the
// window, and an ACK that counts although its segment lies left of the window.
import TCPSegments

extension Connection {
    /// SYN-RECEIVED and the synchronised states. True if the segment's ACK was taken.
    func arrivesLikeFreeBSD(_ segment: ArrivingSegment, at now: Instant) -> Bool {
        let bits = segment.bits
        let isReset = bits.contains(.rst)
        // RFC 7323 3.2: without the option that was agreed upon a segment is dropped, unless it is a reset.
        if timestamps.isOn, segment.header.options.timestamps == nil, !isReset { return drop() }
        // Positions before the SYN wrap; their differences are signed.
        if state == .synReceived, !isReset, segment.start - .zero < 0 || !acknowledgesSyn(segment) {
            return refuse(segment, at: now)
        }
        if isReset {
            takeReset(segment)
            return drop()
        }
        if bits.contains(.syn), state != .synReceived {
            // RFC 5961 4.2: wherever it lies.
            ackPolicy.demandNow()
            return drop()
        }
        if timestamps.isOn, let value = segment.header.options.timestamps?.value, timestamps.isStale(value, at: now) {
            statistics.staleSegments += 1
            // What carries nothing is not answered.
            if segment.payload.count > 0 { ackPolicy.demandNow() }
            return drop()
        }
        return takeTrimmed(segment, at: now)
    }

    private func drop() -> Bool {
        statistics.droppedSegments += 1
        return false
    }

    /// A segment with ACK has to acknowledge our SYN, and nothing that was never sent.
    private func acknowledgesSyn(_ segment: ArrivingSegment) -> Bool {
        guard segment.bits.contains(.ack) else { return true }
        let ack = StreamOffset.unwrap(segment.header.acknowledgmentNumber, from: tcb.send.iss, near: tcb.send.una)
        return ack - tcb.send.una > 0 && ack - tcb.send.nxt <= 0
    }

    private func refuse(_ segment: ArrivingSegment, at now: Instant) -> Bool {
        var reset = segment.header.answeringReset(payloadCount: segment.payload.count)
        if timestamps.isOn { reset.options.timestamps = timestamps.option(at: now) }
        pendingReset = PendingReset(reset)
        return drop()
    }

    /// RFC 5961 3.2, with the ACK that left last in the place of RCV.NXT.
    private func takeReset(_ segment: ArrivingSegment) {
        let fromAck = segment.start - timestamps.lastAckSent
        let window = tcb.receive.wnd
        guard fromAck == 0 || (fromAck > 0 && fromAck < window) else { return }
        guard fromAck == 0 else {
            ackPolicy.demandNow()
            return
        }
        finish(state == .synReceived ? .refused : .reset)
    }

    /// What lies outside of the window is cut off; what is left of it counts.
    private func takeTrimmed(_ segment: ArrivingSegment, at now: Instant) -> Bool {
        let hasFin = segment.bits.contains(.fin)
        let isOld = tcb.receive.nxt - segment.start > 0
        // A SYN that lies left of the window is cut off first.
        let begin = isOld ? segment.dataStart : segment.start
        let old = isOld ? max(0, tcb.receive.nxt - begin) : 0
        let isAllOld = isOld && (old > segment.payload.count || (old == segment.payload.count && !hasFin))
        let fresh = isAllOld ? 0 : segment.payload.count - old
        if isOld { noteDuplicate(of: segment) }
        var owesAnswer = isAllOld || old > 0
        let isOpen = state != .closeWait && state != .closing && state != .lastAck
        if fresh > 0, isOrphan, isOpen {
            // RFC 2525 2.17: data for a user who is gone, wherever it lies.
            pendingReset = PendingReset(answering: segment)
            receiveBuffer.discardAll()
            finish(.reset)
            return drop()
        }
        // Beyond the window's right edge; where that is shut, what begins there is looked at.
        let beyond = begin + (old + fresh) - tcb.receive.edge
        if !isAllOld, beyond > 0, beyond >= fresh {
            guard tcb.receive.wnd == 0, begin + old == tcb.receive.nxt else {
                ackPolicy.demandNow()
                return drop()
            }
            owesAnswer = true
        }
        guard segment.bits.contains(.ack) else {
            if state == .synReceived {
                // The SYN again: our SYN-ACK was lost.
                if owesAnswer { synPending = true }
            } else if owesAnswer {
                ackPolicy.demandNow()
            }
            return drop()
        }
        return takeAck(of: segment, isAllOld: isAllOld, owesAnswer: owesAnswer, at: now)
    }

    private func takeAck(of segment: ArrivingSegment, isAllOld: Bool, owesAnswer: Bool, at now: Instant) -> Bool {
        let disposition = checkAck(segment, at: now)
        if owesAnswer || disposition == .acknowledge, state != .closed { ackPolicy.demandNow() }
        guard disposition == .proceed, state != .closed else { return disposition == .proceed }
        lastReceived = now
        if timestamps.isOn, let value = segment.header.options.timestamps?.value {
            timestamps.segmentAccepted(value, start: segment.start, window: receiveCapacity, at: now)
        }
        if marks != nil { noteMarks(segment) }
        checkUrgent(segment)
        // What follows the peer's FIN is ignored, and not answered.
        if !isAllOld, !hasReceivedFin, state != .timeWait {
            checkText(segment, at: now)
            checkFin(at: now)
        }
        return true
    }
}
