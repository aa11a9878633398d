// OPEN (RFC 9293 3.10.1), active and from a half-open record.
import TCPSegments

extension Connection {
    /// Active OPEN: a SYN leaves with the next poll.
    func openActively(at now: Instant) {
        tcb.receive.offeredScale = configuration.windowScale
        synPending = !(fastOpenClient?.isDeferred ?? false)
        transition(to: .synSent)
    }

    /// Takes over the numbers of a half-open record. Usually its SYN-ACK has been sent and the ACK of that is about to be
    /// handled; else the SYN-ACK leaves with the next poll.
    func openPassively(
        _ halfOpen: HalfOpen, synAckWasSent: Bool = true, link properties: LinkProperties, at now: Instant
    ) {
        isPassive = true
        adopt(properties)
        tcb.receive.irs = halfOpen.irs
        tcb.receive.offeredScale = halfOpen.windowScale
        tcb.receive.nxt = StreamOffset(1)
        tcb.receive.edge = StreamOffset(1) + min(configuration.receiveBufferSize, 65_535)
        if synAckWasSent { tcb.send.nxt = StreamOffset(1) } else { synPending = true }
        negotiate(halfOpen.offer, at: halfOpen.sentAt)
        if halfOpen.feedback != .none { marks = CongestionMarks(halfOpen.feedback, synCameWith: halfOpen.synCodepoint) }
        lastReceived = now
        progressAt = now
        updateSendWindow(halfOpen.peerWindow.scaled(by: .none).bytes)
        handshakeRetransmitted = halfOpen.retransmissions > 0
        // RFC 6298 3: the SYN-ACK gives a sample only if it was sent once; on FreeBSD, if its timestamp comes back.
        let givesSample = timestamps.isOn || !configuration.answersLikeFreeBSD
        if !handshakeRetransmitted, synAckWasSent, !halfOpen.isFromCookie, givesSample {
            retransmissionQueue.sent(
                from: .zero, upTo: StreamOffset(1), at: halfOpen.sentAt, DeliverySnapshot())
        }
        if synAckWasSent { statistics.segmentsSent += UInt64(1 + halfOpen.retransmissions) }
        statistics.segmentsReceived += 1
        timestamps.lastAckSent = tcb.receive.nxt
        transition(to: .synReceived)
        if let text = halfOpen.text, case .server = fastOpen {
            takeSynText(text)
        } else if let text = halfOpen.text {
            // RFC 9293 3.10.7.2: data with the SYN waits until the connection is up.
            text.bytes.withUnsafeBytes { keep($0, at: tcb.receive.nxt) }
            if text.hasFin { noteFin(at: tcb.receive.nxt + text.bytes.count) }
        }
    }

    /// What the link allows decides the MSS to announce; the receive buffer holds at least four such segments.
    func adopt(_ properties: LinkProperties) {
        maximumSegmentLifetime = properties.maximumSegmentLifetime
        tcb.linkMSS = min(Int(properties.maximumSegmentSize), configuration.maximumSegmentSize)
        tcb.receiveMSS = Self.announcedMSS(properties, configuration)
    }

    static func announcedMSS(_ properties: LinkProperties, _ configuration: ConnectionConfiguration) -> Int {
        let quarter = max(configuration.receiveBufferSize / 4, min(536, configuration.receiveBufferSize))
        return max(1, min(Int(properties.maximumSegmentSize), configuration.maximumSegmentSize, quarter))
    }

    /// The peer's SYN has come: fix segment size, window scaling, timestamps and selective acknowledgments.
    func negotiate(_ offer: PeerOffer, at now: Instant) {
        if let value = offer.timestamp, configuration.timestamps { timestamps.begin(peer: value, at: now) }
        selectiveAcks = offer.selectiveAcks && configuration.selectiveAcks
        // RFC 9293 3.7.1, MUST-15: no MSS option means 536. Deviation: over IPv6, too. MUST-16: no more than the link takes,
        // less the options of every segment (RFC 6691).
        // A tiny MSS would drown the payload in headers; 1 is the least that moves anything.
        tcb.sendMSS = max(1, min(Int(offer.mss ?? 536), tcb.linkMSS) - (timestamps.isOn ? 12 : 0))
        beginSizeSearch(at: now)
        if let shift = offer.windowScale, configuration.windowScaling {
            scalesWindows = true
            tcb.send.scale = WindowScale(clamping: shift)
            tcb.receive.scale = tcb.receive.offeredScale
        }
        if let option = offer.userTimeout { takeUserTimeout(option) }
        congestion = CongestionControl(
            configuration.congestionControl, segmentSize: tcb.sendMSS, countsSegments: configuration.countsSegments,
            at: now)
    }

    /// A segment brought a window.
    func updateSendWindow(_ bytes: UInt32) {
        tcb.send.wnd = bytes
        tcb.send.maximumWindow = max(tcb.send.maximumWindow, bytes)
    }
}

/// What the options of the peer's SYN say.
struct PeerOffer {
    let mss: UInt16?
    let windowScale: UInt8?
    /// TSval.
    let timestamp: UInt32?
    let selectiveAcks: Bool
    /// RFC 5482.
    let userTimeout: UserTimeoutOption?

    init(_ options: TCPOptions) {
        mss = options.maximumSegmentSize
        windowScale = options.windowScale
        timestamp = options.timestamps?.value
        selectiveAcks = options.sackPermitted
        userTimeout = options.userTimeout
    }
}
