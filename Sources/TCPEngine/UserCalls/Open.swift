// OPEN (RFC 9293 3.10.1), active and from a half-open record.
import TCPSegments

extension Connection {
    /// Active OPEN: a SYN leaves with the next poll.
    func openActively(at now: Instant) {
        synPending = true
        transition(to: .synSent)
    }

    /// Takes over the numbers of a half-open record: the SYN-ACK has been sent, its ACK is about to be handled.
    func openPassively(_ halfOpen: HalfOpen, link properties: LinkProperties) {
        isPassive = true
        adopt(properties)
        tcb.receive.irs = halfOpen.irs
        tcb.receive.nxt = StreamOffset(1)
        tcb.receive.edge = StreamOffset(1) + min(configuration.receiveBufferSize, 65_535)
        tcb.send.nxt = StreamOffset(1)
        // RFC 9293 3.7.1: no MSS option means 536.
        negotiate(mss: halfOpen.peerMSS, windowScale: halfOpen.peerScale)
        updateSendWindow(halfOpen.peerWindow.scaled(by: .none).bytes)
        handshakeRetransmitted = halfOpen.retransmissions > 0
        // RFC 6298 3: the SYN-ACK gives a sample only if it was sent once.
        if !handshakeRetransmitted { retransmissionQueue.sent(upTo: StreamOffset(1), at: halfOpen.sentAt) }
        statistics.segmentsSent += UInt64(1 + halfOpen.retransmissions)
        statistics.segmentsReceived += 1
        transition(to: .synReceived)
    }

    /// What the link allows decides the MSS to announce; the receive buffer holds at least four such segments.
    func adopt(_ properties: LinkProperties) {
        maximumSegmentLifetime = properties.maximumSegmentLifetime
        tcb.receiveMSS = Self.announcedMSS(properties, configuration)
    }

    static func announcedMSS(_ properties: LinkProperties, _ configuration: ConnectionConfiguration) -> Int {
        let quarter = max(configuration.receiveBufferSize / 4, min(536, configuration.receiveBufferSize))
        return max(1, min(Int(properties.maximumSegmentSize), quarter))
    }

    /// The peer's SYN has come: fix segment size and window scaling.
    func negotiate(mss: UInt16?, windowScale: UInt8?) {
        // A tiny MSS would drown the payload in headers; 1 is the least that moves anything (RFC 9293 3.7.1).
        tcb.sendMSS = max(1, min(Int(mss ?? 536), Int(UInt16.max)))
        if let shift = windowScale, configuration.windowScaling {
            scalesWindows = true
            tcb.send.scale = WindowScale(clamping: shift)
            tcb.receive.scale = configuration.windowScale
        }
        congestion = .newReno(NewReno(segmentSize: tcb.sendMSS))
    }

    /// A segment brought a window.
    func updateSendWindow(_ bytes: UInt32) {
        tcb.send.wnd = bytes
        tcb.send.maximumWindow = max(tcb.send.maximumWindow, bytes)
    }
}
