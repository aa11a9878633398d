// Every knob of the engine with its default, its source and, where there is one, Linux's name for it.
import TCPSegments

/// How one connection behaves.
public struct ConnectionConfiguration: Sendable {
    /// Bytes that may wait in the send buffer, unacknowledged ones included: 1 to 16 MiB (the middle of tcp_wmem).
    public var sendBufferSize = 1 << 20
    /// What the send buffer grows to where it, not the path, limits the rate (the last of tcp_wmem). What is not above
    /// `sendBufferSize` keeps that as it is.
    public var maximumSendBuffer = 4 << 20
    /// Bytes that may wait unread: 1 to 16 MiB (the middle of tcp_rmem). It bounds the window that is announced.
    public var receiveBufferSize = 1 << 20
    /// What the receive buffer grows to if the user reads that fast (the last of tcp_rmem). What is not above
    /// `receiveBufferSize` keeps that as it is (tcp_moderate_rcvbuf=0).
    public var maximumReceiveBuffer = 6 << 20
    /// Bytes that may wait unsent in the send buffer (TCP_NOTSENT_LOWAT): 1 or more.
    public var unsentLimit = Int.max
    /// True switches Nagle's algorithm off (TCP_NODELAY).
    public var noDelay = false
    /// The congestion control (RFC 5681, RFC 9438, draft-ietf-ccwg-bbr; TCP_CONGESTION).
    public var congestionControl = CongestionControlAlgorithm.cubic
    /// Which ways to detect and repair losses are in use.
    public var recovery = RecoveryFeatures.all
    /// Whether segments of a window leave spread over a round trip although the congestion control does not ask for it.
    public var pacing = false
    /// Whether the congestion window shrinks while nothing is sent (RFC 5681 4.1; tcp_slow_start_after_idle).
    public var slowStartAfterIdle = true
    /// The longest that the peer may delay an ACK (TLP.max_ack_delay of RFC 8985 7.2; RFC 1122 allows 500 ms, Linux
    /// assumes 200 ms).
    public var maximumAckDelay = TimeInterval.milliseconds(200)
    /// How coarsely the clock ticks that `now` is read from: segments closer together than that have no order in time.
    public var clockResolution = TimeInterval.zero
    /// How coarse the timer is that waits for reordering (RFC 8985 6.2 step 5): it comes late by three fifths of the wait, at a
    /// multiple of this. Linux, with 250 ticks a second: 4 ms. Zero: when the wait is over.
    public var reorderingTimerTick = TimeInterval.zero
    /// The least that the retransmission timeout is above the round-trip time. RFC 6298 2.4 says 1 s in all; Linux and this
    /// project 200 ms.
    public var minimumRTO = TimeInterval.milliseconds(200)
    /// What is added to the retransmission timeout of RFC 6298 2, of which `minimumRTO` is the least then, as on FreeBSD; zero:
    /// nothing is.
    public var timeoutSlop = TimeInterval.zero
    /// The retransmission timeout before the first sample (RFC 6298 2.1).
    public var initialRTO = TimeInterval.seconds(1)
    /// The largest retransmission timeout (RFC 6298 2.5 allows 60 s or more; Linux 120 s).
    public var maximumRTO = TimeInterval.seconds(120)
    /// How long an ACK may wait for company (RFC 1122 4.2.3.2: below 500 ms; Linux 40 ms).
    public var delayedAck = TimeInterval.milliseconds(40)
    /// How long the ACK of a pushed message below 536 bytes, or of a FIN, waits for an answer to ride on; zero: not at all. Short
    /// enough that a peer with Nagle's algorithm, which waits for this ACK, hardly notices.
    public var answerDelay = TimeInterval.zero
    /// Which segments of data are acknowledged at once.
    public var acknowledgments = AckDiscipline.adaptive
    /// Whether an ACK of what was never sent is answered in ESTABLISHED (RFC 9293 3.10.7.4); Linux drops it silently.
    public var answersUnsentAcks = true
    /// Whether every segment announces all of the window there is, as FreeBSD does; else the window's edge moves in steps worth a
    /// segment (RFC 9293 3.8.6.2.2).
    public var announcesExactWindow = false
    /// Whether congestion control counts in whole segments as Linux does: a reduction begins at the window, however much of it is
    /// in use, and rounds down; recovery lets whole segments go; CUBIC is Linux's, with its HyStart. Else RFC 9438, RFC 6937bis
    /// and RFC 9406 to the letter.
    public var countsSegments = false
    /// How often segments that are not acceptable are answered if they carry nothing (RFC 5961 7); zero: each time.
    public var challengeInterval = TimeInterval.milliseconds(200)
    /// Whether a peer that acknowledges nothing hears of it when it is given up; Linux just forgets the connection.
    public var resetsWhenGivingUp = true
    /// Whether a close with unread bytes resets the connection (RFC 2525 2.17; Linux); else they are discarded, and a FIN is sent
    /// (FreeBSD).
    public var resetsUnread = true
    /// Whether segments are checked and answered as by FreeBSD: TIME-WAIT acknowledges whatever is no exact duplicate,
    /// SYN-RECEIVED repeats its SYN-ACK for any SYN, resets are measured by the ACK that left last, an ACK counts although its
    /// segment is old, and the window does not shrink without new data or a new ACK.
    public var answersLikeFreeBSD = false
    /// Runs of data that may wait behind holes: 1 or more. What comes while there are as many is dropped.
    public var reassemblyLimit = Int.max
    /// The size that the window scale is chosen for, whatever the receive buffer is or may grow to; nil: that decides.
    public var windowScaleBase: Int?
    /// How SYNs and SACK blocks are laid out by the links that this connection uses.
    public var optionLayout = OptionLayout.compact
    /// Whether segments leave in batches as Linux sizes them (tcp_tso_autosize): a millisecond's worth of the pace, half of the
    /// congestion window at most. The last segment of a batch of several carries PSH.
    public var batches = false
    /// The least that such a batch is meant to have, in segments (tcp_min_tso_segs).
    public var minimumSegmentsPerBatch = 2
    /// Retransmissions of a SYN before giving up (tcp_syn_retries).
    public var synRetries = 6
    /// Retransmissions of a SYN-ACK before giving up (tcp_synack_retries).
    public var synAckRetries = 5
    /// Retransmissions of data or FIN before giving up (tcp_retries2).
    public var dataRetries = 15
    /// Upper limit of the MSS that is announced and of what is sent in a segment; the link and the peer may lower it.
    public var maximumSegmentSize = 65_535
    /// When the largest segment that the path takes is looked for, on links that hide it (tcp_mtu_probing).
    public var segmentSizeProbing = SegmentSizeProbing.afterBlackHole
    /// Data and options of the segments that a search begins with (tcp_base_mss): 512 or more, over IPv6 at least
    /// `leastSegmentSizeIPv6`.
    public var baseSegmentSize = 1024
    /// No search over IPv6 goes below this many bytes of data and options: every path takes 1,280 with the headers (RFC 8200 5).
    public var leastSegmentSizeIPv6 = 1220
    /// How long after a search the next one may begin (tcp_probe_interval, RFC 8899 5.1.1).
    public var segmentSizeProbeInterval = TimeInterval.seconds(600)
    /// Whether the SYN carries the MSS option (RFC 9293 3.7.1); without it a peer sends 536 bytes at most.
    public var announcesMSS = true
    /// Whether the window scale option is offered (RFC 7323 2).
    public var windowScaling = true
    /// Whether the timestamps option is offered (RFC 7323 3).
    public var timestamps = true
    /// Whether selective acknowledgments are offered (RFC 2018).
    public var selectiveAcks = true
    /// Whether congestion marks are asked for, or given to those that ask, where the link can carry them (RFC 3168, RFC 9768).
    public var ecn = ECNUse.accept
    /// Whether data that comes with an ordinary SYN is kept for the time after the handshake (RFC 9293 3.10.7.2). Without, the
    /// peer sends it again, as to Linux.
    public var keepsTextOfSyn = true
    /// Whether an idle connection asks its peer for a sign of life (RFC 9293 3.8.4; SO_KEEPALIVE).
    public var keepAlive = false
    /// How long a connection is idle before it asks (RFC 9293 3.8.4: at least two hours by default; TCP_KEEPIDLE).
    public var keepAliveIdle = TimeInterval.seconds(7200)
    /// How long it waits for an answer before it asks again (TCP_KEEPINTVL).
    public var keepAliveInterval = TimeInterval.seconds(75)
    /// How many questions go unanswered before it gives up (TCP_KEEPCNT).
    public var keepAliveProbes = 9
    /// How long data may stay unacknowledged, or the window closed, before the connection is aborted (the user timeout of
    /// RFC 9293 3.10.1; TCP_USER_TIMEOUT). nil: the retransmission limits alone decide.
    public var userTimeout: TimeInterval?
    /// Whether the user timeout counts from the first retransmission or window probe, as on Linux; else from the last progress.
    public var userTimeoutBeginsWithRetry = false
    /// Whether a closed window is probed by an empty segment in front of SND.UNA, as Linux does; else by a byte behind the
    /// window (RFC 9293 3.8.6.1).
    public var probesWithoutData = false
    /// How long an active OPEN may take (FreeBSD's net.inet.tcp.keepinit); nil: `synRetries` alone decide.
    public var openTimeout: TimeInterval?
    /// What is told to the peer of the user timeout, and believed of it (RFC 5482); nil: the option is not used.
    public var userTimeoutRules: UserTimeoutRules?
    /// How many retransmissions of a SYN-ACK a connection waits for its first data before it is made without (TCP_DEFER_ACCEPT);
    /// 0: not at all.
    public var deferredAccepts = 0
    /// Bytes per second at which segments leave at most (SO_MAX_PACING_RATE): 1 or more.
    public var maximumPacingRate = Int.max
    /// The differentiated services codepoint of what leaves over IPv4 (IP_TOS) and over IPv6 (IPV6_TCLASS): 0 to 63.
    public var differentiatedServicesIPv4: UInt8 = 0, differentiatedServicesIPv6: UInt8 = 0
    /// The largest window that is announced, in bytes (TCP_WINDOW_CLAMP); nil: what the buffer allows.
    public var windowClamp: Int?
    /// How long a closed socket waits in FIN-WAIT-2 for the peer's FIN (tcp_fin_timeout).
    public var finWait2Timeout = TimeInterval.seconds(60)

