// Seventh and eighth check of RFC 9293 3.10.7.4: the segment's text, and the FIN bit.
import TCPSegments

extension Connection {
    /// Seventh: takes the data that lies in the window, in order or ahead of a hole.
    func checkText(_ segment: ArrivingSegment, at now: Instant) {
        if segment.bits.contains(.fin) {
            noteFin(at: segment.finPosition)
            // Eighth: a FIN is acknowledged in every state, also while a hole lies before it.
            ackPolicy.demandNow()
        }
        // RFC 9293 3.10.7.4: after the peer's FIN there should be no text; it is ignored.
        guard segment.payload.count > 0, state.mayReceive else { return }
        let next = tcb.receive.nxt
        // Trim what we have, and what lies beyond the window or the FIN.
        var limit = tcb.receive.edge
        if let fin = peerFinPosition { limit = min(limit, fin) }
        let skip = max(0, next - segment.dataStart)
        let room = limit - (segment.dataStart + skip)
        let count = min(segment.payload.count - skip, room)
        if skip > 0 {
            statistics.duplicateBytesReceived += UInt64(min(skip, segment.payload.count))
            noteDuplicate(of: segment)
        }
        guard count > 0 else {
            // Nothing new, or nothing that fits: the peer needs to hear where we are.
            ackPolicy.demandNow()
            return
        }
        if (isOrphan && !receivingShutDown) || (refusesText && (state == .finWait1 || state == .finWait2)) {
            // RFC 9293 3.10.7.4 / RFC 2525 2.17: data for a user who is gone. The segment's own ACK is the number that the peer
            // takes a reset at (RFC 5961 3.2), whatever of ours is on its way.
            pendingReset = PendingReset(answering: segment)
            statistics.droppedSegments += 1
            receiveBuffer.discardAll()
            finish(.reset)
            return
        }
        let fresh = UnsafeRawBufferPointer(rebasing: segment.payload[skip..<(skip + count)])
        let position = segment.dataStart + skip
        if position > next {
            keep(fresh, at: position)
        } else {
            deliver(fresh, pushed: segment.bits.contains(.psh))
        }
    }

    /// Out of order: keep it, and tell the peer at once where the hole is (RFC 5681 3.2).
    func keep(_ bytes: UnsafeRawBufferPointer, at position: StreamOffset) {
        let kept =
            reassembly ?? Reassembly(limit: max(64, receiveCapacity / 256), pool: receiveBuffer.pool)
        guard kept.runCount < runLimit else {
            // The peer sends it again.
            ackPolicy.demandNow()
            return
        }
        reassembly = kept
        if let held = kept.firstHeld(from: position, to: position + bytes.count) {
            noteDuplicate(from: held.lowerBound, to: held.upperBound)
        }
        kept.insert(bytes, at: position)
        ackPolicy.demandNow()
        if kept.isEmpty { reassembly = nil }
    }

    /// How many runs may wait behind holes; FreeBSD allows one more than the buffer holds full segments.
    private var runLimit: Int {
        let limit = configuration.reassemblyLimit
        guard configuration.answersLikeFreeBSD else { return limit }
        return min(limit, receiveCapacity / (tcb.sendMSS + (timestamps.isOn ? 12 : 0)) + 1)
    }

    /// Delivers what came with the SYN, now that the connection is up.
    func takeKept() {
        guard reassembly != nil else { return }
        let before = tcb.receive.nxt
        takeReassembled()
        if tcb.receive.nxt > before { emitReadable() }
    }

    /// ACKs may wait a moment for an answer; not for one of a user who is gone.
    private var awaitsAnswers: Bool { shared.values.answerDelay > .zero && !isOrphan }

    func deliver(_ bytes: UnsafeRawBufferPointer, pushed: Bool) {
        if !receivingShutDown { receiveBuffer.append(bytes) }
        tcb.receive.nxt = tcb.receive.nxt + bytes.count
        statistics.bytesReceived += UInt64(bytes.count)
        if shared.values.acknowledgments == .adaptive {
            ackPolicy.received(bytes.count, pushed: pushed, awaitsAnswers: awaitsAnswers)
        } else {
            ackPolicy.received(bytes.count, shared.values.acknowledgments, segmentSize: tcb.sendMSS)
        }
        takeReassembled()
        if receivingShutDown { considerWindowUpdate() } else { emitReadable() }
    }

    /// Moves what continues the stream from the reassembly to the receive buffer.
    private func takeReassembled() {
        guard let reassembly else { return }
        let before = tcb.receive.nxt
        tcb.receive.nxt = reassembly.take(at: before) { [receivingShutDown] range in
            if !receivingShutDown { receiveBuffer.append(range) }
        }
        statistics.bytesReceived += UInt64(tcb.receive.nxt - before)
        // RFC 5681 4.2: a filled hole is acknowledged at once.
        ackPolicy.demandNow()
        if reassembly.isEmpty { self.reassembly = nil }
    }

    /// The peer's stream ends here. The first FIN counts; one that contradicts what was received is ignored.
    func noteFin(at position: StreamOffset) {
        guard peerFinPosition == nil, position >= tcb.receive.nxt, position - tcb.receive.edge <= 0 else { return }
        if let last = reassembly?.blocks.last, last.end > position { return }
        peerFinPosition = position
    }

    /// Eighth: the FIN counts when everything before it is there.
    func checkFin(at now: Instant) {
        guard let fin = peerFinPosition, tcb.receive.nxt == fin else { return }
        switch state {
        case .closed, .listen, .synSent, .synReceived, .timeWait, .closeWait, .closing, .lastAck:
            return
        case .established, .finWait1, .finWait2:
            break
        }
        tcb.receive.nxt = fin + 1
        tcb.receive.edge = max(tcb.receive.edge, tcb.receive.nxt)
        reassembly = nil
        // In ESTABLISHED the user may answer with a FIN of its own; in the other states nothing more will come from here.
        if state == .established, awaitsAnswers { ackPolicy.awaitAnswer() } else { ackPolicy.demandNow() }
        emit(.peerClosed)
        switch state {
        case .established:
            transition(to: .closeWait)
        case .finWait1:
            transition(to: .closing)
        case .finWait2:
            enterTimeWait(at: now)
        case .closed, .listen, .synSent, .synReceived, .timeWait, .closeWait, .closing, .lastAck:
            break
        }
    }
}
