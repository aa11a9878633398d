// What routers and hosts report about segments of ours (RFC 9293 3.9.2.2, RFC 5461, RFC 8201).
import TCPSegments

extension Host {
    /// An ICMP error about a segment that this host has sent.
    public func pathError(_ error: PathError, about segment: QuotedSegment, at now: Instant) {
        guard case .connection(let connection) = table[segment.tuple],
            connection.handle(error, about: segment.sequenceNumber, at: now)
        else {
            statistics.strayPathErrors += 1
            return
        }
        touch(connection, at: now)
    }
}

extension Connection {
    /// False if the error is not about anything in flight: then it is old, or made up (RFC 5927 4.1).
    func handle(_ error: PathError, about sequenceNumber: SequenceNumber, at now: Instant) -> Bool {
        let position = StreamOffset.unwrap(sequenceNumber, from: tcb.send.iss, near: tcb.send.una)
        // The SYN-ACK of a fast-opened connection counts as long as it is not acknowledged.
        let oldest = sendsBeforeHandshakeEnds ? StreamOffset.zero : tcb.send.una
        guard position - oldest >= 0, tcb.send.nxt - position > 0 else { return false }
        switch error {
        case .unreachable, .rejected:
            let meaning = error == .rejected ? ConnectionError.refused : .unreachable
            if state == .synSent || endsByPathErrors {
                // RFC 9293 SHLD-26 for hard errors; RFC 5461 4.1 for the others: who connects wants to know at once.
                finish(meaning)
            } else {
                // RFC 9293 MUST-56: a connection that is up does not end for it.
                // Deviation: nor for hard errors, which RFC 5927 5.2 shows to be forgeable; Linux does the same.
                softError = meaning
            }
        case .soft:
            if endsByPathErrors { finish(.unreachable) } else { softError = .unreachable }
        case .tooBig(let mtu):
            limitPackets(to: Int(clamping: mtu), at: now)
        }
        return true
    }

    /// RFC 1191 6 and RFC 8201 4: packets of at most `mtu` bytes from now on; what is in flight is sent again in such.
    private func limitPackets(to mtu: Int, at now: Instant) {
        let headers = (tuple.remote.address.isIPv4 ? 20 : 40) + 20
        let options = timestamps.isOn ? 12 : 0
        // Before the peer's SYN, the link alone says how much fits.
        let current = (state == .synSent ? tcb.linkMSS : tcb.sendMSS + options) + headers
        var limit = mtu
        if tuple.remote.address.isIPv4 {
            // RFC 1191 7.1: a router that does not say how much fits leaves guessing to us.
            if limit == 0 { limit = Self.plateaus.first { $0 < current } ?? Self.smallestIPv4MTU }
            // Less would let a forged error drown the payload in headers (RFC 5927 7.2; Linux's min_pmtu).
            limit = max(limit, Self.smallestIPv4MTU)
        } else {
            // RFC 8201 4: no IPv6 link has a smaller MTU.
            limit = max(limit, 1280)
        }
        guard limit < current else {
            // A probe was larger.
            sizeSearch?.limited(to: limit - headers, at: now)
            return
        }
        tcb.linkMSS = limit - headers
        if state == .synSent {
            // Linux: data with the SYN was too much. The SYN alone follows at once.
            if fastOpenClient?.dataEnd != nil { synPending = true }
            return
        }
        noteReportedSize(tcb.linkMSS, before: current - headers, at: now)
        setSegmentSize(tcb.linkMSS)
        if state.isSynchronized {
            loseEverything()
            recoveryPoint = tcb.send.nxt
        }
    }

    /// The MTUs of common links (RFC 1191 7.1).
    private static var plateaus: [Int] { [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 552] }
    private static var smallestIPv4MTU: Int { 552 }
}
