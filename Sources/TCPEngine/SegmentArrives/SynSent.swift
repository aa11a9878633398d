// SEGMENT ARRIVES in SYN-SENT (RFC 9293 3.10.7.3).
import TCPSegments

extension Connection {
    func arrivesInSynSent(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, ecn: ECNField, at now: Instant
    ) {
        let bits = header.controlBits
        var acknowledged: StreamOffset?
        // First: ACK.
        if bits.contains(.ack) {
            let ack = StreamOffset.unwrap(header.acknowledgmentNumber, from: tcb.send.iss, near: tcb.send.nxt)
            // RFC 9293 3.10.7.3: ISS < SEG.ACK =< SND.NXT; data that left with the SYN may be acknowledged or not.
            guard ack - StreamOffset(1) >= 0, ack - tcb.send.nxt <= 0 else {
                // RFC 9293 3.10.7.3: a reset with SEQ=SEG.ACK, unless it is one itself.
                statistics.droppedSegments += 1
                if !bits.contains(.rst) {
                    pendingReset = PendingReset(header.answeringReset(payloadCount: payload.count))
                }
                return
            }
            acknowledged = ack
        }
        // Second: RST.
        if bits.contains(.rst) {
            if acknowledged != nil { finish(.refused) }
            return
        }
        // Fourth: SYN.
        guard bits.contains(.syn) else {
            statistics.droppedSegments += 1
            return
        }
        tcb.receive.irs = header.sequenceNumber
        tcb.receive.nxt = StreamOffset(1)
        tcb.receive.edge = StreamOffset(1) + min(configuration.receiveBufferSize, 65_535)
        negotiate(PeerOffer(header.options), at: now)
        agreeOnMarks(bits, cameWith: ecn)
        timestamps.lastAckSent = tcb.receive.nxt
        // RFC 7323 2.2: the window of a SYN is not scaled.
        updateSendWindow(header.window.scaled(by: .none).bytes)
        tcb.send.wl1 = header.sequenceNumber
        guard let acknowledged else {
            // Simultaneous open: our SYN crossed the peer's. What came with it waits (RFC 9293 3.10.7.3).
            synPending = true
            transition(to: .synReceived)
            let fits = min(payload.count, tcb.receive.wnd)
            if fits > 0 { keep(UnsafeRawBufferPointer(rebasing: payload[..<fits]), at: tcb.receive.nxt) }
            if bits.contains(.fin) { noteFin(at: tcb.receive.nxt + payload.count) }
            return
        }
        tcb.send.una = acknowledged
        tcb.send.wl2 = acknowledged
        sendBuffer.acknowledge(upTo: acknowledged)
        ackPolicy.demandNow()
        establish(at: now)
        takeFastOpenAnswer(header, at: now)
        guard configuration.keepsTextOfSyn || configuration.answersLikeFreeBSD || takesTextOfSynAck else { return }
        // RFC 9293 3.10.7.3, fourth: the rest of the segment goes on at the sixth step.
        let segment = ArrivingSegment(header: header, start: .zero, payload: payload, ecn: ecn)
        checkUrgent(segment)
        checkText(segment, at: now)
        checkFin(at: now)
    }

    /// The handshake is complete.
    func establish(at now: Instant) {
        var delivery = Delivery()
        retransmissionQueue.acknowledge(upTo: max(StreamOffset(1), tcb.send.una), &delivery)
        if let sentAt = delivery.oldestOriginal, !handshakeRetransmitted {
            roundTrip.sample(now - sentAt)
            minimumRoundTrip.sample(now - sentAt, at: now)
        }
        if case .server(let server) = fastOpen { endFastHandshake(server, at: now) }
        if handshakeRetransmitted { roundTrip.handshakeWasRetransmitted() }
        timers.cancel(.retransmission)
        timeoutCount = 0
        // What left before the handshake's end has had no timer of its own.
        if tcb.send.nxt - tcb.send.una > 0, tcb.send.nxt > StreamOffset(1) { armRetransmission(at: now) }
        lastReceived = now
        transition(to: .established)
        emit(.established)
        armKeepAlive(at: now)
        beginAutotuning(at: now)
        announceUserTimeout()
        takeKept()
        if finQueued { transition(to: .finWait1) }
    }
}
