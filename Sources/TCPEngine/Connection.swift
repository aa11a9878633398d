// One connection of RFC 9293: what it holds, and the face it shows. The rules are in the rooms beside this file.
import TCPSegments

/// A TCP connection without I/O. Segments, time and user calls go in; `poll` gives outputs in the order in which they
/// came about. The same inputs give the same outputs. `now` must not go backwards.
///
/// The rooms: `UserCalls/` (RFC 9293 3.10.1-6), `SegmentArrives/` (3.10.7), `Timeouts/` (3.10.8), `Transmit/`.
public final class Connection: TurnTaking {
    /// The two ends, this host's first.
    public let tuple: FourTuple
    /// The state; only `transition(to:)` changes it.
    public var state: State { tcb.state }
    /// Which optional events to emit.
    public var eventMask: EventMask {
        get { watched }
        set { watched = newValue }
    }
    /// For whoever owns the connection, e.g. its socket.
    public var userData: AnyObject?
    /// Why the last poll for a transmission yielded none.
    public var holdReason: HoldReason { held }

    // What is stored is internal, and the run time does not look for overlapping accesses: those checks were 38 of 306 ns a
    // segment. There are none, because no method calls anyone outside of the engine while it changes a stored value: the
    // closures of SEND and RECEIVE, the only ones of others, run between two accesses.
    @exclusivity(unchecked) var watched: EventMask = []
    @exclusivity(unchecked) var held = HoldReason.nothingToSend
    /// What does not change, shared with other connections; `setOption`-like calls take another box.
    @exclusivity(unchecked) var shared: SharedConfiguration
    /// TCP_NODELAY.
    @exclusivity(unchecked) var noDelay: Bool
    @exclusivity(unchecked) var tcb: TransmissionControlBlock
    @exclusivity(unchecked) var sendBuffer: SendBuffer
    @exclusivity(unchecked) var receiveBuffer: ReceiveBuffer
    /// How much each may hold now.
    @exclusivity(unchecked) var sendCapacity: Int
    @exclusivity(unchecked) var receiveCapacity: Int
    /// When to look next, in nanoseconds, at how much is read; .max: the receive buffer does not grow.
    @exclusivity(unchecked) var tuneAt = Int64.max
    @exclusivity(unchecked) var tuning: BufferTuning?
    @exclusivity(unchecked) var reassembly: Reassembly?
    @exclusivity(unchecked) var retransmissionQueue = RetransmissionQueue()
    @exclusivity(unchecked) var congestion: CongestionControl
    @exclusivity(unchecked) var usage = WindowUsage()
    @exclusivity(unchecked) var roundTrip: RoundTripEstimator
    @exclusivity(unchecked) var minimumRoundTrip = MinimumRoundTrip()
    @exclusivity(unchecked) var rate = DeliveryRate()
    @exclusivity(unchecked) var rack = RACK()
    @exclusivity(unchecked) var duplicates = DuplicateAcks()
    /// Congestion marks, where both ends and the link know them; nil: they do not.
    @exclusivity(unchecked) var marks: CongestionMarks?
    /// The path's largest segment is being looked for; nil: it is not.
    @exclusivity(unchecked) var sizeSearch: SegmentSizeSearch?
    /// Losses are being repaired; nil: none.
    @exclusivity(unchecked) var episode: RecoveryEpisode?
    /// The last reduction of the window, while it may still prove needless.
    @exclusivity(unchecked) var reduction: ReductionRecord?
    /// SND.NXT when the last recovery began (RFC 6582's recover).
    @exclusivity(unchecked) var recoveryPoint = StreamOffset.zero
    @exclusivity(unchecked) var tailProbe: TailLossProbe?
    @exclusivity(unchecked) var pacer = Pacer()
    @exclusivity(unchecked) var timers = TimerTable()
    @exclusivity(unchecked) var ackPolicy = AckPolicy()
    @exclusivity(unchecked) var timestamps = TimestampState()
    @exclusivity(unchecked) var statistics = ConnectionStatistics()

