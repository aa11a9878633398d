// Breakpoints: what a debugger may stop at and answer, and what is held back for a connection that stands at one.
import DequeModule
import NetworkLayer
import TCPEngine
import TCPSegments

/// What a debugger wants to stop at. The raw values are chiTCP's.
public struct BreakpointEvents: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: Int32
    /// One with these bits; others than the four below mean nothing.
    public init(rawValue: Int32) { self.rawValue = rawValue }
    /// A state has just been entered.
    public static let stateChange = BreakpointEvents(rawValue: 1)
    /// A segment is about to be given to the connection.
    public static let incomingSegment = BreakpointEvents(rawValue: 2)
    /// A segment is about to leave.
    public static let outgoingSegment = BreakpointEvents(rawValue: 4)
    /// A listening socket is about to have a new connection.
    public static let pendingConnection = BreakpointEvents(rawValue: 8)
}

/// What a debugger answers. The raw values are chiTCP's.
public enum BreakpointResponse: Int32, Sendable {
    /// Go on.
    case none = 0
    /// Go on, and never stop at this socket again.
    case stop = 1
    /// The new connection gets the breakpoints of its listener.
    case acceptMonitor = 2
    /// The segment is lost.
    case drop = 3
    /// Deliver the segment, and keep a copy.
    case duplicate = 4
    /// Keep the segment instead of delivering it.
    case withhold = 5
    /// Deliver the segment, and after it the oldest one that is kept.
    case drawWithheld = 6

    /// This response where it makes sense; a plain go-on where it does not.
    func fitting(_ event: BreakpointEvents) -> BreakpointResponse {
        switch self {
        case .none, .stop: return self
        case .acceptMonitor: return event == .pendingConnection ? self : .none
        case .drop: return event == .incomingSegment || event == .outgoingSegment ? self : .none
        case .duplicate, .withhold, .drawWithheld: return event == .incomingSegment ? self : .none
        }
    }
}

/// Where a connection stands.
public struct Breakpoint: Hashable, Sendable {
    /// The number of the socket whose breakpoint it is.
    public let socket: Int
    /// One event.
    public let event: BreakpointEvents
    /// The number of the new socket, of a pending connection only.
    public let newSocket: Int?
    /// False for a listening socket, which has no variables.
    public let isActive: Bool
}

/// Who watches sockets at breakpoints. One debugger is asked about one breakpoint at a time.
public protocol Debugger: AnyObject {
    /// A connection stands at `breakpoint` until `SocketLayer.answer`.
    func stopped(at breakpoint: Breakpoint, at now: Instant)
    /// None of its sockets is left to watch.
    func nothingLeft(at now: Instant)
}

/// What breakpoints did to segments.
public struct BreakpointStatistics: Sendable {
    /// Segments dropped because a debugger said so.
    public internal(set) var dropped: UInt64 = 0
    /// Segments dropped because too much was waiting at a breakpoint, or was withheld.
    public internal(set) var overflowed: UInt64 = 0
}

/// A debugger with its sockets and with the stops it has not answered yet, the one it was asked about first.
final class DebuggerQueue {
    weak var debugger: (any Debugger)?
    var stops = Deque<Stop>()
    var isAsked = false
    var monitors: [Monitor] = []

    init(_ debugger: any Debugger) { self.debugger = debugger }
}

/// The breakpoints of one socket.
final class Monitor {
    let socket: Socket
    let queue: DebuggerQueue
    let events: BreakpointEvents
    /// What the debugger of a listening socket withholds.
    var withheld = HeldSegments()

    init(_ socket: Socket, _ queue: DebuggerQueue, _ events: BreakpointEvents) {
        self.socket = socket
        self.queue = queue
        self.events = events
    }
}

/// A connection's standing at a breakpoint.
final class Stop {
    enum Cause {
        case stateChange(Connection, ConnectionEvent)
        case incoming(HeldSegment)
        case outgoing(Transmission, LinkID)
        case pending(PendingOpen)

        var event: BreakpointEvents {
            switch self {
            case .stateChange: return .stateChange
            case .incoming: return .incomingSegment
            case .outgoing: return .outgoingSegment
            case .pending: return .pendingConnection
            }
        }
    }

    let cause: Cause
    /// The monitor that asks: the connection's own, or its listener's.
    let monitor: Monitor
    let conversation: Conversation
    let snapshot: ControlBlockSnapshot?
    /// The stop has been dissolved; an answer to it means nothing.
    var isVoid = false

    init(_ cause: Cause, _ monitor: Monitor, _ conversation: Conversation, _ snapshot: ControlBlockSnapshot?) {
        self.cause = cause
        self.monitor = monitor
        self.conversation = conversation
        self.snapshot = snapshot
    }

    var breakpoint: Breakpoint {
        var newSocket: Int?
        if case .pending = cause { newSocket = conversation.socket.number }
        return Breakpoint(
            socket: monitor.socket.number, event: cause.event, newSocket: newSocket,
            isActive: monitor.socket.listener == nil)
    }
}

/// A segment that waits.
struct HeldSegment {
    let tuple: FourTuple
    let header: SegmentHeader
    let payload: [UInt8]
    let link: LinkID
    let ecn: ECNField
    /// The debugger has had its say about it.
    var isDrawn = false

    /// What it counts against the limit: a segment without data is not free.
    var cost: Int { payload.count + header.encodedLength }
}

/// Segments that wait, at most 256 of them and 1 MiB.
struct HeldSegments {
    private var segments = Deque<HeldSegment>()
    private var bytes = 0
    private static let countLimit = 256
    private static let byteLimit = 1 << 20

    var isEmpty: Bool { segments.isEmpty }
    /// True if the first segment is to be fed without another question.
    var beginsWithDrawn: Bool { segments.first?.isDrawn ?? false }

    /// False if there is no room.
    mutating func append(_ segment: HeldSegment) -> Bool {
        guard segments.count < Self.countLimit, bytes + segment.cost <= Self.byteLimit else { return false }
        segments.append(segment)
        bytes += segment.cost
        return true
    }

    /// Puts a segment in front of all others, whatever the limit: it was held elsewhere before.
    mutating func prepend(_ segment: HeldSegment) {
        segments.prepend(segment)
        bytes += segment.cost
    }

    mutating func popFirst() -> HeldSegment? {
        guard let segment = segments.popFirst() else { return nil }
        bytes -= segment.cost
        return segment
    }
}

/// What is held back for one pair of ends: a watched connection, or one about to be.
final class Conversation {
    let tuple: FourTuple
    let socket: Socket
    /// A segment for a listening socket: there is no connection, and may never be one.
    let isAtListener: Bool
    var stop: Stop?
    /// What arrived while it stood, oldest first.
    var arrived = HeldSegments()
    /// What the debugger withholds.
    var withheld = HeldSegments()
    /// A close of the user that came while it stood; true: aborting.
    var closing: Bool?
    /// The owner is to hear `socketResumed`.
    var owesResume = false
    var isQueued = false

    init(_ tuple: FourTuple, _ socket: Socket, isAtListener: Bool = false) {
        self.tuple = tuple
        self.socket = socket
        self.isAtListener = isAtListener
    }
}

/// All breakpoints of a socket layer.
struct Breakpoints {
    var queues: [ObjectIdentifier: DebuggerQueue] = [:]
    var conversations: [FourTuple: Conversation] = [:]
    /// Conversations that may go on.
    var ready = Deque<Conversation>()
    var statistics = BreakpointStatistics()
}
