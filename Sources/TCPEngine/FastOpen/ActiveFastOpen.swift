// Fast Open, active: the cookie request, the SYN with data, and what the SYN-ACK says of them (RFC 7413 4.1.3 and 4.2.1).
import TCPSegments

extension Host {
    /// How an active OPEN to there uses Fast Open; nil: not at all.
    func fastOpenClient(_ use: FastOpenUse, _ addresses: AddressPair, at now: Instant) -> FastOpenClient? {
        let modes = fastOpenCache.configuration.modes
        guard use != .none, modes.contains(.client) else { return nil }
        let known = fastOpenCache.entry(for: addresses)
        let isDisabled = fastOpenCache.isDisabled(at: now)
        let needsNoCookie = modes.contains(.clientWithoutCookie)
        let option: FastOpenOption? =
            if isDisabled || needsNoCookie {
                nil
            } else {
                known.cookie ?? FastOpenOption(.request, isExperimental: known.request == .experimental)
            }
        let mayCarryData = !isDisabled && (needsNoCookie || known.cookie != nil)
        let linkMSS = links.values.first { $0.addresses == addresses }.map { Int($0.properties.maximumSegmentSize) }
        let defaultSize = addresses.remote.isIPv4 ? 536 : 1220
        let unknownSize = fastOpenCache.configuration.fillsUnknownSegments ? linkMSS ?? defaultSize : defaultSize
        let client = FastOpenClient(
            cache: fastOpenCache, option: option, mayCarryData: mayCarryData,
            segmentSize: min(known.maximumSegmentSize ?? unknownSize, linkMSS ?? .max),
            isDeferred: mayCarryData && use == .withFirstSend)
        if !mayCarryData { client.failure = .noCookie }
        return client
    }
}

extension Connection {
    /// How many more bytes a SEND can put into the SYN; 0 if there is no cookie, or the SYN has left.
    public var synDataRoom: Int {
        guard state == .synSent, tcb.send.nxt == .zero, let client = fastOpenClient, client.mayCarryData else {
            return 0
        }
        return max(0, synDataLimit(client) - sendBuffer.count)
    }

    /// True if the SYN waits for the first SEND.
    public var isOpenDeferred: Bool { state == .synSent && fastOpenClient?.isDeferred ?? false }

    /// The options of a SYN, and room for what boxes in the path add (Linux: MAX_TCP_OPTION_SPACE).
    private static var largestOptions: Int { 40 }

    private func synDataLimit(_ client: FastOpenClient) -> Int {
        let linkMSS = link == nil ? configuration.maximumSegmentSize : tcb.linkMSS
        return max(0, min(linkMSS, client.segmentSize) - Self.largestOptions)
    }

    /// The user has sent, or wants to send no more: a SYN that waited for that leaves.
    func endDeferral() {
        guard let client = fastOpenClient, client.isDeferred else { return }
        client.isDeferred = false
        synPending = true
    }

    /// Adds what Fast Open adds to the first SYN; returns how many bytes of data that is.
    func addFastOpen(to out: inout Transmission) -> Int {
        guard let client = fastOpenClient else { return 0 }
        if let option = client.option {
            out.header.options.append(option)
            client.askedExperimentally = option.isExperimental
            client.option = nil
        }
        guard client.mayCarryData else { return 0 }
        client.mayCarryData = false
        let count = min(sendBuffer.count, synDataLimit(client))
        guard count > 0 else { return 0 }
        sendBuffer.addPayload(from: StreamOffset(1), count: count, to: &out.payload)
        out.segmentSize = count
        client.dataEnd = StreamOffset(1) + count
        return count
    }

    /// The SYN-ACK has come, and SND.UNA is what it acknowledges.
    func takeFastOpenAnswer(_ header: SegmentHeader, at now: Instant) {
        guard let client = fastOpenClient, client.wasUsed else { return }
        let granted = header.options.fastOpen.flatMap { $0.cookie.isEmpty ? nil : $0 }
        client.cache.update(tuple.addresses) { entry in
            entry.maximumSegmentSize = Int(header.options.maximumSegmentSize ?? 536)
            guard let asked = client.askedExperimentally else { return }
            if let granted {
                entry.cookie = granted
            } else if !handshakeRetransmitted, client.dataEnd == nil, entry.cookie == nil {
                // Nobody answers the standard option: perhaps the one from before the standard (as Linux does).
                let next = asked ? FastOpenCache.Request.standardAgain : .experimental
                if next.rawValue > entry.request.rawValue { entry.request = next }
            }
        }
        guard client.dataEnd != nil else { return }
        if tcb.send.una < tcb.send.nxt {
            client.failure = handshakeRetransmitted ? .synRetransmitted : .dataNotAcknowledged
            client.cache.statistics.activeFailed += 1
            // RFC 7413 4.2.1: what was not acknowledged is sent again, now. It is no sign of congestion.
            loseEverything()
            recoveryPoint = tcb.send.nxt
            if tcb.send.wnd == 0 { windowChanged(from: 0, at: now) }
        } else {
            client.wasAcknowledged = true
            client.cache.statistics.active += 1
        }
    }

    /// True if data of the SYN-ACK is taken in any case, as on Linux: the SYN asked for Fast Open, and nothing of it is missing.
    var takesTextOfSynAck: Bool { fastOpenClient?.wasUsed ?? false && tcb.send.una == tcb.send.nxt }

    /// The retransmission timer expired; `isLast`: the connection gives up.
    func noteFastOpenTimeout(isLast: Bool, at now: Instant) {
        guard let client = fastOpenClient, client.wasUsed else { return }
        // Linux: the third timeout in a row, or the end before that.
        if timeoutCount == 2 || (timeoutCount < 2 && isLast) { client.cache.foundBlackhole(at: now) }
    }

    /// A reset that is out of order before any data: a box in the path may have dropped what was in front of it.
    func noteFastOpenStrayReset(at now: Instant) {
        guard let client = fastOpenClient, client.wasUsed, state == .established, statistics.bytesReceived == 0 else {
            return
        }
        client.cache.foundBlackhole(at: now)
    }
}

extension FastOpenClient {
    /// The connection has ended.
    func ended(_ connection: Connection) {
        if isOnTrial, wasUsed, connection.statistics.bytesReceived > 0 { cache.worksAgain() }
    }
}
