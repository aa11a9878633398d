// Joins sockets, the host and the links. No I/O of its own: it runs in the simulator as well.
import HeapModule
import NetworkLayer
import TCPEngine
import TCPSegments

/// What the socket layer needs of the links.
public protocol LinkProvider: AnyObject {
    func want(_ addresses: AddressPair, fresh: Bool, at now: Instant)
    func transmit(_ transmission: Transmission, _ tuple: FourTuple, on link: LinkID, at now: Instant)
    func localAddress(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress
    /// The addresses that may be bound; empty: all.
    var addresses: [IPAddress] { get }
}

/// What a socket layer has done since it began. Bytes are payload, retransmissions included.
public struct SocketTotals: Sendable {
    /// Connections by connect(2), and those given to listeners' owners.
    public internal(set) var connectionsOpened: UInt64 = 0, connectionsAccepted: UInt64 = 0
    /// Segments given to links and received from them.
    public internal(set) var segmentsSent: UInt64 = 0, segmentsReceived: UInt64 = 0
    /// Payload of those segments.
    public internal(set) var bytesSent: UInt64 = 0, bytesReceived: UInt64 = 0
}

/// The socket table and the calls on it. Calls never block: what has to wait is told to the socket's owner.
public final class SocketLayer {
    /// The TCP.
    public let host: Host
    /// The links; set before anything runs.
    public weak var links: (any LinkProvider)?
    /// Hears of changes of state, for the log, if set; from then on connections report them.
    public var stateObserver: ((Socket?, _ from: State, _ to: State) -> Void)?
    /// Hears of options that were set or asked for and are not known here.
    public var unknownOptionObserver: ((OptionName) -> Void)?
    /// Where the bytes wait that SO_SNDBUF and SO_RCVBUF count.
    public var bufferUse = BufferUse.shared
    var breakpoints = Breakpoints()
    private var isRunning = false
    /// What has been done since the beginning.
    public private(set) var totals = SocketTotals()
    private var sockets: [Int: Socket] = [:]
    private var byID: [UInt64: Socket] = [:]
    private var freeNumbers = Heap<Int>()
    private var nextNumber = 0
    private var lastID: UInt64 = 0
    private let maximumSockets: Int

    /// One with these values.
    public init(host: Host, maximumSockets: Int) {
        self.host = host
        self.maximumSockets = maximumSockets
    }

    /// How many sockets there are.
    public var count: Int { sockets.count }
    /// The socket with this id.
    public func socket(id: UInt64) -> Socket? { byID[id] }
    /// The socket with this number.
    public func socket(number: Int) -> Socket? { sockets[number] }
    /// True if a socket has this number, or once had it.
    public func hasUsed(number: Int) -> Bool { number >= 0 && number < nextNumber }
    /// The socket with the lowest number from `number` on.
    public func socket(from number: Int) -> Socket? {
        guard number < nextNumber else { return nil }
        for n in max(number, 0)..<nextNumber { if let s = sockets[n] { return s } }
        return nil
    }

    /// The number of the socket whose connection has these ends, for the log.
    public func socketNumber(of tuple: FourTuple) -> Int? { (host.owner(of: tuple) as? Socket)?.number }

    // MARK: Calls

    /// socket(2).
    public func create(isIPv6: Bool, owner: (any SocketOwner)?) throws(SocketError) -> Socket {
        guard sockets.count < maximumSockets else { throw .tooManySockets }
        lastID += 1
        let number: Int
        if let lowest = freeNumbers.popMin() {
            number = lowest
        } else {
            number = nextNumber
            nextNumber += 1
        }
        let socket = Socket(id: lastID, number: number, isIPv6: isIPv6)
        socket.owner = owner
        socket.noDelay = host.configuration.connection.noDelay
        sockets[socket.number] = socket
        byID[socket.id] = socket
        return socket
    }

    /// bind(2).
    public func bind(_ socket: Socket, to endpoint: Endpoint) throws(SocketError) {
        guard case .idle = socket.kind, socket.bound == nil else { throw .invalidArgument }
        guard endpoint.address.isIPv4 || socket.isIPv6 else { throw .addressFamilyNotSupported }
        if let ours = links?.addresses, !ours.isEmpty, !endpoint.address.isUnspecified, !ours.contains(endpoint.address)
        {
            throw .addressNotAvailable
        }
        var use = PortUse()
        use.reusesOld = socket.reuseAddress
        use.sharesPort = socket.settings.reusePort
        use.isIPv6Only = socket.settings.isIPv6Only
        do { socket.bound = try host.reservePort(endpoint, use) } catch { throw .connection(error) }
        socket.boundUse = use
    }

