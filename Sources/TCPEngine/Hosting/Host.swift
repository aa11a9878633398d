// All connections and listeners of one set of addresses: the public face.
import DequeModule
import TCPSegments

/// A link as the host sees it.
final class HostLink: TurnTaking {
    let id: LinkID
    let properties: LinkProperties
    let addresses: AddressPair
    @exclusivity(unchecked) var isWritable = true
    @exclusivity(unchecked) var isGone = false
    /// Connections that may have something to send, each once; they take turns.
    @exclusivity(unchecked) var ready = TurnQueue<Connection>()
    @exclusivity(unchecked) var isScheduled = false
    @exclusivity(unchecked) var nextInTurn: Unmanaged<HostLink>?

    init(_ id: LinkID, _ properties: LinkProperties, _ addresses: AddressPair) {
        self.id = id
        self.properties = properties
        self.addresses = addresses
    }
}

/// A host: it demultiplexes segments to connections, owns ports, and keeps one deadline over everything. Sans I/O like
/// `Connection`: segments, time and calls go in, `poll` gives outputs. Not thread-safe: one owner calls it.
public final class Host {
    /// How the host was set up.
    public private(set) var configuration: HostConfiguration
    let secrets: Secrets
    // Accesses are not checked for overlap: see `Connection`.
    let pool: ChunkPool
    @exclusivity(unchecked) var table: ConnectionTable
    @exclusivity(unchecked) var listeners = ListenerTable()
    @exclusivity(unchecked) var reservations = PortReservations()
    @exclusivity(unchecked) var ephemeralPorts: EphemeralPorts
    @exclusivity(unchecked) var deadlines = DeadlineQueue()
    @exclusivity(unchecked) var links: [LinkID: HostLink] = [:]
    /// Connections with something to send and no link, by address pair.
    @exclusivity(unchecked) var waitingForLink: [AddressPair: Deque<Connection>] = [:]
    /// Outputs that belong to no connection: replies, accept queues, wanted links.
    @exclusivity(unchecked) var notices = Deque<Output>()
    @exclusivity(unchecked) var connectionsWithEvents = Deque<Connection>()
    /// Connections that have left the table since the last poll: whoever is working on one may go on.
    @exclusivity(unchecked) var departed: [Connection] = []
    @exclusivity(unchecked) var linksWithWork = TurnQueue<HostLink>()
    /// Bytes that came with SYNs and wait for their handshakes.
    @exclusivity(unchecked) var earlyBytes = 0
    private var defaults: SharedConfiguration
    let fastOpenCache: FastOpenCache
    /// Whether SYNs are answered without remembering them from now on.
    @exclusivity(unchecked) public var synCookies: SynCookieUse
    /// What happened to segments without a connection.
    @exclusivity(unchecked) public internal(set) var statistics = HostStatistics()

    /// A host whose secrets (sequence numbers, ports) derive from `seed`.
    public init(configuration: HostConfiguration, seed: UInt64) {
        self.configuration = configuration
        pool = ChunkPool(budget: configuration.bufferBudget)
        defaults = SharedConfiguration(configuration.connection)
        secrets = Secrets(seed: seed)
        synCookies = configuration.synCookies
        fastOpenCache = FastOpenCache(configuration.fastOpen)
        table = ConnectionTable(key: secrets.tableKey)
        ephemeralPorts = EphemeralPorts(range: configuration.ephemeralPorts)
    }

    /// When `handleTimeout` is to be called next. It may be early, never late.
    public var nextTimeout: Instant? { deadlines.next }

    /// Connections, half-open ones and TIME-WAIT records.
    public var connectionCount: Int { table.count }

    /// All connections in no particular order, for listings.
    public var connections: [Connection] {
        table.all.compactMap { entry in
            if case .connection(let connection) = entry { connection } else { nil }
        }
    }

    /// What the owner attached to the connection with these ends.
    public func owner(of tuple: FourTuple) -> AnyObject? {
        if case .connection(let connection) = table[tuple] { connection.userData } else { nil }
    }

    // MARK: User calls

