// SEGMENT ARRIVES for a host: demultiplexing, listeners, TIME-WAIT, and segments that fit nothing (RFC 9293 3.10.7).
import TCPSegments

extension Host {
    /// A segment came in over `linkID`. The payload is borrowed for the call and may be larger than the MSS.
    public func handle(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, on linkID: LinkID, at now: Instant
    ) {
        let entry = table[tuple]
        if case .connection(let connection) = entry, connection.linkID == linkID {
            connection.handle(header, payload: payload, at: now)
            touch(connection, at: now)
            return
        }
        guard let link = links[linkID] else { return }
        switch entry {
        case .connection(let connection):
            // What belongs together goes out where it came in.
            move(connection, to: link)
            connection.handle(header, payload: payload, at: now)
            touch(connection, at: now)
        case .halfOpen(let halfOpen):
            arrivesForHalfOpen(halfOpen, header, payload: payload, link: link, at: now)
        case .timeWait(let record):
            arrivesInTimeWait(record, header, payload: payload, link: link, at: now)
        case nil:
            arrivesForListener(header, payload: payload, tuple: tuple, link: link, at: now)
        }
    }

    private func move(_ connection: Connection, to link: HostLink) {
        if connection.isQueuedForLink, connection.link == nil {
            waitingForLink[connection.tuple.addresses]?.removeAll { $0 === connection }
            if waitingForLink[connection.tuple.addresses]?.isEmpty ?? false {
                waitingForLink[connection.tuple.addresses] = nil
            }
            connection.isQueuedForLink = false
        } else if connection.isQueuedForLink, let old = connection.link {
            old.ready.remove(connection)
            connection.isQueuedForLink = false
        }
        connection.link = link
    }

    /// A segment for which there is no connection: a listener's SYN, or a stranger's (RFC 9293 3.10.7.1 and 3.10.7.2).
    private func arrivesForListener(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, link: HostLink, at now: Instant
    ) {
        let bits = header.controlBits
        let listener =
            listeners[tuple.local]
            ?? (tuple.local.address.isIPv4 ? listeners[Endpoint(.anyIPv4, tuple.local.port)] : nil)
            ?? listeners[Endpoint(.anyIPv6, tuple.local.port)]
        guard let listener, bits.contains(.syn), !bits.contains(.ack), !bits.contains(.rst) else {
            answerStranger(header, payload: payload, tuple: tuple, link: link)
            return
        }
        // Linux: a full accept queue or SYN queue ignores the SYN; the peer sends it again.
        guard !listener.acceptQueueIsFull, !listener.synQueueIsFull, table.count < configuration.maximumConnections
        else {
            statistics.synsDropped += 1
            return
        }
        let halfOpen = HalfOpen(
            tuple: tuple, link: link.id, listener: listener, iss: initialSequenceNumber(for: tuple, at: now),
            timestampOffset: secrets.timestampOffset(for: tuple), syn: header,
            text: earlyText(header, payload, for: listener), at: now)
        listener.halfOpenCount += 1
        table.set(.halfOpen(halfOpen))
        deadlines.add(.halfOpen(halfOpen), at: halfOpen.deadline.nanoseconds)
        reply(halfOpen.synAck(effective(link.properties), at: now), tuple: tuple, link: link)
    }

    /// What came with a SYN, if there is room for it: at most what the window of the SYN-ACK allows, and little for all
    /// listeners' half-open connections together. What is not kept comes again.
    private func earlyText(
        _ syn: SegmentHeader, _ payload: UnsafeRawBufferPointer, for listener: Listener
    ) -> EarlyText? {
        let hasFin = syn.controlBits.contains(.fin)
        guard payload.count > 0 || hasFin, earlyBytes + payload.count <= Self.earlyLimit,
            payload.count <= min(listener.configuration.receiveBufferSize, 65_535)
        else { return nil }
        earlyBytes += payload.count
        return EarlyText(Array(payload), hasFin: hasFin)
    }

    /// Bytes that came with SYNs and may wait for their handshakes.
    private static var earlyLimit: Int { 1 << 20 }

    /// RFC 9293 3.10.7.1: whatever is not a reset is answered with one.
    private func answerStranger(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, link: HostLink
    ) {
        statistics.orphanSegments += 1
        let bits = header.controlBits
        guard !bits.contains(.rst) else { return }
        var reset = SegmentHeader(
            sourcePort: tuple.local.port, destinationPort: tuple.remote.port, sequenceNumber: SequenceNumber(0),
            controlBits: .rst)
        if bits.contains(.ack) {
            reset.sequenceNumber = header.acknowledgmentNumber
        } else {
            reset.controlBits.insert(.ack)
            reset.acknowledgmentNumber =
                header.sequenceNumber + UInt32(truncatingIfNeeded: header.segmentLength(payloadCount: payload.count))
        }
        statistics.resetsSent += 1
        reply(reset, tuple: tuple, link: link)
    }

