// SEGMENT ARRIVES (RFC 9293 3.10.7): the order of the checks for a synchronised connection.
import TCPSegments

/// One segment in the coordinates of the connection it arrived for.
struct ArrivingSegment {
    let header: SegmentHeader
    /// SEG.SEQ and the first position after the segment, as stream positions. A segment from before the stream's start
    /// wraps to a huge number; differences are signed, so that it still compares as old.
    let start: StreamOffset
    let payload: UnsafeRawBufferPointer
    /// What the IP header said.
    let ecn: ECNField
    var bits: ControlBits { header.controlBits }
    /// SEG.LEN.
    var length: Int { header.segmentLength(payloadCount: payload.count) }
    /// Where the data begins: after the SYN, if there is one.
    var dataStart: StreamOffset { start + (bits.contains(.syn) ? 1 : 0) }
    /// Where a FIN would lie.
    var finPosition: StreamOffset { dataStart + payload.count }
}

/// What becomes of a segment after a check.
enum Disposition {
    case proceed
    /// Drop it.
    case drop
    /// Drop it and acknowledge what we have.
    case acknowledge
}

extension Connection {
    /// SEGMENT ARRIVES (RFC 9293 3.10.7). The payload is borrowed for the call. True if the segment passed the checks of its
    /// numbers: it is the peer's.
    @discardableResult
    public func handle(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, ecn: ECNField = .notCapable, at now: Instant
    ) -> Bool {
        let isAccepted: Bool
        statistics.segmentsReceived += 1
        switch state {
        case .closed, .listen:
            return false
        case .synSent:
            arrivesInSynSent(header, payload: payload, ecn: ecn, at: now)
            isAccepted = state != .synSent
        case .timeWait:
            arrivesInTimeWait(header, payloadCount: payload.count, at: now)
            isAccepted = false
        case .synReceived, .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck:
            let start = StreamOffset.unwrap(header.sequenceNumber, from: tcb.receive.irs, near: tcb.receive.nxt)
            let segment = ArrivingSegment(header: header, start: start, payload: payload, ecn: ecn)
            isAccepted =
                shared.values.answersLikeFreeBSD
                ? arrivesLikeFreeBSD(segment, at: now) : arrivesSynchronized(segment, at: now)
        }
        // The segment may have been the last: a reset.
        guard state != .closed else { return isAccepted }
        switch ackPolicy.urgency {
        case .none, .now: break
        case .delayed:
            if !timers.isArmed(.delayedAck) { timers.arm(.delayedAck, at: now + configuration.delayedAck) }
        case .soon:
            let deadline = now + configuration.answerDelay
            if timers[.delayedAck].map({ $0 > deadline }) ?? true { timers.arm(.delayedAck, at: deadline) }
        }
        return isAccepted
    }

    /// RFC 9293 3.10.7.4: first to eighth, in this order. True if the first five passed.
    private func arrivesSynchronized(_ segment: ArrivingSegment, at now: Instant) -> Bool {
        func proceed(_ disposition: Disposition) -> Bool { self.proceed(disposition, segment, at: now) }
        guard proceed(checkTimestamp(segment, at: now)), proceed(checkSequence(segment, at: now)),
            proceed(checkReset(segment, at: now)), proceed(checkSyn(segment)),
            proceed(checkAck(segment, at: now)), state != .closed
        else { return false }
        // A sign of life, for keepalive: only the peer's segments come this far.
        lastReceived = now
        // RFC 7323 5.3 (R3), once the ACK has passed, too: whoever only guessed a number in the window must not set what
        // later segments are measured by (as on Linux).
        if timestamps.isOn, let value = segment.header.options.timestamps?.value {
            timestamps.segmentAccepted(value, start: segment.start, window: receiveCapacity, at: now)
        }
        if marks != nil { noteMarks(segment) }
        if segment.header.options.unknown.count > 0, let option = segment.header.options.userTimeout {
            takeUserTimeout(option)
        }
        checkUrgent(segment)
        checkText(segment, at: now)
        checkFin(at: now)
        return true
    }

    private func proceed(_ disposition: Disposition, _ segment: ArrivingSegment, at now: Instant) -> Bool {
        switch disposition {
        case .proceed: return true
        case .drop:
            statistics.droppedSegments += 1
            return false
        case .acknowledge:
            statistics.droppedSegments += 1
            if challenges.allowsAnswer(
                to: segment.header, payloadCount: segment.payload.count, every: configuration.challengeInterval, at: now
            ) {
                ackPolicy.demandNow()
            }
            return false
        }
    }