    /// listen(2). An unbound socket gets an ephemeral port.
    public func listen(_ socket: Socket, backlog: Int, at now: Instant) throws(SocketError) {
        switch socket.kind {
        case .listening(let listener): host.setBacklog(backlog, of: listener)
        case .connection: throw .invalidArgument
        case .idle:
            if socket.bound == nil { try bind(socket, to: Endpoint(socket.isIPv6 ? .anyIPv6 : .anyIPv4, 0)) }
            guard let bound = socket.bound else { throw .invalidArgument }
            do {
                let listener = try host.listen(
                    on: bound, backlog: backlog, use: socket.boundUse, configuration: configuration(of: socket))
                if stateObserver != nil { listener.eventMask = .stateChanges }
                listener.userData = socket
                socket.kind = .listening(listener)
                configureFastOpen(of: socket)
                forgetHistory(socket)
                refreshEventMask(of: socket)
                endWaits(of: socket, reaching: .listen, at: now)
            } catch { throw .connection(error) }
        }
    }

    /// connect(2): begins; the owner hears how it ends.
    public func connect(
        _ socket: Socket, to remote: Endpoint, fastOpen: FastOpenUse = .none, at now: Instant
    ) throws(SocketError) {
        switch socket.kind {
        case .listening: throw .isConnected
        case .connection where socket.hasEnded && !socket.wasEstablished && !socket.isClosed:
            // An attempt has failed; as on Linux, another one may follow.
            socket.kind = .idle
            socket.hasEnded = false
            socket.pendingError = 0
        case .connection(let c):
            throw c.state == .synSent || c.state == .synReceived ? .alreadyConnecting : .isConnected
        case .idle: break
        }
        guard remote.port != 0, let links else { throw .connection(.refused) }
        guard remote.address.isIPv4 || socket.isIPv6 else { throw .addressFamilyNotSupported }
        var remote = remote
        // Linux: the unspecified address means this host.
        if remote.address.isUnspecified {
            remote.address = remote.address.isIPv4 ? IPAddress(127, 0, 0, 1) : IPAddress(high: 0, low: 1)
        }
        let local: IPAddress
        if let bound = socket.bound, !bound.address.isUnspecified {
            local = bound.address
        } else {
            do { local = try links.localAddress(toReach: remote.address) } catch { throw .connection(.unreachable) }
        }
        do {
            let connection = try host.open(
                from: socket.bound, localAddress: local, to: remote, configuration: configuration(of: socket),
                eventMask: eventMask(for: socket),
                fastOpen: fastOpen == .none && socket.settings.fastOpensConnect ? .withFirstSend : fastOpen, at: now)
            connection.userData = socket
            socket.kind = .connection(connection)
            if socket.settings.isCorked { host.setCorked(connection, true, at: now) }
            forgetHistory(socket)
            totals.connectionsOpened += 1
            if socket.monitor != nil { converse(socket, connection.tuple) }
        } catch { throw .connection(error) }
    }

    /// accept(2): the next connection of a listening socket as a socket of its own, or nil.
    public func accept(_ socket: Socket, owner: (any SocketOwner)?, at now: Instant) throws(SocketError) -> Socket? {
        guard let listener = socket.listener else { throw .invalidArgument }
        guard listener.acceptQueueCount > listener.handedOver else { return nil }
        if let announced = listener.nextToAccept?.userData as? Socket {
            _ = host.accept(listener)
            announced.owner = owner
            return announced
        }
        let new = try create(isIPv6: socket.isIPv6, owner: owner)
        guard let connection = host.accept(listener) else {
            release(new, at: now)
            return nil
        }
        connection.userData = new
        new.kind = .connection(connection)
        new.wasEstablished = true
        if connection.state == .closed {
            // It ended while it waited: the user reads what came, and then why.
            new.hasEnded = true
            new.pendingError = connection.failure?.errno ?? 0
        }
        totals.connectionsAccepted += 1
        new.inherit(from: socket)
        if new.settings.isCorked { host.setCorked(connection, true, at: now) }
        return new
    }

    /// shutdown(2).
    public func shutdown(_ socket: Socket, receiving: Bool, sending: Bool, at now: Instant) throws(SocketError) {
        guard let connection = socket.connection, socket.wasEstablished else { throw .notConnected }
        if receiving { host.shutdownReceiving(connection, at: now) }
        if sending { host.shutdownSending(connection, at: now) }
    }

