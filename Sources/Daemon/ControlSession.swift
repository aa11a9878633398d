// One control connection: requests of this project's library, one record a packet.
import CLinux
import ControlRecords
import Glibc
import NetworkLayer
import SocketLayer
import TCPEngine
import TCPSegments

/// A client's control connection. A malformed record costs the client its connection and nobody else anything.
final class ControlSession: ClientSession {
    unowned let daemon: Daemon
    private let descriptor: Int32
    let credentials: ClientCredentials
    private(set) var isClosed = false
    /// What it watches, until it is closed.
    var capture: LiveCapture?

    init?(_ descriptor: Int32, daemon: Daemon) {
        guard let credentials = ClientCredentials(of: descriptor, daemon.configuration.admission) else { return nil }
        self.daemon = daemon
        self.descriptor = descriptor
        self.credentials = credentials
        do { try daemon.loop.register(descriptor, self, for: .requests) } catch {
            daemon.log.warning("\(error)")
            return nil
        }
    }

    /// One request a turn: the loop tells again if there are more, after others got theirs.
    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        guard !isClosed else { return }
        var request = chitcp_request()
        var passed: Int32 = -1
        let n = clinux_receive_descriptor(
            descriptor, &request, MemoryLayout<chitcp_request>.size, &passed, Int32(MSG_DONTWAIT))
        if n < 0, errno == EINTR || errno == EAGAIN { return }
        guard n == MemoryLayout<chitcp_request>.size, request.magic == CHITCP_CONTROL_MAGIC,
            request.data_length <= CHITCP_DATA_MAX
        else {
            if passed >= 0 { Glibc.close(passed) }
            if n > 0 {
                daemon.log.warning("closed a control connection of process \(credentials.pid): malformed record")
            }
            close(at: now)
            return
        }
        handle(request, passed: passed, at: now)
    }

    /// Answers a request; `fill` sets what differs from plain success.
    func respond(
        to request: chitcp_request, passing end: Int32 = -1, _ fill: (inout chitcp_response) -> Void = { _ in }
    ) {
        guard !isClosed else { return }
        var response = chitcp_response()
        response.magic = CHITCP_CONTROL_MAGIC
        response.operation = request.operation
        response.call = request.call
        response.socket_id = request.socket_id
        fill(&response)
        let n = clinux_send_descriptor(
            descriptor, &response, MemoryLayout<chitcp_response>.size, end, Int32(MSG_DONTWAIT))
        // A client that does not read its answers loses its connection, and holds up nobody.
        if n < 0, errno != EINTR { close(at: EventLoop.now()) }
    }

    func fail(_ request: chitcp_request, _ error: Int32) {
        respond(to: request) {
            $0.result = -1
            $0.error = error
        }
    }

    // MARK: Requests

    private func handle(_ request: chitcp_request, passed: Int32, at now: Instant) {
        var passed = passed
        defer { if passed >= 0 { Glibc.close(passed) } }
        guard credentials.mayUse else {
            daemon.turnAway(credentials)
            fail(request, EACCES)
            return
        }
        switch request.operation {
        case CHITCP_OP_HELLO.rawValue: respond(to: request) { $0.value = daemon.daemonID }
        case CHITCP_OP_SOCKET.rawValue: makeSocket(request)
        case CHITCP_OP_LIST.rawValue: list(request)
        case CHITCP_OP_TOTALS.rawValue: respond(to: request) { $0.setData(totals) }
        case CHITCP_OP_CAPTURE.rawValue: beginCapture(request, passed: &passed)
        case CHITCP_OP_IMPAIR.rawValue: impair(request)
        case CHITCP_OP_IMPAIR_CLEAR.rawValue: clearImpairments(request, at: now)
        case CHITCP_OP_IMPAIR_LIST.rawValue: listImpairment(request)
        case CHITCP_OP_BIND.rawValue, CHITCP_OP_LISTEN.rawValue, CHITCP_OP_CONNECT.rawValue,
            CHITCP_OP_SHUTDOWN.rawValue, CHITCP_OP_NAMES.rawValue, CHITCP_OP_SET_OPTION.rawValue,
            CHITCP_OP_GET_OPTION.rawValue, CHITCP_OP_ABORT.rawValue, CHITCP_OP_OPTIONS.rawValue,
            CHITCP_OP_QUEUES.rawValue:
            guard let owner = daemon.descriptorSockets[request.socket_id], let socket = owner.socket else {
                lateRequest(request)
                return
            }
            do throws(SocketError) {
                if request.operation == CHITCP_OP_CONNECT.rawValue {
                    try connect(owner, socket, request, passed: &passed, at: now)
                } else {
                    try call(owner, socket, request, at: now)
                }
            } catch { fail(request, error.errno) }
        default: fail(request, EOPNOTSUPP)
        }
    }

    /// A socket whose connection has failed is gone here, but its error may still be asked for.
    private func lateRequest(_ request: chitcp_request) {
        if request.operation == CHITCP_OP_CONNECT.rawValue {
            // How the last attempt went, once; then the client takes another descriptor.
            let error = daemon.takeLateError(request.socket_id) ?? 0
            fail(request, error == 0 ? EBADF : error)
            return
        }
        guard request.operation == CHITCP_OP_GET_OPTION.rawValue, request.argument.0 == SOL_SOCKET,
            request.argument.1 == SO_ERROR, let error = daemon.takeLateError(request.socket_id)
        else {
            let asksForConnection =
                request.operation == CHITCP_OP_NAMES.rawValue || request.operation == CHITCP_OP_SHUTDOWN.rawValue
            fail(request, asksForConnection ? ENOTCONN : EBADF)
            return
        }
        respond(to: request) { $0.setData(error) }
    }

    private func makeSocket(_ request: chitcp_request) {
        let isIPv6: Bool
        do {
            isIPv6 = try SocketKind.isIPv6(
                domain: request.argument.0, type: request.argument.1, protocol: request.argument.2)
        } catch {
            fail(request, error.errno)
            return
        }
        let made: (DescriptorSocket, applicationEnd: Int32)
        do { made = try DescriptorSocket.make(for: daemon, connecting: true) } catch {
            fail(request, error.errno)
            return
        }
        do {
            let socket = try daemon.layer.create(isIPv6: isIPv6, owner: made.0)
            socket.ownerPID = credentials.pid
            socket.ownerUID = credentials.uid
            made.0.attach(socket)
            daemon.descriptorSockets[made.0.id] = made.0
        } catch {
            Glibc.close(made.applicationEnd)
            made.0.release(aborting: true, at: EventLoop.now())
            fail(request, error.errno)
            return
        }
        respond(to: request, passing: made.applicationEnd) {
            $0.socket_id = made.0.id
            $0.argument.1 = Int32(clamping: made.0.socket?.number ?? -1)
        }
        Glibc.close(made.applicationEnd)
    }

    private func connect(
        _ owner: DescriptorSocket, _ socket: Socket, _ request: chitcp_request, passed: inout Int32, at now: Instant
    ) throws(SocketError) {
        guard let remote = endpoint(of: request.address) else { throw .addressFamilyNotSupported }
        // What is plugged and closed here is the application's end of this socket and nothing else.
        guard passed >= 0, owner.isApplicationEnd(passed) else { throw .invalidArgument }
        do { try daemon.layer.connect(socket, to: remote, at: now) } catch .isConnected where socket.connection != nil {
            try owner.connectAgain()
            respond(to: request)
            return
        } catch .alreadyConnecting where owner.opensWithFirstWrite {
            throw .isConnected
        } catch .alreadyConnecting where request.argument.0 == 0 && owner.mayWaitToo {
            // A caller that waits joins the attempt that is under way.
        }
        owner.parkConnect(self, request, applicationEnd: passed)
        passed = -1
        if socket.connection?.isOpenDeferred ?? false {
            owner.connectedWithFirstWrite(socket, at: now)
            return
        }
        if request.argument.0 == 1 {
            fail(request, EINPROGRESS)
            owner.answerNobody()
        }
    }

    private func call(
        _ owner: DescriptorSocket, _ socket: Socket, _ request: chitcp_request, at now: Instant
    ) throws(SocketError) {
        switch request.operation {
        case CHITCP_OP_BIND.rawValue:
            guard let local = endpoint(of: request.address) else { throw .addressFamilyNotSupported }
            try daemon.layer.bind(socket, to: local)
            respond(to: request) { $0.local = controlAddress(socket.localName, isIPv6: socket.isIPv6) }
        case CHITCP_OP_LISTEN.rawValue:
            try daemon.layer.listen(socket, backlog: Int(request.argument.0), at: now)
            owner.startedListening()
            respond(to: request) { $0.local = controlAddress(socket.localName, isIPv6: socket.isIPv6) }
        case CHITCP_OP_SHUTDOWN.rawValue:
            let how = request.argument.0
            guard (0...2).contains(how) else { throw .invalidArgument }
            try owner.shutdown(receiving: how != 1, sending: how != 0, at: now)
            respond(to: request)
        case CHITCP_OP_NAMES.rawValue:
            respond(to: request) {
                $0.local = controlAddress(socket.localName, isIPv6: socket.isIPv6)
                $0.remote = controlAddress(
                    socket.wasEstablished || owner.opensWithFirstWrite ? socket.remoteName : nil, isIPv6: socket.isIPv6)
                $0.argument.0 = Int32(socket.state.rawValue)
                $0.argument.1 = Int32(clamping: socket.number)
                $0.argument.2 = socket.isIPv6 ? AF_INET6 : AF_INET
            }
        case CHITCP_OP_SET_OPTION.rawValue:
            let room = try setOption(socket, of: owner, request, at: now)
            respond(to: request) { $0.argument.0 = room }
        case CHITCP_OP_GET_OPTION.rawValue:
            let value = try option(socket, request)
            respond(to: request) { $0.setBytes(value) }
        case CHITCP_OP_OPTIONS.rawValue: respond(to: request) { $0.setBytes(history(of: socket)) }
        case CHITCP_OP_QUEUES.rawValue:
            let connection = socket.connection
            respond(to: request) {
                $0.argument.0 = Int32(clamping: (connection?.sendQueued ?? 0) + owner.unread)
                $0.argument.1 = Int32(clamping: (connection?.unsentBytes ?? 0) + owner.unread)
            }
        case CHITCP_OP_ABORT.rawValue:
            owner.release(aborting: true, at: now)
            respond(to: request)
        default: throw .invalidArgument
        }
    }

    private func list(_ request: chitcp_request) {
        guard let socket = daemon.layer.socket(from: Int(request.argument.0)) else {
            fail(request, ENOENT)
            return
        }
        var status = socketStatus(socket)
        status.socket_id = (socket.owner as? DescriptorSocket)?.id ?? 0
        respond(to: request) { response in
            response.result = Int32(socket.number)
            response.socket_id = status.socket_id
            response.setData(status)
        }
    }

    func close(at now: Instant) {
        guard !isClosed else { return }
        isClosed = true
        if let capture { daemon.end(capture) }
        daemon.loop.deregister(descriptor)
        Glibc.close(descriptor)
        daemon.forget(self)
    }
}

extension chitcp_response {
    /// Puts a trivial value into the data field.
    mutating func setData<T: BitwiseCopyable>(_ value: T) {
        let size = MemoryLayout<T>.size
        guard size <= Int(CHITCP_DATA_MAX) else { return }
        withUnsafeMutableBytes(of: &data) { $0.storeBytes(of: value, as: T.self) }
        data_length = UInt32(size)
    }
}