    /// Active OPEN (RFC 9293 3.10.1) from `localAddress`, or from `bound` if the user chose an endpoint.
    public func open(
        from bound: Endpoint?, localAddress: IPAddress, to remote: Endpoint,
        configuration own: ConnectionConfiguration? = nil, eventMask: EventMask = [], fastOpen: FastOpenUse = .none,
        at now: Instant
    ) throws(ConnectionError) -> Connection {
        guard table.count < configuration.maximumConnections else { throw .tooManyConnections }
        // RFC 9293 3.9.2.3, MUST-46.
        guard !remote.address.isMulticastOrBroadcast else { throw .unreachable }
        let tuple: FourTuple
        if let bound, bound.port != 0 {
            let address = bound.address.isUnspecified ? localAddress : bound.address
            tuple = FourTuple(local: Endpoint(address, bound.port), remote: remote)
            guard isFree(tuple, at: now) else { throw .addressInUse }
        } else {
            let address = bound.flatMap { $0.address.isUnspecified ? nil : $0.address } ?? localAddress
            let port = ephemeralPorts.choose(
                offset: secrets.portOffset(local: address, remote: remote, salt: 1),
                slot: secrets.portOffset(local: address, remote: remote, salt: 2)
            ) { port in
                let local = Endpoint(address, port)
                return isFree(FourTuple(local: local, remote: remote), at: now) && !reservations.isTaken(local)
                    && !listeners.isTaken(local)
            }
            guard let port else { throw .noPortLeft }
            tuple = FourTuple(local: Endpoint(address, port), remote: remote)
        }
        let connection = Connection(
            tuple: tuple, iss: initialSequenceNumber(for: tuple, after: timeWait(of: tuple), at: now),
            timestampOffset: secrets.timestampOffset(for: tuple),
            configuration: own.map { SharedConfiguration($0) } ?? defaults, pool: pool)
        connection.eventMask = eventMask
        connection.fastOpen = fastOpenClient(fastOpen, tuple.addresses, at: now).map { .client($0) }
        table.set(.connection(connection))
        connection.openActively(at: now)
        // The owner of the links decides which one to use. Every OPEN asks anew: earlier failures do not count for it.
        notices.append(.linkWanted(tuple.addresses, fresh: true))
        waitingForLink[tuple.addresses, default: Deque()].append(connection)
        connection.isQueuedForLink = true
        touch(connection, at: now)
        return connection
    }

    /// Passive OPEN (RFC 9293 3.10.1). Connections derive `configuration` and `eventMask` from the listener.
    public func listen(
        on local: Endpoint, backlog: Int, use: PortUse = PortUse(), configuration own: ConnectionConfiguration? = nil
    ) throws(ConnectionError) -> Listener {
        let listener = Listener(
            local: local, backlog: backlog, use: use, configuration: own.map { SharedConfiguration($0) } ?? defaults)
        guard listeners.add(listener) else { throw .addressInUse }
        if fastOpenCache.configuration.modes.isSuperset(of: [.server, .allListeners]) {
            setFastOpenQueue(listener.backlog, of: listener)
        }
        return listener
    }

    /// Changes a listener's backlog, as a second listen(2) does.
    public func setBacklog(_ backlog: Int, of listener: Listener) { listener.backlog = min(max(backlog, 1), 4096) }

    /// Changes the configuration of later connections that bring none of their own.
    public func setDefaults(_ connection: ConnectionConfiguration) {
        configuration.connection = connection
        defaults = SharedConfiguration(connection)
    }

    /// Changes how a listener's later connections behave.
    public func configure(_ listener: Listener, _ configuration: ConnectionConfiguration) {
        listener.shared = SharedConfiguration(configuration)
    }

    /// Takes the oldest connection off the accept queue.
    public func accept(_ listener: Listener) -> Connection? {
        let connection = listener.acceptQueue.popFirst()
        connection?.listener = nil
        return connection
    }

    /// Ends listening. Connections that nobody accepted are reset.
    public func close(_ listener: Listener, at now: Instant) {
        guard !listener.isClosed else { return }
        listener.isClosed = true
        listeners.remove(listener)
        for connection in listener.opening + Array(listener.acceptQueue) {
            leaveOpening(connection)
            connection.listener = nil
            abort(connection, at: now)
        }
        listener.acceptQueue = Deque()
    }