    /// SYN-RECEIVED of a passive OPEN, while it is a small record.
    private func arrivesForHalfOpen(
        _ halfOpen: HalfOpen, _ header: SegmentHeader, payload: UnsafeRawBufferPointer, link: HostLink, at now: Instant
    ) {
        let bits = header.controlBits
        let listener = halfOpen.listener
        guard !listener.isClosed else {
            remove(halfOpen)
            answerStranger(header, payload: payload, tuple: halfOpen.tuple, link: link)
            return
        }
        let next = halfOpen.irs + 1
        if bits.contains(.rst) {
            // RFC 9293 3.10.7.4, second, SYN-RECEIVED after a passive OPEN; RFC 5961 3.2: the exact number only.
            if header.sequenceNumber == next { remove(halfOpen) }
            return
        }
        if bits.contains(.syn) {
            // The SYN again, or a new one from a peer that forgot the first.
            if header.sequenceNumber != halfOpen.irs, !bits.contains(.ack) {
                remove(halfOpen)
                arrivesForListener(header, payload: payload, tuple: halfOpen.tuple, link: link, at: now)
            } else if header.sequenceNumber == halfOpen.irs {
                halfOpen.retransmissions = max(halfOpen.retransmissions, 1)
                reply(halfOpen.synAck(effective(link.properties), at: now), tuple: halfOpen.tuple, link: link)
            }
            return
        }
        guard bits.contains(.ack) else { return }
        guard header.acknowledgmentNumber == halfOpen.iss + 1 else {
            // RFC 9293 3.10.7.4, fifth, SYN-RECEIVED: an unacceptable ACK is reset.
            answerStranger(header, payload: payload, tuple: halfOpen.tuple, link: link)
            return
        }
        let window = UInt32(min(listener.configuration.receiveBufferSize, 65_535))
        guard SequenceRange(start: next, length: max(window, 1)).contains(header.sequenceNumber) else {
            reply(halfOpen.synAck(effective(link.properties), at: now), tuple: halfOpen.tuple, link: link)
            return
        }
        // Linux: the final ACK is ignored while the accept queue is full; the SYN-ACK's timer tries again.
        guard !listener.acceptQueueIsFull else {
            statistics.acceptsDeferred += 1
            return
        }
        listener.halfOpenCount -= 1
        earlyBytes -= halfOpen.text?.bytes.count ?? 0
        let connection = Connection(
            tuple: halfOpen.tuple, iss: halfOpen.iss, timestampOffset: halfOpen.timestampOffset,
            configuration: listener.shared, pool: pool)
        connection.link = link
        connection.eventMask = listener.eventMask
        connection.openPassively(halfOpen, link: effective(link.properties), at: now)
        table.set(.connection(connection))
        connection.listener = listener
        connection.handle(header, payload: payload, at: now)
        listener.acceptQueue.append(connection)
        notices.append(.incoming(listener))
        touch(connection, at: now)
    }

    private func remove(_ halfOpen: HalfOpen) {
        halfOpen.listener.halfOpenCount -= 1
        earlyBytes -= halfOpen.text?.bytes.count ?? 0
        table.remove(halfOpen.tuple)
    }

    /// RFC 6298 (5.4) to (5.6) for the SYN-ACK.
    func synAckTimedOut(_ halfOpen: HalfOpen, at now: Instant) {
        guard case .halfOpen(let current) = table[halfOpen.tuple], current === halfOpen else { return }
        guard !halfOpen.listener.isClosed,
            halfOpen.retransmissions < halfOpen.listener.configuration.synAckRetries, let link = links[halfOpen.link]
        else {
            remove(halfOpen)
            return
        }
        halfOpen.retransmissions += 1
        let configuration = halfOpen.listener.configuration
        let wait = min(configuration.initialRTO * (1 << Int64(halfOpen.retransmissions)), configuration.maximumRTO)
        halfOpen.deadline = now + wait
        deadlines.add(.halfOpen(halfOpen), at: halfOpen.deadline.nanoseconds)
        reply(halfOpen.synAck(effective(link.properties), at: now), tuple: halfOpen.tuple, link: link)
    }

    private func arrivesInTimeWait(
        _ record: TimeWaitRecord, _ header: SegmentHeader, payload: UnsafeRawBufferPointer, link: HostLink,
        at now: Instant
    ) {
        let bits = header.controlBits
        // RFC 1337: a reset does not end TIME-WAIT.
        if bits.contains(.rst) { return }
        if bits.contains(.syn), !bits.contains(.ack), record.isNewIncarnation(header) {
            // RFC 9293 3.6.1, MAY-2, and RFC 6191.
            table.remove(record.tuple)
            arrivesForListener(header, payload: payload, tuple: record.tuple, link: link, at: now)
            return
        }
        if bits.contains(.fin) {
            // RFC 9293 3.10.7.4, eighth: the FIN again restarts the 2 MSL.
            record.deadline = now + record.lifetime
        }
        // An ACK of just what we expect needs no answer; anything else gets one.
        if header.segmentLength(payloadCount: payload.count) == 0, header.sequenceNumber == record.rcvNxt { return }
        reply(record.acknowledgment(at: now), tuple: record.tuple, link: link)
    }

    /// A segment without a connection. In front of a link that takes no more it is dropped.
    private func reply(_ header: SegmentHeader, tuple: FourTuple, link: HostLink) {
        guard link.isWritable, notices.count < 4096 else {
            statistics.repliesDropped += 1
            return
        }
        notices.append(.transmit(Transmission(header: header), tuple, on: link.id))
    }
}