    /// close(2): the user is done with the socket; its connection ends in its own time, or at once if `aborting`. At a
    /// breakpoint that waits. The number is free when the connection has ended.
    public func close(_ socket: Socket, aborting: Bool, at now: Instant) {
        socket.isClosed = true
        if let conversation = socket.conversation, conversation.stop != nil {
            conversation.closing = aborting || conversation.closing ?? false
            return
        }
        switch socket.kind {
        case .connection(let connection) where !socket.hasEnded:
            if let bound = socket.bound { host.releasePort(bound, socket.boundUse) }
            socket.bound = nil
            if aborting || socket.linger == 0 {
                host.abort(connection, at: now)
            } else {
                host.close(connection, at: now)
            }
            return
        case .listening(let listener):
            forgetAnnounced(by: socket, at: now)
            host.close(listener, at: now)
        case .idle, .connection: break
        }
        unwatch(socket, at: now)
        release(socket, at: now)
    }

    func release(_ socket: Socket, at now: Instant) {
        if let bound = socket.bound { host.releasePort(bound, socket.boundUse) }
        socket.bound = nil
        endConversation(of: socket)
        guard sockets.removeValue(forKey: socket.number) != nil else { return }
        byID[socket.id] = nil
        freeNumbers.insert(socket.number)
        endWaits(ofReleased: socket, at: now)
    }

    /// connect(2) with AF_UNSPEC: the socket gives up its connection, or listening, and may begin anew. A peer that knows of the
    /// connection is told by a reset.
    public func disconnect(_ socket: Socket, at now: Instant) {
        guard socket.conversation == nil else { return }
        switch socket.kind {
        case .idle: return
        case .listening(let listener):
            forgetAnnounced(by: socket, at: now)
            host.close(listener, at: now)
        case .connection(let connection):
            connection.userData = nil
            if !socket.hasEnded { host.abort(connection, at: now) }
        }
        socket.kind = .idle
        socket.hasEnded = false
        socket.wasEstablished = false
    }

    // MARK: Options

    /// Changes what sockets have that set nothing else: later connections, and those of listeners.
    public func setDefaults(_ connection: ConnectionConfiguration, at now: Instant) {
        host.setDefaults(connection)
        for socket in sockets.values {
            if let listener = socket.listener { host.configure(listener, configuration(of: socket) ?? connection) }
        }
    }

    /// TCP_NODELAY.
    public func setNoDelay(_ socket: Socket, _ noDelay: Bool, at now: Instant) {
        socket.noDelay = noDelay
        if let connection = socket.connection { host.setNoDelay(connection, noDelay, at: now) }
        if let listener = socket.listener, let own = configuration(of: socket) { host.configure(listener, own) }
    }

    /// Changes a socket's settings and what follows from them for its connection, or for those its listener will have.
    public func change(_ socket: Socket, at now: Instant, _ body: (inout SocketSettings) -> Void) {
        body(&socket.settings)
        if let connection = socket.connection {
            let settings = socket.settings
            let use = bufferUse
            host.reconfigure(connection, at: now) { settings.apply(to: &$0, use) }
        } else if let listener = socket.listener, let own = configuration(of: socket) {
            host.configure(listener, own)
        }
    }

    /// Remembers that an option was set, while a kernel socket may still have to take this one's place.
    public func note(_ socket: Socket, _ name: OptionName, _ value: [UInt8]) {
        guard case .idle = socket.kind else { return }
        // Bounded by the number of options there are: a later value takes an earlier one's place.
        socket.settings.history.removeAll { $0.name == name }
        socket.settings.history.append((name, value))
    }

    private func forgetHistory(_ socket: Socket) { if socket.hasSettings { socket.settings.history = [] } }

    /// nil: nothing differs from the host's defaults.
    private func configuration(of socket: Socket) -> ConnectionConfiguration? {
        guard socket.noDelay || socket.hasSettings else { return nil }
        var configuration = host.configuration.connection
        if socket.noDelay { configuration.noDelay = true }
        socket.settings.apply(to: &configuration, bufferUse)
        return configuration
    }

    // MARK: Running

    /// Takes all outputs of the host: segments to the links, events to the sockets' owners.
    public func run(at now: Instant) {
        // A call from within: the outer one takes what has come about.
        guard !isRunning else { return }
        isRunning = true
        defer { isRunning = false }
        repeat { takeOutputs(at: now) } while !breakpoints.ready.isEmpty && advanceConversation(at: now)
    }

