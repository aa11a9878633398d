// A passive OPEN: the SYN queue's bounds and the accept queue, by Linux's rules.
import DequeModule
import TCPSegments

/// A connection that has seen a SYN and not yet its ACK: a small record outside of `Connection`.
final class HalfOpen {
    let tuple: FourTuple
    let link: LinkID
    let listener: Listener
    let iss: SequenceNumber
    let irs: SequenceNumber
    /// What the SYN offered, and its window.
    let offer: PeerOffer
    let peerWindow: WindowField
    let timestampOffset: UInt32
    /// What came with the SYN, if anything did.
    let text: EarlyText?
    /// The TIME-WAIT that the SYN ended, if it did.
    let previous: TimeWaitRecord?
    var challenges = ChallengeLimit()
    let sentAt: Instant
    /// How often the SYN-ACK was sent again, and how often its timer expired.
    var retransmissions = 0
    var timeouts = 0
    /// The ACK has come, but no data (TCP_DEFER_ACCEPT).
    var isAcknowledged = false
    /// It was rebuilt from a cookie, and counts for no queue.
    var isFromCookie = false
    var deadline: Instant
    /// The shift that the SYN-ACK tells of: the listener's options may change before the connection is up.
    let windowScale: WindowScale
    /// How congestion marks are told, and with which the SYN came.
    private(set) var feedback = ECNFeedback.none
    private(set) var synCodepoint = ECNField.notCapable

    init(
        tuple: FourTuple, link: LinkID, listener: Listener, iss: SequenceNumber, timestampOffset: UInt32,
        syn: SegmentHeader, text: EarlyText?, previous: TimeWaitRecord? = nil, at now: Instant
    ) {
        self.tuple = tuple
        self.link = link
        self.listener = listener
        self.iss = iss
        irs = syn.sequenceNumber
        offer = PeerOffer(syn.options)
        self.timestampOffset = timestampOffset
        self.text = text
        self.previous = previous
        peerWindow = syn.window
        sentAt = now
        deadline = now + listener.configuration.initialRTO
        windowScale = listener.configuration.windowScale
    }

    /// The SYN asks with these bits; the link carries marks.
    func agreeOnMarks(_ syn: ControlBits, synCameWith codepoint: ECNField) {
        feedback = ECNNegotiation.answer(to: syn, listener.configuration.ecn)
        synCodepoint = codepoint
    }

    /// The SYN-ACK of this record. The option of Fast Open comes with the first one only.
    func synAck(_ link: LinkProperties, at now: Instant, fastOpen: FastOpenOption? = nil) -> SegmentHeader {
        var header = SegmentHeader(
            sourcePort: tuple.local.port, destinationPort: tuple.remote.port, sequenceNumber: iss,
            acknowledgmentNumber: irs + 1,
            controlBits: ControlBits([.syn, .ack]).union(
                ECNNegotiation.agreement(feedback, synCameWith: synCodepoint)),
            window: WindowField(UInt16(min(listener.configuration.receiveBufferSize, 65_535))))
        if listener.configuration.announcesMSS {
            header.options.maximumSegmentSize = UInt16(
                clamping: Connection.announcedMSS(link, listener.configuration))
        }
        // RFC 7323 2.2: only if the SYN had it.
        if offer.windowScale != nil, listener.configuration.windowScaling {
            header.options.windowScale = windowScale.shift
        }
        // RFC 7323 3.2 and RFC 2018 2: likewise.
        header.options.timestamps = timestampsOption(at: now)
        header.options.sackPermitted = offer.selectiveAcks && listener.configuration.selectiveAcks
        if let fastOpen { header.options.append(fastOpen) }
        if let option = listener.configuration.userTimeoutOption { header.options.appendIfFits(option) }
        return header
    }

    /// The ACK that answers a segment which is not acceptable.
    func acknowledgment(at now: Instant) -> SegmentHeader {
        let scale =
            offer.windowScale != nil && listener.configuration.windowScaling
            ? windowScale : .none
        let window = WindowSize(UInt32(min(listener.configuration.receiveBufferSize, 65_535)))
        var header = SegmentHeader(
            sourcePort: tuple.local.port, destinationPort: tuple.remote.port, sequenceNumber: iss + 1,
            acknowledgmentNumber: irs + 1, controlBits: .ack, window: window.field(scaledBy: scale))
        header.options.timestamps = timestampsOption(at: now)
        return header
    }

    /// Both SYNs carry timestamps (RFC 7323 3.2).
    var usesTimestamps: Bool { offer.timestamp != nil && listener.configuration.timestamps }

    private func timestampsOption(at now: Instant) -> Timestamps? {
        guard usesTimestamps, let value = offer.timestamp else { return nil }
        return Timestamps(value: TimestampState.value(at: now, offset: timestampOffset), echoReply: value)
    }
}

/// Data and FIN that came with a SYN (RFC 9293 3.10.7.2).
final class EarlyText {
    let bytes: [UInt8]
    let hasFin: Bool

    init(_ bytes: [UInt8], hasFin: Bool) {
        self.bytes = bytes
        self.hasFin = hasFin
    }
}

/// A listening socket of a host.
public final class Listener {
    /// Where it listens; an unspecified address means any of that family.
    public let local: Endpoint
    /// How many connections may wait to be accepted: 1 to 4,096 (a backlog of 0 means 1).
    public internal(set) var backlog: Int
    /// Connections given to the application's descriptor and not taken yet: they count against the backlog.
    public var handedOver = 0
    /// Which optional events its connections emit.
    public var eventMask: EventMask = []
    /// True if its owner wants to hear of each SYN before there is a connection (`Output.pending`).
    public var announcesConnections = false
    /// For whoever owns the listener.
    public var userData: AnyObject?

    /// Others may listen at the same endpoint; and `::` is for IPv6 only.
    let sharesPort, isIPv6Only: Bool
    var shared: SharedConfiguration
    var configuration: ConnectionConfiguration { shared.values }
    var acceptQueue = Deque<Connection>()
    /// Connections made at the SYN that are not established yet.
    var opening: [Connection] = []
    /// Half-open connections: records, announced ones, and those of `opening`.
    var halfOpenCount = 0
    /// Fast Open: the connections whose handshakes have not ended, the keys, and whether cookies are needed.
    var fastOpenQueue: FastOpenQueue?
    var fastOpenKeys: [FastOpenKey] = []
    var fastOpensWithoutCookie = false
    /// When a SYN was last answered with a cookie.
    var cookieSentAt: Instant?
    /// True once it was closed.
    public internal(set) var isClosed = false

    init(local: Endpoint, backlog: Int, use: PortUse = PortUse(), configuration: SharedConfiguration) {
        self.local = local
        sharesPort = use.sharesPort
        isIPv6Only = use.isIPv6Only
        self.backlog = min(max(backlog, 1), 4096)
        shared = configuration
    }

    /// The connection that `Host.accept` would take.
    public var nextToAccept: Connection? { acceptQueue.first }
    /// Connections that wait to be accepted.
    public var acceptQueueCount: Int { acceptQueue.count + handedOver }

    /// Linux: one more than the backlog fits (sk_acceptq_is_full compares with greater than).
    var acceptQueueIsFull: Bool { acceptQueueCount > backlog }
    /// Linux: no more half-open connections than the backlog.
    var synQueueIsFull: Bool { halfOpenCount >= max(backlog, 8) }
}
