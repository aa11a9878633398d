// SEGMENT ARRIVES in SYN-RECEIVED of a passive OPEN, while the connection is a small record (RFC 9293 3.10.7.4).
import TCPSegments

extension HalfOpen {
    /// What a segment does to the record.
    enum Disposition {
        case ignore
        /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
        case acknowledge
        case repeatSynAck
        case returnToListen
        /// <SEQ=SEG.ACK><CTL=RST>
        case reset
        /// The same, and the record goes.
        case refuse
        case establish
    }

    /// First to fifth check of RFC 9293 3.10.7.4 for SYN-RECEIVED.
    func disposition(of header: SegmentHeader, payloadCount: Int, at now: Instant) -> Disposition {
        if listener.configuration.answersLikeFreeBSD { return dispositionLikeFreeBSD(of: header) }
        let bits = header.controlBits
        // RFC 7323 5.3 (R1).
        if usesTimestamps, !bits.contains(.rst), let value = header.options.timestamps?.value,
            Int32(bitPattern: value &- (offer.timestamp ?? 0)) < 0
        {
            return .acknowledge
        }
        let fromNext = Int((irs + 1).distance(to: header.sequenceNumber))
        if bits.contains(.syn), !bits.contains(.rst), fromNext < 0 {
            // Deviation: the SYN itself again means that the SYN-ACK was lost; an ACK would not help the peer.
            return fromNext == -1 && !bits.contains(.ack) ? .repeatSynAck : .acknowledge
        }
        // First.
        let window = min(listener.configuration.receiveBufferSize, 65_535)
        let end = fromNext + header.segmentLength(payloadCount: payloadCount)
        guard end == fromNext ? fromNext >= 0 && fromNext < window : end > 0 && fromNext < window else {
            return bits.contains(.rst) ? .ignore : .acknowledge
        }
        // Second, RFC 5961 3.2.
        if bits.contains(.rst) { return fromNext == 0 ? .returnToListen : fromNext > 0 ? .acknowledge : .ignore }
        // Fourth: a new SYN from a peer that forgot the first.
        if bits.contains(.syn) { return .returnToListen }
        // Fifth.
        guard bits.contains(.ack) else { return .ignore }
        return header.acknowledgmentNumber == iss + 1 ? .establish : .reset
    }

    /// What FreeBSD's SYN cache does: any SYN gets the SYN-ACK again, a SYN-ACK is refused, and a segment with ACK either fits
    /// exactly or is reset.
    private func dispositionLikeFreeBSD(of header: SegmentHeader) -> Disposition {
        let bits = header.controlBits
        let fromNext = Int((irs + 1).distance(to: header.sequenceNumber))
        let isInWindow = fromNext >= 0 && fromNext < min(listener.configuration.receiveBufferSize, 65_535)
        if bits.contains(.rst) {
            // No reset of a SYN-ACK carries ACK, SYN or FIN.
            guard bits.isDisjoint(with: [.ack, .syn, .fin]) else { return .ignore }
            return fromNext == 0 ? .returnToListen : isInWindow ? .acknowledge : .ignore
        }
        if bits.contains(.syn) { return bits.contains(.ack) ? .refuse : .repeatSynAck }
        guard bits.contains(.ack) else { return .ignore }
        if usesTimestamps {
            // RFC 7323 3.2 and 5.3 (R1): without the option, or with an old one, nothing is answered.
            guard let value = header.options.timestamps?.value, Int32(bitPattern: value &- (offer.timestamp ?? 0)) >= 0
            else { return .ignore }
        }
        return header.acknowledgmentNumber == iss + 1 && isInWindow ? .establish : .reset
    }
}

