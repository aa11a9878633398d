// What leaves next: reset, SYN, lost data, probe, new data and FIN, ACK, in this order.
import TCPSegments

extension Connection {
    /// The next segments to send, or nil; `holdReason` then says why.
    func nextTransmission(at now: Instant) -> Transmission? {
        var transmission = Transmission.blank
        return nextTransmission(at: now, into: &transmission) ? transmission : nil
    }

    /// Writes the next segments to send to `out`; false if there are none, and `holdReason` then says why. Written in place by
    /// whoever has something to send, because a header is large: returned from one to the next, it was copied seven times.
    func nextTransmission(at now: Instant, into out: inout Transmission) -> Bool {
        if let reset = pendingReset {
            pendingReset = nil
            statistics.segmentsSent += 1
            out.header = reset.header
            return true
        }
        switch state {
        case .closed, .listen:
            held = .state
            return false
        case .synSent, .synReceived:
            if synPending { return synTransmission(at: now, into: &out) }
            if sendsBeforeHandshakeEnds, newData(at: now, into: &out) { return true }
            if state == .synReceived, ackPolicy.urgency == .now { return acknowledgment(at: now, into: &out) }
            held = .state
            return false
        case .established, .closeWait, .finWait1, .closing, .lastAck:
            if retransmission(at: now, into: &out) || probe(at: now, into: &out)
                || tailProbeTransmission(at: now, into: &out) || newData(at: now, into: &out)
                || keepAliveProbe(at: now, into: &out)
            {
                return true
            }
        case .finWait2:
            held = .nothingToSend
            if keepAliveProbe(at: now, into: &out) { return true }
        case .timeWait:
            held = .nothingToSend
        }
        return ackPolicy.urgency == .now && acknowledgment(at: now, into: &out)
    }

    // MARK: The kinds

    private func synTransmission(at now: Instant, into out: inout Transmission) -> Bool {
        synPending = false
        var header = blankHeader(.syn, at: .zero)
        if configuration.announcesMSS { header.options.maximumSegmentSize = UInt16(clamping: tcb.receiveMSS) }
        if state == .synSent {
            header.controlBits.formUnion(markRequest)
            if configuration.windowScaling { header.options.windowScale = tcb.receive.offeredScale.shift }
            if configuration.timestamps {
                header.options.timestamps = Timestamps(value: timestamps.value(at: now), echoReply: 0)
            }
            header.options.sackPermitted = configuration.selectiveAcks
        } else {
            header.controlBits.formUnion(markAgreement.union(.ack))
            header.acknowledgmentNumber = tcb.receive.nxt.wrapped(from: tcb.receive.irs)
            // RFC 7323 2.2: only if the peer's SYN had the option.
            if scalesWindows {
                header.options.windowScale = tcb.receive.offeredScale.shift
            }
            if timestamps.isOn { header.options.timestamps = timestamps.option(at: now) }
            header.options.sackPermitted = selectiveAcks
        }
        // RFC 7323 2.2: the window of a SYN is never scaled.
        let window = min(configuration.receiveBufferSize, 65_535)
        header.window = WindowField(UInt16(window))
        if state == .synReceived { tcb.receive.edge = max(tcb.receive.edge, tcb.receive.nxt + window) }
        out.header = header
        if case .server(let server) = fastOpen {
            noteFastSynAck(server, at: now, in: &out.header.options)
        } else if tcb.send.nxt == .zero {
            tcb.send.nxt = StreamOffset(1)
            retransmissionQueue.sent(from: .zero, upTo: tcb.send.nxt, at: now, DeliverySnapshot())
            let early = addFastOpen(to: &out)
            if early > 0 {
                retransmissionQueue.sent(
                    from: tcb.send.nxt, upTo: tcb.send.nxt + early, at: now, DeliverySnapshot())
                tcb.send.nxt = tcb.send.nxt + early
                statistics.bytesSent += UInt64(early)
            }
        } else {
            retransmissionQueue.retransmitted(from: .zero, to: StreamOffset(1), at: now, DeliverySnapshot())
            handshakeRetransmitted = true
            statistics.segmentsRetransmitted += 1
        }
        if let option = userTimeoutOption { out.header.options.appendIfFits(option) }
        if timeoutCount == 0 { progressAt = now }
        armRetransmission(at: now)
        if state == .synReceived { noteAckSent(withData: false) }
        statistics.segmentsSent += 1
        return true
    }