    /// Reserves a local endpoint for a socket (bind). Port 0 chooses one.
    public func reservePort(_ endpoint: Endpoint, _ use: PortUse = PortUse()) throws(ConnectionError) -> Endpoint {
        var endpoint = endpoint
        if endpoint.port == 0 {
            let nobody = Endpoint(endpoint.address, 0)
            let port = ephemeralPorts.choose(
                offset: secrets.portOffset(local: endpoint.address, remote: nobody, salt: 3), slot: 0
            ) { !reservations.isTaken(Endpoint(endpoint.address, $0), use) }
            guard let port else { throw .noPortLeft }
            endpoint.port = port
        } else if reservations.isTaken(endpoint, use) {
            throw .addressInUse
        } else if !use.reusesOld, !use.sharesPort, isPortInUse(endpoint) {
            throw .addressInUse
        }
        reservations.reserve(endpoint, use)
        return endpoint
    }

    /// Gives a reserved endpoint back.
    public func releasePort(_ endpoint: Endpoint, _ use: PortUse) { reservations.release(endpoint, use) }

    /// True if a connection, TIME-WAIT included, has this local endpoint.
    private func isPortInUse(_ endpoint: Endpoint) -> Bool {
        table.all.contains { entry in
            let local = entry.tuple.local
            return local.port == endpoint.port
                && (endpoint.address.isUnspecified || local.address == endpoint.address)
        }
    }

    /// True if an active OPEN may take these ends: nobody has them, or only an old connection in TIME-WAIT that need not
    /// be waited for.
    private func isFree(_ tuple: FourTuple, at now: Instant) -> Bool {
        switch table[tuple] {
        case nil: return true
        case .connection, .halfOpen: return false
        case .timeWait(let record): return record.mayBeReused(at: now)
        }
    }

    /// SEND (RFC 9293 3.10.2): queues what fits and returns its size; after 0, `.writable` follows.
    public func send(
        _ connection: Connection, _ bytes: UnsafeRawBufferPointer, at now: Instant
    ) throws(ConnectionError) -> Int {
        let n = try connection.send(bytes, at: now)
        touch(connection, at: now)
        return n
    }

    /// SEND whose bytes `fill` writes straight into the send buffer: it gets room for 1 to `maximum` bytes and returns how
    /// many it wrote. It is not called if the buffer is full; the result is then 0 and `.writable` follows.
    public func withSendSpace(
        _ connection: Connection, maximum: Int, at now: Instant, _ fill: (UnsafeMutableRawBufferPointer) -> Int
    ) throws(ConnectionError) -> Int {
        let n = try connection.send(maximum: maximum, at: now, fill)
        if n > 0 { touch(connection, at: now) }
        return n
    }

    /// RECEIVE (RFC 9293 3.10.3): copies in-order bytes; 0 if there are none now, or ever (`isAtEndOfStream`).
    public func receive(_ connection: Connection, into buffer: UnsafeMutableRawBufferPointer, at now: Instant) -> Int {
        let n = connection.receive(into: buffer, at: now)
        if n > 0 { touch(connection, at: now) }
        return n
    }

    /// RECEIVE that lends the first contiguous run of bytes to `body`, which returns how many it consumed.
    public func withReceivedBytes(
        _ connection: Connection, at now: Instant, _ body: (UnsafeRawBufferPointer) -> Int
    ) -> Int {
        let n = connection.withReceivedBytes(at: now, body)
        if n > 0 { touch(connection, at: now) }
        return n
    }

    /// CLOSE of one direction, or of both; see the connection's methods of the same names.
    public func shutdownSending(_ connection: Connection, at now: Instant) {
        connection.shutdownSending(at: now)
        touch(connection, at: now)
    }

    /// Discards what is unread and what comes.
    public func shutdownReceiving(_ connection: Connection, at now: Instant) {
        connection.shutdownReceiving(at: now)
        touch(connection, at: now)
    }

    /// Text that comes in FIN-WAIT-1 and FIN-WAIT-2 resets the connection: both directions are shut, and nobody will read. What is
    /// unread stays.
    public func refuseText(_ connection: Connection) { connection.refusesText = true }

    /// CLOSE (RFC 9293 3.10.4): the user goes away, the host finishes alone.
    public func close(_ connection: Connection, at now: Instant) {
        connection.close(at: now)
        touch(connection, at: now)
    }

