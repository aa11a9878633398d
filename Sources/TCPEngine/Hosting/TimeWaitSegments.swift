// SEGMENT ARRIVES in TIME-WAIT (RFC 9293 3.10.7.4), for the record and for a connection that somebody watches.
import TCPSegments

extension TimeWaitRecord {
    /// What a segment does in TIME-WAIT.
    enum Disposition {
        case ignore
        /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
        case acknowledge
        /// The peer's FIN again: acknowledge, and the 2 MSL start anew.
        case restart
        /// A SYN that begins a new connection, if somebody listens.
        case reopen
        /// The same; if nobody listens, TIME-WAIT ends all the same, and the SYN is reset (FreeBSD).
        case reopenOrReset
    }

    func disposition(of header: SegmentHeader, payloadCount: Int, at now: Instant) -> Disposition {
        if configuration.answersLikeFreeBSD { return dispositionLikeFreeBSD(of: header, payloadCount: payloadCount) }
        let bits = header.controlBits
        // Deviation: RFC 1337, a reset does not end TIME-WAIT.
        if bits.contains(.rst) { return .ignore }
        // RFC 9293 3.6.1, MAY-2, and RFC 6191.
        if bits.contains(.syn), !bits.contains(.ack), isNewIncarnation(header) { return .reopen }
        // RFC 7323 5.3 (R1).
        if timestamps.isOn, let value = header.options.timestamps?.value, timestamps.isStale(value, at: now) {
            return .acknowledge
        }
        // First: the sequence number. The FIN again lies left of the window.
        let fromNext = Int(rcvNxt.distance(to: header.sequenceNumber))
        let length = header.segmentLength(payloadCount: payloadCount)
        let end = fromNext + length
        let isAcceptable =
            length == 0
            ? fromNext == 0 || (fromNext > 0 && fromNext < Int(window))
            : end > 0 && (fromNext < Int(window) || fromNext == 0)
        guard isAcceptable else { return bits.contains(.fin) && end == 0 ? .restart : .acknowledge }
        // Fourth (RFC 5961 4.2), and fifth with RFC 5961 5.2.
        if bits.contains(.syn) { return .acknowledge }
        guard bits.contains(.ack) else { return .ignore }
        let fromSent = sndNxt.distance(to: header.acknowledgmentNumber)
        guard fromSent <= 0, -Int64(fromSent) <= Int64(maximumWindow) else { return .acknowledge }
        // Seventh and eighth: text is ignored, a FIN acknowledged.
        if bits.contains(.fin) { return .restart }
        return .ignore
    }

    /// FreeBSD's tcp_twcheck: a SYN with a higher number begins anew; else what has an ACK is acknowledged, unless it is an exact
    /// duplicate of the last ACK.
    private func dispositionLikeFreeBSD(of header: SegmentHeader, payloadCount: Int) -> Disposition {
        let bits = header.controlBits
        if bits.contains(.rst) { return .ignore }
        let fromNext = Int(rcvNxt.distance(to: header.sequenceNumber))
        if bits.contains(.syn), !bits.contains(.ack), fromNext > 0 { return .reopenOrReset }
        guard bits.contains(.ack) else { return .ignore }
        // RFC 7323 3.2.
        if timestamps.isOn, header.options.timestamps == nil { return .ignore }
        let length = header.segmentLength(payloadCount: payloadCount)
        if bits.contains(.fin), fromNext + length == 0 { return .restart }
        let isDuplicate =
            bits == .ack && length == 0 && fromNext == 0 && sndNxt.distance(to: header.acknowledgmentNumber) == 0
        return isDuplicate ? .ignore : .acknowledge
    }
}

extension Host {
    func arrivesInTimeWait(
        _ record: TimeWaitRecord, _ header: SegmentHeader, payload: UnsafeRawBufferPointer, link: HostLink,
        ecn: ECNField, at now: Instant
    ) {
        switch record.disposition(of: header, payloadCount: payload.count, at: now) {
        case .ignore:
            return
        case .restart:
            record.deadline = now + record.lifetime
        case .acknowledge:
            break
        case .reopen:
            // A SYN that nobody awaits does not end TIME-WAIT.
            if listener(for: record.tuple) != nil {
                arrivesForListener(
                    header, payload: payload, tuple: record.tuple, link: link, ecn: ecn, at: now, replacing: record)
                return
            }
        case .reopenOrReset:
            if listener(for: record.tuple) == nil { table.remove(record.tuple) }
            arrivesForListener(
                header, payload: payload, tuple: record.tuple, link: link, ecn: ecn, at: now, replacing: record)
            return
        }
        guard
            record.challenges.allowsAnswer(
                to: header, payloadCount: payload.count, every: record.configuration.challengeInterval, at: now)
        else { return }
        reply(record.acknowledgment(at: now), tuple: record.tuple, link: link)
    }

    /// True if the segment is a SYN for a new connection in place of one in TIME-WAIT that is still a `Connection`, because
    /// a debugger watches it.
    func reopens(
        _ connection: Connection, _ header: SegmentHeader, payload: UnsafeRawBufferPointer, link: HostLink,
        ecn: ECNField, at now: Instant
    ) -> Bool {
        guard connection.state == .timeWait, !header.controlBits.contains(.ack),
            let listener = listener(for: connection.tuple)
        else { return false }
        let record = TimeWaitRecord(connection, link: link.id, at: now)
        switch record.disposition(of: header, payloadCount: payload.count, at: now) {
        case .reopen, .reopenOrReset: break
        case .ignore, .acknowledge, .restart: return false
        }
        guard hasRoom(listener) else {
            // The SYN is ignored, and TIME-WAIT stays as it is.
            statistics.synsDropped += 1
            return true
        }
        connection.finish(nil)
        touch(connection, at: now)
        detach(connection)
        // The record stands for it until there is a new connection, or for good if nobody wants one.
        table.set(.timeWait(record))
        deadlines.add(.timeWait(record), at: record.deadline.nanoseconds)
        arrivesForListener(
            header, payload: payload, tuple: connection.tuple, link: link, ecn: ecn, at: now, replacing: record)
        return true
    }
}

extension Connection {
    /// SEGMENT ARRIVES in TIME-WAIT, for a connection that has not become a record.
    func arrivesInTimeWait(_ header: SegmentHeader, payloadCount: Int, at now: Instant) {
        let record = TimeWaitRecord(self, link: linkID ?? LinkID(0), at: now)
        switch record.disposition(of: header, payloadCount: payloadCount, at: now) {
        case .ignore:
            statistics.droppedSegments += 1
            return
        case .restart:
            enterTimeWait(at: now)
        case .acknowledge, .reopen, .reopenOrReset:
            statistics.droppedSegments += 1
        }
        if challenges.allowsAnswer(
            to: header, payloadCount: payloadCount, every: configuration.challengeInterval, at: now)
        {
            ackPolicy.demandNow()
        }
    }
}
