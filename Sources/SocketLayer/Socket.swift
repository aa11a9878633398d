// A socket as its user sees it: what it is, where it is bound, which options it has.
import TCPEngine
import TCPSegments

/// Hears what happens to a socket. Called from `SocketLayer.run`, in the order of the events.
public protocol SocketOwner: AnyObject {
    /// A connect() has succeeded.
    func socketEstablished(_ socket: Socket, at now: Instant)
    /// There is something to read, or the end of the stream was reached.
    func socketReadable(_ socket: Socket, at now: Instant)
    /// The send buffer has room again.
    func socketWritable(_ socket: Socket, at now: Instant)
    /// The connection has ended; nil: in order. Unread bytes remain to be read.
    func socketClosed(_ socket: Socket, _ error: ConnectionError?, at now: Instant)
    /// The accept queue has grown.
    func socketHasIncoming(_ socket: Socket, at now: Instant)
    /// The connection has changed its state; told after `SocketLayer.reportStates` only.
    func socketStateChanged(_ socket: Socket, to state: State, at now: Instant)
    /// The socket was stopped at a breakpoint (`isStopped`) and is not any more: calls that waited for that can go on.
    func socketResumed(_ socket: Socket, at now: Instant)
}

extension SocketOwner {
    /// Does nothing.
    public func socketStateChanged(_ socket: Socket, to state: State, at now: Instant) {}
}

/// One socket of the daemon.
public final class Socket {
    /// What the socket is doing.
    public enum Kind {
        /// Created, perhaps bound.
        case idle
        case listening(Listener)
        /// Connecting, connected, or at its end.
        case connection(Connection)
    }

    /// Unique in the daemon's life.
    public let id: UInt64
    /// Small, the lowest free one when the socket was made.
    public let number: Int
    /// True for AF_INET6.
    public let isIPv6: Bool
    /// What it is doing.
    public internal(set) var kind = Kind.idle
    /// The endpoint reserved by bind, to be given back, and how it was reserved.
    public internal(set) var bound: Endpoint?
    var boundUse = PortUse()
    /// Hears of its events.
    public weak var owner: (any SocketOwner)?
    /// The process and user that made it.
    public var ownerPID: Int32 = 0
    /// The user that made it.
    public var ownerUID: UInt32 = 0
    /// True once the handshake has completed.
    public internal(set) var wasEstablished = false
    /// True once the connection has ended.
    public internal(set) var hasEnded = false
    /// True once the user has closed the socket. It keeps its number until its connection has ended.
    public internal(set) var isClosed = false
    /// Whether its owner hears of changes of state.
    var reportsStates = false
    /// Who watches it at breakpoints.
    var monitor: Monitor?
    /// What its connection's breakpoints hold back.
    var conversation: Conversation?
    /// Who waits for which state.
    var stateWaits: [StateWait] = []
    /// SO_ERROR: the last error, until it is asked for.
    public var pendingError: Int32 = 0
    /// TCP_NODELAY.
    public internal(set) var noDelay = false
    /// SO_REUSEADDR.
    public var reuseAddress = false
    /// SO_LINGER's seconds, if it is on.
    public var linger: Int32?
    private var rareSettings: SharedSettings?

    init(id: UInt64, number: Int, isIPv6: Bool) {
        self.id = id
        self.number = number
        self.isIPv6 = isIPv6
    }

    /// The options that were set; SO_REUSEADDR, SO_LINGER and TCP_NODELAY apart.
    public internal(set) var settings: SocketSettings {
        get { rareSettings?.values ?? SocketSettings() }
        set {
            if rareSettings != nil, isKnownUniquelyReferenced(&rareSettings) {
                rareSettings?.values = newValue
            } else {
                rareSettings = SharedSettings(newValue)
            }
        }
    }

    /// True if any such option was set.
    public var hasSettings: Bool { rareSettings != nil }

    /// Takes over what an accepted socket has of its listener.
    func inherit(from listening: Socket) {
        noDelay = listening.noDelay
        linger = listening.linger
        rareSettings = listening.rareSettings
    }

    /// Its connection, if it has one.
    public var connection: Connection? {
        if case .connection(let c) = kind { return c }
        return nil
    }

    /// Its listener, if it listens.
    public var listener: Listener? {
        if case .listening(let l) = kind { return l }
        return nil
    }

    /// The state of its connection; CLOSED or LISTEN where there is none.
    public var state: State {
        switch kind {
        case .idle: return .closed
        case .listening: return .listen
        case .connection(let c): return c.state
        }
    }

    /// True while the connection stands at a breakpoint. Calls on it wait: its owner hears `socketResumed`.
    public var isStopped: Bool { conversation?.stop != nil }

    /// This end's name, if it has one.
    public var localName: Endpoint? {
        switch kind {
        case .idle: return bound
        case .listening(let l): return l.local
        case .connection(let c): return c.tuple.local
        }
    }

    /// The other end's name while there is a connection.
    public var remoteName: Endpoint? { connection?.tuple.remote }
}
