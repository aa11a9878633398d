// Debuggers over chiTCP's protocol: one moved by hand, one with a handler as the library has it.
import DaemonProtocol
import Glibc
import Synchronization
import TestSupport
import Testing

/// chiTCP's numbers of the events.
enum DebugEvent {
    static let stateChange: Int32 = 1, incoming: Int32 = 2, outgoing: Int32 = 4, pending: Int32 = 8
    static let all: Int32 = 15
}

/// chiTCP's numbers of the responses.
enum DebugResponse {
    static let none: Int32 = 0, stop: Int32 = 1, acceptMonitor: Int32 = 2, drop: Int32 = 3, duplicate: Int32 = 4
    static let withhold: Int32 = 5, drawWithheld: Int32 = 6
}

/// A debug connection.
final class DebugClient: @unchecked Sendable {
    // @unchecked Sendable: as its MessageClient.

    private let connection: MessageClient

    /// Begins to debug a socket.
    init(_ daemon: TestDaemon, _ socket: Int32, _ events: Int32 = DebugEvent.all) throws {
        connection = try MessageClient(daemon, greets: false)
        let answer = try Self.greet(connection, socket, events)
        try #require(answer.ret == 0 && answer.errorCode == 0)
    }

    static func greet(_ connection: MessageClient, _ socket: Int32, _ events: Int32) throws -> ChitcpdResp {
        try connection.call(.init_) {
            $0.initArgs.connectionType = .debugConnection
            $0.initArgs.debug.sockfd = socket
            $0.initArgs.debug.eventFlags = events
        }
    }

    /// The next event, or nil when the daemon has ended the connection: nothing is left to debug.
    func event() throws -> ChitcpdDebugEventArgs? {
        guard let message = try connection.receive() else { return nil }
        try #require(message.code == .debugEvent)
        #expect(message.debugEventArgs.isInitialized)
        // A listening socket is not active: it sees SYNs, and hears of pending connections.
        if message.debugEventArgs.eventFlag != DebugEvent.incoming {
            #expect(message.debugEventArgs.isActive == (message.debugEventArgs.eventFlag != DebugEvent.pending))
        }
        #expect((message.debugEventArgs.newSockfd >= 0) == (message.debugEventArgs.eventFlag == DebugEvent.pending))
        return message.debugEventArgs
    }

    func answer(_ response: Int32) throws {
        try connection.send(.resp) {
            $0.resp.ret = response
            $0.resp.errorCode = 0
        }
    }

    func send(_ message: ChitcpdMsg) throws { try connection.send(message) }

    func hangUp() { connection.hangUp() }
}

/// An event with what the handler could see at it.
struct SeenEvent: CustomStringConvertible, Sendable {
    let socket: Int32
    let flag: Int32
    let newSocket: Int32
    /// What GET_SOCKET_STATE and GET_SOCKET_BUFFER_CONTENTS said at the event.
    let state: ChitcpdSocketState
    let buffers: ChitcpdSocketBufferContents

    var tcpState: TCPState { TCPState(rawValue: state.tcpState) ?? .closed }
    /// Variables relative to ISS and IRS.
    var una: Int32 { state.sndUna &- state.iss }
    var next: Int32 { state.sndNxt &- state.iss }
    var receiveNext: Int32 { state.rcvNxt &- state.irs }

    var description: String {
        let name = [1: "state", 2: "in", 4: "out", 8: "pending"][flag] ?? "\(flag)"
        return flag == DebugEvent.pending ? "\(name) \(newSocket)" : "\(name) \(tcpState)"
    }
}

/// A debugger on a thread of its own. At each event it asks for the socket's state, calls the handler, and answers.
final class Debugger: Sendable {
    private let thread: Background

    private final class Record: Sendable {
        let seen = Mutex<[SeenEvent]>([])
    }
    private let record: Record

    init(
        _ daemon: TestDaemon, _ socket: Int32, _ events: Int32 = DebugEvent.all,
        _ handler: @escaping @Sendable (SeenEvent) throws -> Int32 = {
            $0.flag == DebugEvent.pending ? DebugResponse.acceptMonitor : DebugResponse.none
        }
    ) throws {
        let debug = try DebugClient(daemon, socket, events)
        let inquiries = try MessageClient(daemon)
        let record = Record()
        self.record = record
        thread = Background {
            while let event = try debug.event() {
                let seen = SeenEvent(
                    socket: event.sockfd, flag: event.eventFlag, newSocket: event.newSockfd,
                    state: try inquiries.state(event.sockfd), buffers: try inquiries.buffers(event.sockfd))
                #expect(event.isActive == (seen.tcpState != .listen))
                record.seen.withLock { $0.append(seen) }
                try debug.answer(try handler(seen))
            }
        }
    }

    /// What it has seen so far.
    var events: [SeenEvent] { record.seen.withLock { $0 } }

    /// Waits until nothing is left to debug, and returns all events.
    func finish() throws -> [SeenEvent] {
        if let error = thread.join() { throw error }
        return events
    }
}