    private func retransmission(at now: Instant, into out: inout Transmission) -> Bool {
        // RFC 5682 3.1 (2.b): F-RTO sends new data first.
        guard retransmissionQueue.awaiting > 0, tcb.send.wnd > 0, episode?.forward != .sendingNewData,
            let lost = retransmissionQueue.firstAwaiting(atMost: dataSize)
        else { return false }
        // A retransmission is one segment at most, so that the window is asked for each. A peer that has moved its window's
        // edge back gets what fits.
        let end =
            writes.flatMap { $0.nextEnd(after: lost.lowerBound) }.map { min($0, lost.upperBound) } ?? lost.upperBound
        let length = min(end - lost.lowerBound, tcb.send.windowEdge - lost.lowerBound)
        guard length > 0 else {
            held = .window
            return false
        }
        let flight = inFlight
        if flight > 0, flight + length > sendWindow {
            held = .congestionWindow
            // Linux: who has nothing new to send does not use the window.
            if !configuration.countsSegments || sendBuffer.end > tcb.send.nxt {
                noteUsage(flight: flight, isLimited: true, at: now)
            }
            return false
        }
        // An empty network takes a segment, whatever the pace.
        if flight > 0, congestion.pacingRate > 0 || configuration.maximumPacingRate < .max,
            pacedAllowance(at: now) < length
        {
            waitForPace(for: length)
            return false
        }
        segments(from: lost.lowerBound, length: length, at: now, again: true, into: &out)
        // The timer covers the first outstanding segment's retransmission (RFC 6298 5.1).
        if lost.lowerBound == tcb.send.una || !timers.isArmed(.retransmission) { armRetransmission(at: now) }
        return true
    }

    /// RFC 9293 3.8.6.1: one byte (or the FIN) beyond the closed window.
    private func probe(at now: Instant, into out: inout Transmission) -> Bool {
        guard probePending else { return false }
        probePending = false
        writes?.letGo(pushing: true)
        let end = finQueued ? finPosition + 1 : sendBuffer.end
        guard tcb.send.una < end else { return false }
        let isFresh = tcb.send.nxt == tcb.send.una
        if isFresh, tcb.send.wnd == 0, configuration.probesWithoutData {
            // In front of the window, so that the peer has to answer.
            statistics.segmentsSent += 1
            out.header = acknowledgingHeader(.ack, at: tcb.send.una - 1, now: now)
            noteAckSent(withData: false)
            return true
        }
        // A window that is merely too small for comfort is filled; a closed one is probed with one byte.
        let length = max(1, min(Int(tcb.send.wnd), end - tcb.send.una, dataSize))
        segments(from: tcb.send.una, length: length, at: now, again: !isFresh, into: &out)
        return true
    }

    private func newData(at now: Instant, into out: inout Transmission) -> Bool {
        // RFC 6675 4, NextSeg: what is lost goes first.
        guard retransmissionQueue.awaiting == 0 || episode?.forward == .sendingNewData else { return false }
        let limit = sendLimit
        let unsent = max(0, limit - tcb.send.nxt)
        let flight = inFlight
        let segmentSize = dataSize
        if flight == 0, unsent > 0, tcb.send.nxt > StreamOffset(1) { resumeAfterIdle(at: now) }
        let window = sendWindow
        if let sizeSearch {
            switch probeSize(sizeSearch, unsent: unsent, flight: flight, window: window, at: now, into: &out) {
            case .notNow: break
            case .wait(let reason):
                held = reason
                if reason == .congestionWindow { noteUsage(flight: flight, isLimited: true, at: now) }
                return false
            case .sent:
                noteUsage(flight: inFlight, isLimited: inFlight + segmentSize > window, at: now)
                return true
            }
        }
        let isPaced = paceRate > 0
        let decision = SendDecision.decide(
            SendDecision.Situation(
                unsent: unsent, usableWindow: tcb.send.windowEdge - tcb.send.nxt,
                maximumWindow: Int(tcb.send.maximumWindow), congestionRoom: window - flight, inFlight: flight,
                segmentSize: segmentSize, batchLimit: batchLimit(flight: flight, window: window),
                pacedAllowance: isPaced ? pacedAllowance(at: now) : Int.max,
                // What ends a record in front of more gets no company.
                sendsSmallSegments: noDelay || finQueued || limit < sendBuffer.end,
                smallSegmentOutstanding: smallSegmentEnd > tcb.send.una,
                moreFollows: writes != nil && holdsSmallSegments && !finQueued && sendUrgent == nil
                    && limit == sendBuffer.end))
        switch decision {
        case .send(let count):
            // The FIN rides on the last segment if the window has a place for it.
            let withFin =
                finQueued && finMayLeave && tcb.send.nxt + count == sendBuffer.end
                && tcb.send.nxt + count < tcb.send.windowEdge
            if count % segmentSize != 0 { smallSegmentEnd = tcb.send.nxt + count }
            noteUsage(flight: flight + count, isLimited: flight + count + segmentSize > window, at: now)
            segments(from: tcb.send.nxt, length: count + (withFin ? 1 : 0), at: now, again: false, into: &out)
            return true
        case .hold(.nothingToSend):
            held = .nothingToSend
            noteUsage(flight: flight, isLimited: flight + segmentSize > window, at: now)
            if flight < window {
                rate.becameApplicationLimited(pipe: flight)
                if wantsWritable, flight + segmentSize <= min(window, Int(tcb.send.wnd)) { growSendBuffer(at: now) }
            }
            guard finQueued, !finWasSent, finMayLeave else { return false }
            // A FIN alone takes a place in the window, too (RFC 9293 3.4).
            if tcb.send.nxt < tcb.send.windowEdge {
                segments(from: finPosition, length: 1, at: now, again: false, into: &out)
                return true
            }
            held = .window
            armPersistIfStuck(at: now)
            return false
        case .hold(let reason):
            held = reason
            if reason == .congestionWindow { noteUsage(flight: flight, isLimited: true, at: now) }
            if reason == .pacing { waitForPace(for: min(unsent, max(paceQuantum, segmentSize))) }
            if reason == .window || reason == .sillyWindow || reason == .corked { armPersistIfStuck(at: now) }
            return false
        }
    }