extension Host {
    func arrivesForHalfOpen(
        _ halfOpen: HalfOpen, _ header: SegmentHeader, payload: UnsafeRawBufferPointer, link: HostLink, ecn: ECNField,
        at now: Instant
    ) {
        guard !halfOpen.listener.isClosed else {
            remove(halfOpen)
            answerStranger(header, payload: payload, tuple: halfOpen.tuple, link: link)
            return
        }
        let isAnswered = {
            halfOpen.challenges.allowsAnswer(
                to: header, payloadCount: payload.count,
                every: halfOpen.listener.configuration.challengeInterval, at: now)
        }
        switch halfOpen.disposition(of: header, payloadCount: payload.count, at: now) {
        case .ignore:
            break
        case .acknowledge:
            if isAnswered() {
                reply(halfOpen.acknowledgment(at: now), for: halfOpen.listener, tuple: halfOpen.tuple, link: link)
            }
        case .repeatSynAck:
            guard isAnswered() else { return }
            halfOpen.retransmissions = max(halfOpen.retransmissions, 1)
            if halfOpen.listener.configuration.answersLikeFreeBSD {
                // The peer is there: its SYN-ACK's timer starts anew.
                halfOpen.timeouts = 0
                halfOpen.deadline = now + halfOpen.listener.configuration.initialRTO
                deadlines.add(.halfOpen(halfOpen), at: halfOpen.deadline.nanoseconds)
            }
            reply(
                halfOpen.synAck(effective(link.properties), at: now), for: halfOpen.listener, tuple: halfOpen.tuple,
                link: link)
        case .returnToListen:
            remove(halfOpen)
            if header.controlBits.contains(.rst) { returnToTimeWait(halfOpen, at: now) }
        case .refuse:
            remove(halfOpen)
            answerStranger(header, payload: payload, tuple: halfOpen.tuple, link: link)
        case .reset:
            answerStranger(header, payload: payload, tuple: halfOpen.tuple, link: link)
        case .establish where halfOpen.defers(header, payloadCount: payload.count):
            halfOpen.isAcknowledged = true
        case .establish:
            establish(halfOpen, header, payload: payload, link: link, ecn: ecn, at: now)
        }
    }

    func establish(
        _ halfOpen: HalfOpen, _ header: SegmentHeader, payload: UnsafeRawBufferPointer, link: HostLink, ecn: ECNField,
        at now: Instant
    ) {
        let listener = halfOpen.listener
        // Linux: the final ACK is ignored while the accept queue is full; the SYN-ACK's timer tries again.
        guard !listener.acceptQueueIsFull else {
            statistics.acceptsDeferred += 1
            return
        }
        if !halfOpen.isFromCookie { listener.halfOpenCount -= 1 }
        let connection = connection(of: halfOpen, link: link, eventMask: listener.eventMask)
        connection.openPassively(halfOpen, link: effective(link.properties), at: now)
        table.set(.connection(connection))
        connection.listener = listener
        connection.handle(header, payload: payload, ecn: ecn, at: now)
        listener.acceptQueue.append(connection)
        notices.append(.incoming(listener))
        touch(connection, at: now)
    }

    /// The whole connection that takes the place of a record.
    func connection(of halfOpen: HalfOpen, link: HostLink, eventMask: EventMask) -> Connection {
        earlyBytes -= halfOpen.text?.bytes.count ?? 0
        let connection = Connection(
            tuple: halfOpen.tuple, iss: halfOpen.iss, timestampOffset: halfOpen.timestampOffset,
            configuration: halfOpen.listener.shared, pool: pool)
        connection.link = link
        connection.eventMask = eventMask
        return connection
    }

    private func remove(_ halfOpen: HalfOpen) {
        halfOpen.listener.halfOpenCount -= 1
        earlyBytes -= halfOpen.text?.bytes.count ?? 0
        table.remove(halfOpen.tuple)
    }

    /// RFC 9293 3.6.1, MAY-2 (2): the SYN that ended TIME-WAIT was an old duplicate, as the peer's reset says.
    private func returnToTimeWait(_ halfOpen: HalfOpen, at now: Instant) {
        guard let record = halfOpen.previous, record.deadline > now else { return }
        table.set(.timeWait(record))
        deadlines.add(.timeWait(record), at: record.deadline.nanoseconds)
    }

    /// RFC 6298 (5.4) to (5.6) for the SYN-ACK.
    func synAckTimedOut(_ halfOpen: HalfOpen, at now: Instant) {
        guard case .halfOpen(let current) = table[halfOpen.tuple], current === halfOpen else { return }
        guard !halfOpen.listener.isClosed, !halfOpen.isTimedOut, let link = links[halfOpen.link] else {
            remove(halfOpen)
            return
        }
        let isRepeated = halfOpen.repeatsSynAck
        halfOpen.timeouts += 1
        let configuration = halfOpen.listener.configuration
        let wait = configuration.initialRTO * (1 << Int64(min(halfOpen.timeouts, 20)))
        halfOpen.deadline = now + min(wait, configuration.maximumRTO)
        deadlines.add(.halfOpen(halfOpen), at: halfOpen.deadline.nanoseconds)
        guard isRepeated else { return }
        halfOpen.retransmissions += 1
        reply(
            halfOpen.synAck(effective(link.properties), at: now), for: halfOpen.listener, tuple: halfOpen.tuple,
            link: link)
    }
}