    /// Before the first (RFC 7323 5.3): a segment with an older timestamp than seen is an old duplicate.
    /// Deviation: one that lacks the option is taken, as Linux does; some peers forget it in places.
    private func checkTimestamp(_ segment: ArrivingSegment, at now: Instant) -> Disposition {
        guard timestamps.isOn, let value = segment.header.options.timestamps?.value else { return .proceed }
        // (R1): resets are not tested.
        guard !segment.bits.contains(.rst), timestamps.isStale(value, at: now) else { return .proceed }
        // Deviation: a segment that was held back can be older than the retransmission of one before it. What lies in front of
        // data that is here already is taken, if it is no older than a window of data, which an old duplicate always is.
        if let last = reassembly?.blocks.last, last.end > segment.start, segment.finPosition - tcb.receive.nxt > 0,
            timestamps.mayHaveBeenOvertaken(value)
        {
            return .proceed
        }
        statistics.staleSegments += 1
        noteDuplicate(of: segment)
        return .acknowledge
    }

    /// First: is any of it in the window (RFC 9293 3.10.7.4, table 6)?
    private func checkSequence(_ segment: ArrivingSegment, at now: Instant) -> Disposition {
        let fromNext = segment.start - tcb.receive.nxt
        let window = tcb.receive.wnd
        let length = segment.length
        let acceptable: Bool
        if length == 0 {
            acceptable =
                window == 0
                ? fromNext == 0 : fromNext >= 0 && (fromNext < window || isAtEdge(segment, fromNext, window))
        } else {
            // A segment that begins at RCV.NXT is looked at even if the window is closed: its ACK counts
            // (RFC 9293 3.10.7.4: "special allowance should be made to accept valid ACKs, URGs, and RSTs").
            acceptable = fromNext + length > 0 && (fromNext < window || fromNext == 0)
        }
        if acceptable { return .proceed }
        if segment.bits.contains(.rst) { return .drop }
        if state == .synReceived, segment.start == .zero, segment.bits.contains(.syn) {
            // RFC 9293 3.5, figure 8: simultaneous open. The SYN lies left of the window, its ACK counts.
            return .proceed
        }
        // An old duplicate may still acknowledge something new; RFC 9293 3.10.7.4 asks only for the answer.
        noteDuplicate(of: segment)
        return .acknowledge
    }

    /// Deviation: an ACK at the window's right edge is taken. That is where all of them lie when a window of data is in flight:
    /// if both ends lose theirs, neither would ever hear what the other has received.
    private func isAtEdge(_ segment: ArrivingSegment, _ fromNext: Int, _ window: Int) -> Bool {
        fromNext == window && !segment.bits.contains(.rst) && state != .synReceived
    }

    /// Second: RST. RFC 5961 3.2: only the exact number resets; one in the window is challenged, one outside dropped.
    private func checkReset(_ segment: ArrivingSegment, at now: Instant) -> Disposition {
        guard segment.bits.contains(.rst) else { return .proceed }
        guard segment.start == tcb.receive.nxt else {
            noteFastOpenStrayReset(at: now)
            return segment.start - tcb.receive.nxt > 0 ? .acknowledge : .drop
        }
        if state == .synReceived, listener == nil { fastOpenServer?.leaveQueueByReset(at: now) }
        let error: ConnectionError?
        switch state {
        case .synReceived: error = isPassive ? .reset : .refused
        case .established, .finWait1, .finWait2, .closeWait: error = .reset
        case .closing, .lastAck, .timeWait: error = nil
        case .closed, .listen, .synSent: error = nil
        }
        finish(error)
        return .drop
    }

    /// Fourth: SYN. RFC 5961 4.2: a SYN in a synchronised state is challenged, never believed.
    private func checkSyn(_ segment: ArrivingSegment) -> Disposition {
        guard segment.bits.contains(.syn) else { return .proceed }
        if state == .synReceived, segment.start == .zero, !segment.bits.contains(.ack) {
            // The SYN again: our SYN-ACK was lost.
            synPending = true
            return .drop
        }
        if state == .synReceived, segment.start == .zero { return .proceed }
        return .acknowledge
    }
}