    /// The defaults.
    public init() {}

    /// The largest buffer there is.
    public static let maximumBufferSize = 16 << 20

    /// This configuration with each value moved into its range.
    var clamped: ConnectionConfiguration {
        var c = self
        c.sendBufferSize = min(max(c.sendBufferSize, 1), Self.maximumBufferSize)
        c.receiveBufferSize = min(max(c.receiveBufferSize, 1), Self.maximumBufferSize)
        c.maximumSendBuffer = min(c.maximumSendBuffer, Self.maximumBufferSize)
        c.maximumReceiveBuffer = min(c.maximumReceiveBuffer, Self.maximumBufferSize)
        // The window is what is free of the buffer.
        if let clamp = c.windowClamp {
            c.receiveBufferSize = min(c.receiveBufferSize, max(clamp, 1))
            c.maximumReceiveBuffer = min(c.maximumReceiveBuffer, max(clamp, 1))
        }
        c.deferredAccepts = min(max(c.deferredAccepts, 0), 255)
        c.maximumPacingRate = max(c.maximumPacingRate, 1)
        c.maximumSegmentSize = min(max(c.maximumSegmentSize, 1), 65_535)
        c.baseSegmentSize = min(max(c.baseSegmentSize, 512), 65_535)
        c.leastSegmentSizeIPv6 = min(max(c.leastSegmentSizeIPv6, 512), 65_535)
        c.segmentSizeProbeInterval = max(c.segmentSizeProbeInterval, .zero)
        c.unsentLimit = max(c.unsentLimit, 1)
        c.reassemblyLimit = max(c.reassemblyLimit, 1)
        c.challengeInterval = min(max(c.challengeInterval, .zero), .seconds(60))
        c.windowScaleBase = c.windowScaleBase.map { min(max($0, 0), 1 << 30) }
        c.minimumSegmentsPerBatch = min(max(c.minimumSegmentsPerBatch, 1), 64)
        c.maximumAckDelay = min(max(c.maximumAckDelay, .zero), .milliseconds(500))
        c.reorderingTimerTick = min(max(c.reorderingTimerTick, .zero), .milliseconds(100))
        c.clockResolution = min(max(c.clockResolution, .zero), .milliseconds(500))
        c.minimumRTO = max(c.minimumRTO, .milliseconds(1))
        c.timeoutSlop = min(max(c.timeoutSlop, .zero), .seconds(10))
        c.maximumRTO = max(c.maximumRTO, c.minimumRTO)
        c.initialRTO = min(max(c.initialRTO, c.minimumRTO), c.maximumRTO)
        c.delayedAck = min(max(c.delayedAck, .zero), .milliseconds(500))
        c.answerDelay = min(max(c.answerDelay, .zero), c.delayedAck)
        c.keepAliveIdle = max(c.keepAliveIdle, .milliseconds(1))
        c.keepAliveInterval = max(c.keepAliveInterval, .milliseconds(1))
        c.keepAliveProbes = max(c.keepAliveProbes, 1)
        return c
    }

