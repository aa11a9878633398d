// SEGMENT ARRIVES for a host: demultiplexing, listeners, and segments that fit nothing (RFC 9293 3.10.7.1 and 3.10.7.2).
import TCPSegments

extension Host {
    /// A segment came in over `linkID`. The payload is borrowed for the call and may be larger than the MSS. `ecn` is what its
    /// IP header said, if it had one.
    public func handle(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, on linkID: LinkID,
        ecn: ECNField = .notCapable, at now: Instant
    ) {
        // A connection that leaves the table meanwhile stays in `departed` until the next poll.
        let isDone = table.connection(tuple)?._withUnsafeGuaranteedRef { connection in
            guard connection.linkID == linkID else { return false }
            if connection.isOpening, defersAccept(connection, header) { return true }
            if header.controlBits.contains(.syn), let link = links[linkID],
                reopens(connection, header, payload: payload, link: link, ecn: ecn, at: now)
            {
                return true
            }
            connection.handle(header, payload: payload, ecn: ecn, at: now)
            touch(connection, at: now)
            return true
        }
        if isDone == true { return }
        guard let link = links[linkID] else { return }
        switch table[tuple] {
        case .connection(let connection):
            if connection.isOpening, defersAccept(connection, header) { return }
            if header.controlBits.contains(.syn),
                reopens(connection, header, payload: payload, link: link, ecn: ecn, at: now)
            {
                return
            }
            // What belongs together goes out where it came in. A segment whose numbers are not the peer's moves nothing, or
            // whoever can use the peer's address could take the connection's way from it without knowing them.
            if connection.handle(header, payload: payload, ecn: ecn, at: now) { move(connection, to: link) }
            touch(connection, at: now)
        case .halfOpen(let halfOpen):
            arrivesForHalfOpen(halfOpen, header, payload: payload, link: link, ecn: ecn, at: now)
        case .timeWait(let record):
            arrivesInTimeWait(record, header, payload: payload, link: link, ecn: ecn, at: now)
        case nil:
            arrivesForListener(header, payload: payload, tuple: tuple, link: link, ecn: ecn, at: now)
        }
    }

    private func move(_ connection: Connection, to link: HostLink) {
        if let old = connection.link, old !== link { connection.hasMoved = true }
        leaveQueue(connection)
        connection.link = link
    }

    /// A segment for which there is no connection: a listener's SYN, or a stranger's (RFC 9293 3.10.7.1 and 3.10.7.2).
    /// `previous` is the TIME-WAIT that the SYN ends.
    func arrivesForListener(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, link: HostLink, ecn: ECNField,
        at now: Instant, replacing previous: TimeWaitRecord? = nil
    ) {
        let bits = header.controlBits
        // RFC 9293 3.9.2.3, MUST-57 and MUST-63: silently, or one segment would make many hosts answer.
        guard !tuple.remote.address.isMulticastOrBroadcast, !tuple.local.address.isMulticastOrBroadcast else {
            statistics.orphanSegments += 1
            return
        }
        guard let listener = listener(for: tuple), !bits.contains(.rst), !bits.contains(.ack) else {
            if !bits.contains(.rst), let listener = listener(for: tuple),
                takesCookie(header, payload: payload, tuple: tuple, listener: listener, link: link, ecn: ecn, at: now)
            {
                return
            }
            // RFC 9293 3.10.7.2, first and second, are 3.10.7.1: RST is ignored, ACK is reset.
            answerStranger(header, payload: payload, tuple: tuple, link: link)
            return
        }
        guard bits.contains(.syn) else {
            // RFC 9293 3.10.7.2, fourth: neither SYN nor ACK is dropped.
            statistics.orphanSegments += 1
            return
        }
        guard mayOpen(listener) else {
            statistics.synsDropped += 1
            return
        }
        if synCookies == .always || listener.synQueueIsFull {
            guard synCookies != .never, previous == nil, !listener.announcesConnections else {
                statistics.synsDropped += 1
                return
            }
            sendCookie(header, tuple: tuple, listener: listener, link: link, ecn: ecn, at: now)
            return
        }
        let answer = fastOpenAnswer(to: header, payloadCount: payload.count, listener, tuple.addresses, at: now)
        let halfOpen = HalfOpen(
            tuple: tuple, link: link.id, listener: listener,
            iss: initialSequenceNumber(for: tuple, after: previous, at: now),
            timestampOffset: secrets.timestampOffset(for: tuple), syn: header,
            text: earlyText(header, payload, for: listener, answer), previous: previous, at: now)
        if link.properties.carriesECN { halfOpen.agreeOnMarks(header.controlBits, synCameWith: ecn) }
        if listener.announcesConnections {
            announce(halfOpen)
            return
        }
        switch answer {
        case .open(let queue, let option): openFast(halfOpen, queue, option, link: link, at: now)
        case .handshake(let option):
            listener.halfOpenCount += 1
            table.set(.halfOpen(halfOpen))
            deadlines.add(.halfOpen(halfOpen), at: halfOpen.deadline.nanoseconds)
            reply(
                halfOpen.synAck(effective(link.properties), at: now, fastOpen: option), for: listener, tuple: tuple,
                link: link)
        }
    }

    /// Linux: a full accept queue or SYN queue ignores the SYN; the peer sends it again.
    func hasRoom(_ listener: Listener) -> Bool { mayOpen(listener) && !listener.synQueueIsFull }

    /// True if one more connection may be opened, now or by a cookie.
    func mayOpen(_ listener: Listener) -> Bool {
        !listener.acceptQueueIsFull && table.count < configuration.maximumConnections
    }

    /// The owner of the listener that a segment with these ends would reach: nil if a connection has them, or the listener
    /// has no owner, or nobody listens.
    public func listenerOwner(for tuple: FourTuple) -> AnyObject? {
        table[tuple] == nil ? listener(for: tuple)?.userData : nil
    }

    /// Who listens for the connection with these ends.
    func listener(for tuple: FourTuple) -> Listener? {
        listeners.listener(for: tuple.local) {
            secrets.portOffset(local: tuple.local.address, remote: tuple.remote, salt: 5)
        }
    }

    /// What came with a SYN, if there is room for it: at most what the window of the SYN-ACK allows, and little for all
    /// listeners' half-open connections together. What is not kept comes again.
    private func earlyText(
        _ syn: SegmentHeader, _ payload: UnsafeRawBufferPointer, for listener: Listener, _ answer: FastOpenAnswer
    ) -> EarlyText? {
        if case .handshake = answer, !listener.configuration.keepsTextOfSyn { return nil }
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
    func answerStranger(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, link: HostLink
    ) {
        statistics.orphanSegments += 1
        guard !header.controlBits.contains(.rst) else { return }
        statistics.resetsSent += 1
        reply(header.answeringReset(payloadCount: payload.count), tuple: tuple, link: link)
    }

    /// A SYN-ACK, or another segment of a connection that is not yet one, with the listener's codepoint.
    func reply(_ header: SegmentHeader, for listener: Listener, tuple: FourTuple, link: HostLink) {
        reply(
            header, tuple: tuple, link: link,
            services: listener.configuration.differentiatedServices(towards: tuple.remote.address))
    }

    /// A segment without a connection. In front of a link that takes no more it is dropped.
    func reply(_ header: SegmentHeader, tuple: FourTuple, link: HostLink, services: UInt8 = 0) {
        guard link.isWritable, notices.count < 4096 else {
            statistics.repliesDropped += 1
            return
        }
        var transmission = Transmission(header: header)
        transmission.differentiatedServices = services
        notices.append(.transmit(transmission, tuple, on: link.id))
    }
}