    /// Before the handshake's end, a FIN leaves only for a user who is gone (as on Linux): another one may still learn that
    /// there was no handshake.
    @inline(__always) private var finMayLeave: Bool { state != .synReceived || isOrphan }

    /// <SEQ=SND.NXT>, but not beyond the window: there the peer would not look at the ACK (as Linux). What lies beyond by less
    /// than a unit of the window is the field's rounding, and the peer has perhaps received it: below RCV.NXT it would not look
    /// at the ACK either, and two such ends would never hear each other again.
    private var acknowledgmentPosition: StreamOffset {
        let beyond = tcb.send.nxt - tcb.send.windowEdge
        return beyond < 1 << Int(tcb.send.scale.shift) ? tcb.send.nxt : max(tcb.send.una, tcb.send.windowEdge)
    }

    private func acknowledgment(at now: Instant, into out: inout Transmission) -> Bool {
        out.header = acknowledgingHeader(.ack, at: acknowledgmentPosition, now: now)
        if let marks, marks.feedback == .accurate, out.header.options.sackBlocks.count == 0 {
            AccurateECNOption.add(capable0: marks.bytes.capable0, marked: marks.bytes.marked, to: &out.header.options)
        }
        noteAckSent(withData: false)
        statistics.segmentsSent += 1
        return true
    }

    // MARK: Parts

    /// RFC 9293 3.8.6.1: with nothing outstanding, only our own timer finds out that the window has opened.
    func armPersistIfStuck(at now: Instant) {
        // Before the handshake's end, the SYN-ACK's timer is the one that counts.
        guard tcb.send.una == tcb.send.nxt || tcb.send.wnd == 0, !timers.isArmed(.persist), !probePending,
            state.isSynchronized
        else { return }
        timers.cancel(.retransmission)
        progressAt = now
        armPersist(at: now)
    }