    /// The differentiated services codepoint towards this address.
    func differentiatedServices(towards address: IPAddress) -> UInt8 {
        (address.isIPv4 ? differentiatedServicesIPv4 : differentiatedServicesIPv6) & 0x3F
    }

    /// The smallest shift that lets 16 bits express the whole receive buffer (RFC 7323 2.3), and what it may grow to; for growth
    /// it is never so large that the buffer it begins with is less than eight of the window's units.
    var windowScale: WindowScale {
        var shift: UInt8 = 0
        let size = max(windowScaleBase ?? 0, receiveBufferSize)
        while shift < 14, (0xFFFF << Int(shift)) < size { shift += 1 }
        while shift < 14, (0xFFFF << Int(shift)) < maximumReceiveBuffer, (16 << Int(shift)) <= receiveBufferSize {
            shift += 1
        }
        return WindowScale(clamping: shift)
    }
}

/// A configuration that connections share: most have the same. It never changes; who wants another one takes a new box.
final class SharedConfiguration {
    let values: ConnectionConfiguration

    init(_ values: ConnectionConfiguration) { self.values = values.clamped }
}

/// How a host behaves.
public struct HostConfiguration: Sendable {
    /// The configuration of connections that bring none of their own.
    public var connection = ConnectionConfiguration()
    /// Connections, half-open ones and TIME-WAIT records together.
    public var maximumConnections = 1 << 21
    /// Bytes that all buffers together may grow by beyond the sizes they begin with (like tcp_mem).
    public var bufferBudget = 256 << 20
    /// The ports chosen for unbound sockets (RFC 6335: 49152..65535).
    public var ephemeralPorts: ClosedRange<UInt16> = 49152...65535
    /// Replaces the links' maximum segment lifetime, if set.
    public var maximumSegmentLifetime: TimeInterval?
    /// TCP Fast Open.
    public var fastOpen = FastOpenConfiguration()
    /// Whether SYNs are answered without remembering them (SYN cookies).
    public var synCookies = SynCookieUse.whenFull
    /// Replaces RFC 6528's choice: for tests near the wraps only.
    public var initialSequenceNumber: SequenceNumber?

    /// The defaults.
    public init() {}
}
