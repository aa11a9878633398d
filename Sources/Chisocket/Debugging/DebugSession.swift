// A debug connection and its thread: the daemon stops at a breakpoint, a handler answers, the daemon goes on.
import CLinux
import Glibc

/// What a handler is asked.
package struct DebugMoment {
    /// The daemon's number of the socket, and this process's descriptor of it (which the program may have closed).
    package let number: Int32
    package let descriptor: Int32
    /// One of DBG_EVT_…
    package let event: Int32
    /// The variables and buffers as of the event; nil for a listening socket.
    package let variables: SocketVariables?
    /// The descriptor that accept will give a pending connection, else -1.
    package let newDescriptor: Int32
}

/// Answers a moment with one of DBG_RESP_…
package typealias DebugAnswer = (DebugMoment) -> Int32

/// DBG_EVT_ and DBG_RESP_ as far as a session has to know them.
private enum Debugging {
    static let pendingConnection: Int32 = 8
    static let allEvents: Int32 = 15
    static let none: Int32 = 0
}

/// One socket's breakpoints, and those of the connections that a listening socket's handler has monitored too.
package final class DebugSession {
    private let connection: MessageConnection
    private let daemon: DaemonPath
    private let daemonID: UInt64
    private let answer: DebugAnswer
    /// The descriptors of its sockets, by the daemon's numbers.
    private var descriptors: [Int32: Int32]
    /// Numbers of pending connections for which this session reserved descriptors.
    private var reserved: Set<Int32> = []

    /// Sets breakpoints for `events` on a chisocket; `answer` runs on a thread of its own until the daemon closes the
    /// debug connection, because the socket and what is monitored with it have no breakpoints left.
    /// - Throws: EBADF or ENOTSOCK for no chisocket, EAGAIN if it has breakpoints already, EINVAL for no event or one
    ///   that does not exist.
    package static func start(
        on descriptor: Int32, events: Int32, daemon: DaemonPath = .standard, answer: @escaping DebugAnswer
    ) throws(ChisocketError) {
        guard events != 0, events & ~Debugging.allEvents == 0 else {
            throw ChisocketError(errno: EINVAL, call: "chitcpd_debug", context: "with event flags \(events)")
        }
        let session = try DebugSession(on: descriptor, events: events, daemon, answer)
        try session.runOnThread()
    }

    private init(
        on descriptor: Int32, events: Int32, _ daemon: DaemonPath, _ answer: @escaping DebugAnswer
    ) throws(ChisocketError) {
        let number = try DescriptorNumbers.number(of: descriptor, daemon: daemon)
        self.daemon = daemon
        self.answer = answer
        daemonID = try ThreadConnections.connection(to: daemon).daemonID
        descriptors = [number: descriptor]
        connection = try MessageConnection(daemon, debugging: number, events: events)
    }

    private func runOnThread() throws(ChisocketError) {
        // The program's signals are for its own threads.
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        var thread = pthread_t()
        let hand = Unmanaged.passRetained(self)
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<DebugSession>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, hand.toOpaque())
        guard result == 0 else {
            hand.release()
            throw ChisocketError(errno: result == EAGAIN ? ENOMEM : result, call: "chitcpd_debug")
        }
        pthread_detach(thread)
    }

    /// Answers events until the daemon closes the connection, or has gone.
    private func run() {
        clinux_name_thread("chitcp-debug")
        do throws(ChisocketError) {
            while let message = try connection.receive() {
                guard case .event(let event) = message else { break }
                try connection.send(DaemonRequest.response(respond(to: event)))
            }
        } catch {
            // The daemon went away, and its sockets with it: there is nothing left to debug.
        }
        ReservedDescriptors.release(numbers: reserved, daemonID: daemonID)
    }

    private func respond(to event: DaemonMessage.Event) -> Int32 {
        guard let descriptor = descriptors[event.socket] else { return Debugging.none }
        var variables: SocketVariables?
        if event.isActive {
            // A handler counts on the state of a connection; without it, it is not asked.
            guard let found = try? SocketInquiry.variables(of: event.socket, withBuffers: true, daemon: daemon) else {
                return Debugging.none
            }
            variables = found
        }
        var new: Int32 = -1
        if event.flag == Debugging.pendingConnection {
            new = ReservedDescriptors.reserve(number: event.newSocket, daemonID: daemonID)
            reserved.insert(event.newSocket)
            descriptors[event.newSocket] = new
        }
        return answer(
            DebugMoment(
                number: event.socket, descriptor: descriptor, event: event.flag, variables: variables,
                newDescriptor: new))
    }
}

/// Questions about a socket by the daemon's number of it.
package enum SocketInquiry {
    /// Its variables, as of its breakpoint if it stands at one; with the contents of its buffers if wanted.
    /// - Throws: EBADF if the daemon knows no such socket.
    package static func variables(
        of number: Int32, withBuffers: Bool, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> SocketVariables {
        let call = "chitcpd_get_socket_state"
        let connection = try ThreadConnections.messageConnection(to: daemon)
        let response = try connection.exchange(DaemonRequest.socketState(of: number), call: call)
        guard var variables = response.variables else { throw ChisocketError(errno: EPROTO, call: call) }
        if withBuffers {
            variables.buffers = try connection.exchange(DaemonRequest.bufferContents(of: number), call: call).buffers
        }
        return variables
    }

    /// Waits until it is in `state`, by chiTCP's numbers.
    package static func waitForState(
        _ state: Int32, of number: Int32, daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        let connection = try ThreadConnections.messageConnection(to: daemon)
        _ = try connection.exchange(
            DaemonRequest.waitForState(state, of: number), call: "chitcpd_wait_for_state")
    }
}
