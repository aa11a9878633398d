// What comes out of the engine besides segments: events, errors, and the ordered outputs.
import TCPSegments

/// Why a call or a connection failed.
public enum ConnectionError: Error, Hashable, Sendable {
    /// The peer's host answered the SYN with a reset, or nobody listens there.
    case refused
    /// The peer reset the connection.
    case reset
    /// Retransmissions went unanswered.
    case timedOut
    /// There is no way to the peer.
    case unreachable
    /// The user aborted the connection.
    case aborted
    /// The connection is not (or no longer) in a state for this call.
    case notConnected
    /// The user has closed the sending direction (RFC 9293 3.10.2: "connection closing").
    case closing
    /// The local address and port, or the pair of sockets, is taken.
    case addressInUse
    /// No ephemeral port is left.
    case noPortLeft
    /// The host holds as many connections as it may.
    case tooManyConnections
}

/// What happened to a connection.
public enum ConnectionEvent: Sendable {
    /// The state changed. Emitted only if the connection's event mask asks for it; so is the snapshot, which is as of that
    /// instant.
    case stateChanged(from: State, to: State, snapshot: ControlBlockSnapshot?)
    /// The connection is synchronised: data flows.
    case established
    /// In-order bytes have arrived.
    case readable
    /// The send buffer has room again after having been full.
    case writable
    /// The peer told of urgent data ahead of what was read (RFC 9293 3.8.5); see `bytesToUrgentEnd`.
    case urgent
    /// The peer's FIN has arrived in order.
    case peerClosed
    /// The last event: the engine is done with the connection. nil: orderly.
    case closed(ConnectionError?)
}

/// What of a connection's outputs is optional.
public struct EventMask: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// One with these values.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// `ConnectionEvent.stateChanged`.
    public static let stateChanges = EventMask(rawValue: 1)
    /// The control block and the buffers with each change of state.
    public static let snapshots = EventMask(rawValue: 2)
    /// Each segment as an output of its own, never several in one transmission.
    public static let singleSegments = EventMask(rawValue: 4)
}

/// One output of a single connection, in the order in which they came about.
public enum ConnectionOutput: Sendable {
    case event(ConnectionEvent)
    case transmit(Transmission)
}

/// One output of a host.
public enum Output {
    /// Something happened to a connection.
    case event(Connection, ConnectionEvent)
    /// A SYN has come for a listener that announces its connections; answer with `open` or `forget`.
    case pending(PendingOpen)
    /// A connection has joined the listener's accept queue.
    case incoming(Listener)
    /// Segments to be sent over a link.
    case transmit(Transmission, FourTuple, on: LinkID)
    /// Connections wait for a link between these addresses; answer with `addLink` or `linkFailed`. Fresh: a new OPEN
    /// asks, so that no backoff applies.
    case linkWanted(AddressPair, fresh: Bool)
}