    /// Where the peer's FIN lies, once it is known.
    @exclusivity(unchecked) var peerFinPosition: StreamOffset?
    /// The user has closed the sending direction: a FIN follows the last byte.
    @exclusivity(unchecked) var finQueued = false
    /// The user has closed the receiving direction: input is acknowledged and discarded.
    @exclusivity(unchecked) var receivingShutDown = false
    /// The user reads no more, and has closed the sending direction as well: text in FIN-WAIT resets (`Host.refuseText`).
    @exclusivity(unchecked) var refusesText = false
    /// No user is left (RFC 9293 3.10.4 CLOSE): nobody will read.
    @exclusivity(unchecked) var isOrphan = false
    /// A SYN or SYN-ACK is to be sent.
    @exclusivity(unchecked) var synPending = false
    /// A reset is to be sent.
    @exclusivity(unchecked) var pendingReset: PendingReset?
    /// A tail loss probe is to be sent.
    @exclusivity(unchecked) var tailProbePending = false
    /// The retransmission timer is armed for a tail loss probe.
    @exclusivity(unchecked) var retransmissionTimerProbes = false
    /// A probe of the zero window is to be sent.
    @exclusivity(unchecked) var probePending = false
    /// The end of the last segment below full size (Minshall's refinement of Nagle's algorithm).
    @exclusivity(unchecked) var smallSegmentEnd = StreamOffset.zero
    /// What the user said about its writes; nil: nothing.
    @exclusivity(unchecked) var writes: WriteMarks?
    /// The user found the send buffer full and wants to hear of room.
    @exclusivity(unchecked) var wantsWritable = false
    @exclusivity(unchecked) var challenges = ChallengeLimit()
    @exclusivity(unchecked) var timeoutCount = 0
    @exclusivity(unchecked) var unansweredProbes = 0
    @exclusivity(unchecked) var isPassive = false
    @exclusivity(unchecked) var handshakeRetransmitted = false
    /// Both SYNs carried the window scale option (RFC 7323 2.2).
    @exclusivity(unchecked) var scalesWindows = false
    /// Both SYNs permitted selective acknowledgments (RFC 2018 2).
    @exclusivity(unchecked) var selectiveAcks = false
    /// What came twice and has not been reported yet (RFC 2883); empty: nothing.
    @exclusivity(unchecked) var duplicate = SequenceRange(start: SequenceNumber(0), length: 0)
    /// SND.UP: the position after the last urgent byte, while the peer has not acknowledged it (RFC 9293 3.8.5).
    @exclusivity(unchecked) var sendUrgent: StreamOffset?
    /// RCV.UP: the position after the last urgent byte the peer told of.
    @exclusivity(unchecked) var receiveUrgent: StreamOffset?
    /// What a router or host reported since something was last acknowledged: why the connection will have timed out.
    @exclusivity(unchecked) var softError: ConnectionError?
    /// When something was last received, for the keepalive timer.
    @exclusivity(unchecked) var lastReceived = Instant.origin
    /// When data last left (RFC 5681 4.1).
    @exclusivity(unchecked) var lastSent = Instant.origin
    /// When SND.UNA last moved, or data began to be outstanding: the user timeout counts from here.
    @exclusivity(unchecked) var progressAt = Instant.origin
    /// What the ends have told each other of their user timeouts (RFC 5482); nil: nothing.
    @exclusivity(unchecked) var userTimeoutExchange: UserTimeoutExchange?
    /// Which end of a fast-opened connection this is (RFC 7413); nil: of none.
    @exclusivity(unchecked) var fastOpen: FastOpenRole?
    @exclusivity(unchecked) var unansweredKeepAlives = 0
    @exclusivity(unchecked) var keepAlivePending = false
    /// Why it ended.
    @exclusivity(unchecked) public private(set) var failure: ConnectionError?
    @exclusivity(unchecked) var maximumSegmentLifetime = TimeInterval.seconds(1)

    // What the host keeps for this connection.
    @exclusivity(unchecked) var link: HostLink? { didSet { linkID = link?.id } }
    /// The link's number, so that a segment that came in over it need not touch the link.
    @exclusivity(unchecked) private(set) var linkID: LinkID?
    @exclusivity(unchecked) var isQueuedForLink = false
    /// A segment has led it away from the link that it was given.
    @exclusivity(unchecked) var hasMoved = false
    @exclusivity(unchecked) var isQueuedForEvents = false
    @exclusivity(unchecked) var scheduledDeadline: Int64 = .max
    @exclusivity(unchecked) var isDetached = false
    @exclusivity(unchecked) weak var listener: Listener?
    /// Made at the SYN for `listener`, and not established yet.
    @exclusivity(unchecked) var isOpening = false
    /// A debugger holds it: it is not polled, not timed, and its owner does not feed it.
    @exclusivity(unchecked) var isFrozen = false
    @exclusivity(unchecked) var polledBytes = 0

    @exclusivity(unchecked) var nextInTurn: Unmanaged<Connection>?

    @exclusivity(unchecked) private var events = ShortQueue<ConnectionEvent>()
    var hasEvents: Bool { !events.isEmpty }
    @exclusivity(unchecked) private var readableIsQueued = false

    init(
        tuple: FourTuple, iss: SequenceNumber, timestampOffset: UInt32, configuration: SharedConfiguration,
        pool: ChunkPool
    ) {
        self.tuple = tuple
        shared = configuration
        noDelay = configuration.values.noDelay
        tcb = TransmissionControlBlock(send: SendSequence(iss: iss))
        sendBuffer = SendBuffer(pool: pool)
        receiveBuffer = ReceiveBuffer(pool: pool)
        sendCapacity = configuration.values.sendBufferSize
        receiveCapacity = configuration.values.receiveBufferSize
        congestion = CongestionControl(.reno, segmentSize: 536, at: .origin)
        roundTrip = RoundTripEstimator(configuration.values)
        timestamps.offset = timestampOffset
    }