    /// ABORT (RFC 9293 3.10.5).
    public func abort(_ connection: Connection, at now: Instant) {
        connection.abort(at: now)
        touch(connection, at: now)
    }

    /// TCP_NODELAY.
    public func setNoDelay(_ connection: Connection, _ noDelay: Bool, at now: Instant) {
        connection.setNoDelay(noDelay)
        touch(connection, at: now)
    }

    /// TCP_CORK; see `Connection.setCorked`.
    public func setCorked(_ connection: Connection, _ on: Bool, at now: Instant) {
        connection.setCorked(on)
        touch(connection, at: now)
    }

    /// Keepalive; see `Connection.setKeepAlive`.
    public func setKeepAlive(
        _ connection: Connection, _ on: Bool, idle: TimeInterval, interval: TimeInterval, probes: Int, at now: Instant
    ) {
        connection.setKeepAlive(on, idle: idle, interval: interval, probes: probes, at: now)
        touch(connection, at: now)
    }

    /// Changes how a connection behaves from now on; see `Connection.reconfigure`.
    public func reconfigure(
        _ connection: Connection, at now: Instant, _ body: (inout ConnectionConfiguration) -> Void
    ) {
        connection.reconfigure(at: now, body)
        touch(connection, at: now)
    }

    /// TCP_QUICKACK: acknowledges what waits and the next segments at once, or lets ACKs wait; until an exchange of requests
    /// and responses changes it.
    public func setQuickAck(_ connection: Connection, _ on: Bool, at now: Instant) {
        connection.ackPolicy.setQuick(on)
        touch(connection, at: now)
    }

    /// The user timeout; nil: none.
    public func setUserTimeout(_ connection: Connection, _ limit: TimeInterval?) { connection.setUserTimeout(limit) }

    /// SEND with the urgent flag; see `Connection.sendUrgent`.
    public func sendUrgent(
        _ connection: Connection, _ bytes: UnsafeRawBufferPointer, at now: Instant
    ) throws(ConnectionError) -> Int {
        let n = try connection.sendUrgent(bytes, at: now)
        touch(connection, at: now)
        return n
    }

    // MARK: Parts

    private func timeWait(of tuple: FourTuple) -> TimeWaitRecord? {
        if case .timeWait(let record) = table[tuple] { record } else { nil }
    }

    /// RFC 9293 3.4.1. RFC 9293 3.6.1, MAY-2 (1): in place of a TIME-WAIT it lies beyond what that connection used.
    func initialSequenceNumber(
        for tuple: FourTuple, after previous: TimeWaitRecord?, at now: Instant
    ) -> SequenceNumber {
        let fresh = configuration.initialSequenceNumber ?? secrets.initialSequenceNumber(for: tuple, at: now)
        guard let previous, !previous.sndNxt.isBefore(fresh) else { return fresh }
        return previous.sndNxt + 65_536
    }

    /// A link's properties with this host's overrides.
    func effective(_ properties: LinkProperties) -> LinkProperties {
        guard let msl = configuration.maximumSegmentLifetime else { return properties }
        var p = properties
        p.maximumSegmentLifetime = msl
        return p
    }
}

/// Counters of segments and records that belong to no connection.
public struct HostStatistics: Sendable {
    /// Segments that fitted no connection and no listener.
    public internal(set) var orphanSegments: UInt64 = 0
    /// Resets sent in answer to such.
    public internal(set) var resetsSent: UInt64 = 0
    /// SYNs ignored because a queue was full.
    public internal(set) var synsDropped: UInt64 = 0
    /// Final ACKs ignored because the accept queue was full.
    public internal(set) var acceptsDeferred: UInt64 = 0
    /// SYNs answered with cookies, ACKs that brought a good one, and those that brought a bad one.
    public internal(set) var synCookiesSent: UInt64 = 0, synCookiesAccepted: UInt64 = 0, synCookiesRefused: UInt64 = 0
    /// ICMP errors about nothing that is in flight.
    public internal(set) var strayPathErrors: UInt64 = 0
    /// Replies without a connection dropped in front of a slow link.
    public internal(set) var repliesDropped: UInt64 = 0
}