    /// Segments that carry [from, from + length) of the sequence space: data, and FIN if it lies in there. `asOne`: a single one,
    /// however large.
    func segments(
        from: StreamOffset, length: Int, at now: Instant, again: Bool, asOne: Bool = false, into out: inout Transmission
    ) {
        let end = from + length
        let withFin = finQueued && end > finPosition
        let count = min(end, sendBuffer.end) - from
        out.header = acknowledgingHeader(
            .ack, at: from, now: now, withBlocks: count <= 0 || dataCarriesBlocks, isPure: false)
        if let marks { mark(&out, count: count, again: again, marks) }
        if withFin { out.header.controlBits.insert(.fin) }
        // RFC 9293 3.9.1.2: PSH when the last queued byte leaves.
        if count > 0
            && (endsWrite(from + count) || configuration.batches && pushes(upTo: end, count, again: again))
        {
            out.header.controlBits.insert(.psh)
        }
        if count > 0 { sendBuffer.addPayload(from: from, count: count, to: &out.payload) }
        out.segmentSize =
            count > 0 && (out.header.options.sackBlocks.count > 0 || out.header.options.unknown.count > 0)
            ? tcb.sendMSS - blocksLength(out.header) : tcb.sendMSS
        if asOne { out.segmentSize = max(1, count) }
        let snapshot = rate.snapshot(at: now, pipe: inFlight, count: length)
        if paceRate > 0 { pacer.spend(length) }
        if let episode { episode.reduction.sent(length) }
        lastSent = now
        let segmentCount = UInt64(out.segmentCount)
        statistics.segmentsSent += segmentCount
        if again {
            statistics.segmentsRetransmitted += segmentCount
            statistics.bytesRetransmitted += UInt64(max(0, count))
            // Linux: a tail loss probe does not count, or it would hold back what an ACK lets go.
            retransmissionQueue.retransmitted(
                from: from, to: end, at: now, snapshot, isBeside: configuration.countsSegments && episode == nil)
            reduction?.countsAsRetransmitted(
                from..<end, bytes: length, stamp: timestamps.isOn ? timestamps.value(at: now) : 0)
        }
        if end > tcb.send.nxt {
            if tcb.send.una == tcb.send.nxt { progressAt = now }
            statistics.bytesSent += again ? 0 : UInt64(max(0, count))
            retransmissionQueue.sent(from: tcb.send.nxt, upTo: end, at: now, snapshot)
            if configuration.batches, out.header.controlBits.contains(.psh) { retransmissionQueue.notePush() }
            tcb.send.nxt = end
        }
        // RFC 6298 (5.1): whenever data is sent, the timer runs. While the persist timer rules, it alone does.
        if tcb.send.wnd == 0 {
            if !timers.isArmed(.persist) { armPersist(at: now) }
        } else if !timers.isArmed(.retransmission) {
            armRetransmission(at: now)
            timers.cancel(.persist)
        }
        noteAckSent(withData: count > 0)
    }

    private func noteAckSent(withData: Bool) {
        ackPolicy.acknowledged(withData: withData)
        timers.cancel(.delayedAck)
    }

    func blankHeader(_ bits: ControlBits, at position: StreamOffset) -> SegmentHeader {
        SegmentHeader(
            sourcePort: tuple.local.port, destinationPort: tuple.remote.port,
            sequenceNumber: position.wrapped(from: tcb.send.iss), controlBits: bits)
    }

    /// Payload bytes of a full segment that leaves now: SACK blocks take room from the data (RFC 6691).
    var dataSize: Int {
        guard hasBlocksToSend else { return isUserTimeoutDue ? tcb.sendMSS - 4 : tcb.sendMSS }
        guard dataCarriesBlocks else { return tcb.sendMSS }
        // Behind timestamps that end at no multiple of four, the option's two bytes cost nothing.
        return tcb.sendMSS - blockCount * 8 - (timestamps.isOn && configuration.optionLayout == .compact ? 0 : 4)
    }

    /// Segments too small for both leave the blocks to the ACKs without data.
    private var dataCarriesBlocks: Bool { tcb.sendMSS >= 256 }

    /// Bytes that SACK blocks take in this header.
    private func blocksLength(_ header: SegmentHeader) -> Int {
        header.options.encodedLength(configuration.optionLayout) - (timestamps.isOn ? 12 : 0)
    }

    /// A header that carries ACK, the window, and with it the promise of the window's edge, and the options of every segment.
    /// `isPure`: neither data nor FIN go with it.
    func acknowledgingHeader(
        _ bits: ControlBits, at position: StreamOffset, now: Instant, withBlocks: Bool = true, isPure: Bool = true
    ) -> SegmentHeader {
        var header = blankHeader(bits, at: position)
        header.acknowledgmentNumber = tcb.receive.nxt.wrapped(from: tcb.receive.irs)
        header.window = announceWindow()
        if timestamps.isOn {
            header.options.timestamps = timestamps.option(at: now)
        }
        timestamps.lastAckSent = tcb.receive.nxt
        if hasBlocksToSend {
            if withBlocks { header.options.sackBlocks = takeBlocks() }
        } else if isUserTimeoutDue {
            addUserTimeout(to: &header.options)
        }
        if let marks {
            header.controlBits.formUnion(marks.bits(isPureAck: isPure && header.options.sackBlocks.count == 0))
        }
        if let end = sendUrgent, end - position > 0 {
            // RFC 9293 3.8.5; an end too far away for the field is told as far as it goes, and again.
            header.controlBits.insert(.urg)
            header.urgentPointer = UInt16(clamping: end - position)
        }
        return header
    }
}