    var configuration: ConnectionConfiguration { shared.values }

    /// When `handleTimeout` is to be called next; nil: not at all.
    public var nextTimeout: Instant? { timers.next }

    /// The next output that is due, or nil. Events come before the segments that they caused.
    public func poll(at now: Instant) -> ConnectionOutput? {
        if let event = nextEvent() { return .event(event) }
        if let transmission = nextTransmission(at: now) { return .transmit(transmission) }
        // Sending may end a connection (a reset was the last segment).
        return nextEvent().map { .event($0) }
    }

    /// Moves to another state and says so to whoever watches. Nothing else changes `state`.
    func transition(to next: State) {
        guard next != state else { return }
        let previous = state
        tcb.state = next
        if watched.contains(.stateChanges) {
            emit(.stateChanged(from: previous, to: next, snapshot: watched.contains(.snapshots) ? snapshot : nil))
        }
    }

    func emit(_ event: ConnectionEvent) {
        events.append(event)
    }

    /// Says once that there is something to read, until that has been polled.
    func emitReadable() {
        guard !readableIsQueued else { return }
        readableIsQueued = true
        emit(.readable)
    }

    func nextEvent() -> ConnectionEvent? {
        guard let event = events.popFirst() else { return nil }
        if case .readable = event { readableIsQueued = false }
        return event
    }

    /// Ends the connection: CLOSED, no timers, the last event.
    func finish(_ error: ConnectionError?) {
        guard state != .closed else { return }
        failure = error
        endFastOpen()
        timers.cancelAll()
        synPending = false
        probePending = false
        keepAlivePending = false
        sendBuffer.discardAll()
        retransmissionQueue.removeAll()
        episode = nil
        reduction = nil
        tailProbePending = false
        reassembly = nil
        transition(to: .closed)
        emit(.closed(error))
    }

    // MARK: What the user may ask

    /// Unread bytes.
    public var receivedCount: Int { receiveBuffer.count }
    /// Payload received in order since the beginning.
    public var bytesReceived: UInt64 { statistics.bytesReceived }
    /// True if the peer's FIN has been reached and everything before it was read.
    public var isAtEndOfStream: Bool { receiveBuffer.count == 0 && hasReceivedFin }
    /// Room in the send buffer.
    public var sendSpace: Int {
        guard state.maySend, !finQueued else { return 0 }
        return max(0, min(sendCapacity - sendBuffer.count, configuration.unsentLimit - unsentBytes))
    }
    /// True while the connection waits in its listener's accept queue.
    public var isAwaitingAccept: Bool { listener != nil && !isOpening }
    /// Bytes in the send buffer that were never sent.
    public var unsentBytes: Int { max(0, sendBuffer.end - max(tcb.send.nxt, sendBuffer.start)) }
    /// True if ACKs do not wait for company now (TCP_QUICKACK).
    public var acknowledgesQuickly: Bool { ackPolicy.isQuick }
    /// How many bytes the send buffer may hold, and how many of them unsent.
    public var sendLimits: (buffer: Int, unsent: Int) { (sendCapacity, configuration.unsentLimit) }
    /// The largest window that the peer has announced, in bytes.
    public var largestSendWindow: Int { Int(tcb.send.maximumWindow) }
    /// The MSS that was announced.
    public var announcedSegmentSize: Int { tcb.receiveMSS }
    /// Payload bytes of a full segment.
    public var sendSegmentSize: Int { tcb.sendMSS }
    /// Pieces that left at one time and are unacknowledged.
    public var sentPieces: Int { retransmissionQueue.ranges.count }
    /// True if the congestion window, not the user, limits sending.
    public var usesItsWindow: Bool {
        usage.isLimited(window: congestion.window, threshold: congestion.slowStartThreshold)
    }
    /// Bytes in the send buffer, unacknowledged or unsent.
    public var sendQueued: Int { sendBuffer.count }

    /// True once the peer's FIN was received in order.
    public var hasReceivedFin: Bool { peerFinPosition.map { tcb.receive.nxt > $0 } ?? false }
    /// The position of our FIN.
    var finPosition: StreamOffset { sendBuffer.end }
    /// True once our FIN was sent.
    var finWasSent: Bool { finQueued && tcb.send.nxt > finPosition }
}

/// A reset that is to be sent. An object of its own: few connections ever need one, and its place in all would be 120 bytes.
final class PendingReset {
    let header: SegmentHeader
    init(_ header: SegmentHeader) { self.header = header }
}