    private func takeOutputs(at now: Instant) {
        while let output = host.poll(at: now) {
            switch output {
            case .transmit(let transmission, let tuple, let link):
                totals.segmentsSent += UInt64(transmission.segmentCount)
                totals.bytesSent += UInt64(transmission.payload.count)
                if breakpoints.conversations.isEmpty || !stopsAt(transmission, tuple, on: link, at: now) {
                    links?.transmit(transmission, tuple, on: link, at: now)
                }
            case .linkWanted(let addresses, let fresh):
                links?.want(addresses, fresh: fresh, at: now)
            case .pending(let pending): announce(pending, at: now)
            case .incoming(let listener):
                if let socket = listener.userData as? Socket { socket.owner?.socketHasIncoming(socket, at: now) }
            case .event(let connection, let event):
                dispatch(event, of: connection, at: now)
            }
        }
    }

    private func dispatch(_ event: ConnectionEvent, of connection: Connection, at now: Instant) {
        let socket = connection.userData as? Socket
        if case .stateChanged(let from, let to, _) = event {
            stateObserver?(socket, from, to)
            if let socket, stopsAt(event, of: connection, socket, at: now) { return }
        }
        follow(event, of: connection, at: now)
    }

    /// What an event means for the socket and its owner; past any breakpoint.
    func follow(_ event: ConnectionEvent, of connection: Connection, at now: Instant) {
        guard let socket = connection.userData as? Socket else { return }
        let owner = socket.owner
        switch event {
        case .stateChanged(_, let state, _):
            if socket.reportsStates { owner?.socketStateChanged(socket, to: state, at: now) }
            endWaits(of: socket, reaching: state, at: now)
        case .urgent: break
        case .established:
            if !socket.wasEstablished {
                socket.wasEstablished = true
                if !socket.isClosed { owner?.socketEstablished(socket, at: now) }
            }
        case .readable, .peerClosed: if !socket.isClosed { owner?.socketReadable(socket, at: now) }
        case .writable: if !socket.isClosed { owner?.socketWritable(socket, at: now) }
        case .closed(let error):
            if let error { socket.pendingError = error.errno }
            socket.hasEnded = true
            unwatch(socket, at: now)
            endConversation(of: socket)
            owner?.socketClosed(socket, error, at: now)
            // Nobody holds the socket: closed by its user, or never accepted.
            if socket.isClosed || (owner == nil && !connection.isAwaitingAccept) { release(socket, at: now) }
        }
    }
}

extension SocketLayer: SegmentReceiver {
    /// Hands a segment to the host.
    public func segmentArrived(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, on link: LinkID, ecn: ECNField,
        at now: Instant
    ) {
        totals.segmentsReceived += 1
        totals.bytesReceived += UInt64(payload.count)
        if !breakpoints.conversations.isEmpty, let conversation = breakpoints.conversations[tuple] {
            arrive(header, payload: payload, for: conversation, on: link, ecn: ecn, at: now)
        } else if breakpoints.queues.isEmpty
            || !stopsAtListener(header, payload: payload, tuple, on: link, ecn: ecn, at: now)
        {
            host.handle(header, payload: payload, tuple: tuple, on: link, ecn: ecn, at: now)
        }
        // Whoever watches sees each segment's consequences before the next segment; otherwise batches are cheaper.
        if stateObserver != nil || !breakpoints.queues.isEmpty { run(at: now) }
    }

    /// Tells the host of an ICMP error.
    public func pathError(_ error: PathError, about segment: QuotedSegment, at now: Instant) {
        host.pathError(error, about: segment, at: now)
    }

    /// Has the host know the link.
    public func linkOpened(_ link: LinkID, _ properties: LinkProperties, for addresses: AddressPair) {
        host.openLink(link, properties, for: addresses)
    }

    /// Lets connections that wait for this link go on.
    public func linkAvailable(_ link: LinkID, _ properties: LinkProperties, for addresses: AddressPair, at now: Instant)
    {
        host.addLink(link, properties, for: addresses, at: now)
    }

    /// Lets connections that wait for this link fail or lose.
    public func linkUnavailable(_ addresses: AddressPair, _ failure: LinkFailure, at now: Instant) {
        host.linkFailed(addresses, failure, at: now)
    }

    /// Has the host poll connections for this link, or not.
    public func linkWritable(_ link: LinkID, _ writable: Bool, at now: Instant) { host.setWritable(link, writable) }

    /// Has the host forget the link.
    public func linkGone(_ link: LinkID, at now: Instant) { host.removeLink(link, at: now) }
}

extension FrameLinks: LinkProvider {
    /// The addresses that may be bound; empty: all.
    public var addresses: [IPAddress] { configuration.addresses }
}
