// The calls of chiTCP's protocol, by code.
import CLinux
import DaemonProtocol
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

extension MessageSession {
    private var layer: SocketLayer { daemon.layer }

    /// Does what a message on a command connection asks for.
    func call(_ message: ChitcpdMsg, at now: Instant) {
        guard message.hasCode, Self.hasArguments(message) else {
            respond(.failure(EINVAL))
            return
        }
        do throws(SocketError) {
            switch message.code {
            case .socket: try makeSocket(message.socketArgs)
            case .bind:
                let socket = try open(message.bindArgs.sockfd)
                try layer.bind(socket.socket, to: try MessageAddress.endpoint(message.bindArgs.addr))
                respond(.success())
            case .listen:
                let socket = try open(message.listenArgs.sockfd).socket
                // Another listen(2) would change the backlog; chiTCP's is out of order.
                guard socket.state == .closed else { throw .invalidArgument }
                try layer.listen(socket, backlog: Int(message.listenArgs.backlog), at: now)
                respond(.success())
            case .accept:
                let socket = try open(message.acceptArgs.sockfd)
                guard socket.socket.listener != nil else { throw .invalidArgument }
                park(.accept, on: socket, at: now)
            case .connect:
                let socket = try open(message.connectArgs.sockfd)
                let remote = try MessageAddress.endpoint(message.connectArgs.addr)
                try layer.connect(socket.socket, to: remote, at: now)
                park(.connect, on: socket, at: now)
            case .send:
                let socket = try connected(message.sendArgs.sockfd)
                guard message.sendArgs.buf.count > 0 else { throw .invalidArgument }
                park(.send(message.sendArgs.buf, sent: 0), on: socket, at: now)
            case .recv:
                let socket = try connected(message.recvArgs.sockfd)
                guard message.recvArgs.len > 0 else { throw .invalidArgument }
                park(.receive(maximum: Int(message.recvArgs.len)), on: socket, at: now)
            case .close:
                let socket = try open(message.closeArgs.sockfd)
                let call = ParkedCall(.close, of: self)
                parked = call
                socket.close(call, at: now)
            case .getSocketState: try tellState(message.getSocketStateArgs.sockfd)
            case .getSocketBufferContents: try tellBuffers(message.getSocketBufferContentsArgs.sockfd)
            case .waitForState: try waitForState(message.waitForStateArgs, at: now)
            case .init_, .resp, .debug, .debugEvent: throw .invalidArgument
            }
        } catch { respond(.failure(error.messageErrno)) }
    }

    /// Whether the arguments of the message's code are there, with all that they must have.
    private static func hasArguments(_ message: ChitcpdMsg) -> Bool {
        switch message.code {
        case .socket: return message.hasSocketArgs && message.socketArgs.isInitialized
        case .bind: return message.hasBindArgs && message.bindArgs.isInitialized
        case .listen: return message.hasListenArgs && message.listenArgs.isInitialized
        case .accept: return message.hasAcceptArgs && message.acceptArgs.isInitialized
        case .connect: return message.hasConnectArgs && message.connectArgs.isInitialized
        case .send: return message.hasSendArgs && message.sendArgs.isInitialized
        case .recv: return message.hasRecvArgs && message.recvArgs.isInitialized
        case .close: return message.hasCloseArgs && message.closeArgs.isInitialized
        case .getSocketState: return message.hasGetSocketStateArgs && message.getSocketStateArgs.isInitialized
        case .getSocketBufferContents:
            return message.hasGetSocketBufferContentsArgs && message.getSocketBufferContentsArgs.isInitialized
        case .waitForState: return message.hasWaitForStateArgs && message.waitForStateArgs.isInitialized
        case .init_, .resp, .debug, .debugEvent: return true
        }
    }

    // MARK: Sockets by number

    /// The socket of any kind with this number.
    func anySocket(_ number: Int32) throws(SocketError) -> Socket {
        guard let socket = layer.socket(number: Int(number)), credentials.mayReach(socket) else { throw .badSocket }
        return socket
    }

    /// The socket of this protocol with this number.
    private func known(_ number: Int32) throws(SocketError) -> MessageSocket {
        guard let socket = daemon.messageSockets[Int(number)], credentials.mayReach(socket.socket) else {
            throw .badSocket
        }
        return socket
    }

    /// The same, unless it was closed: then its number is only kept until its connection has ended.
    private func open(_ number: Int32) throws(SocketError) -> MessageSocket {
        let socket = try known(number)
        guard !socket.socket.isClosed else { throw .badSocket }
        return socket
    }

    /// The same for SEND and RECV.
    private func connected(_ number: Int32) throws(SocketError) -> MessageSocket {
        let socket = try known(number)
        guard !socket.socket.isClosed else { throw .notConnected }
        return socket
    }

    private func park(_ kind: ParkedCall.Kind, on socket: MessageSocket, at now: Instant) {
        let call = ParkedCall(kind, of: self)
        parked = call
        socket.perform(call, at: now)
    }

    // MARK: Calls

    private func makeSocket(_ arguments: ChitcpdSocketArgs) throws(SocketError) {
        let isIPv6 = try SocketKind.isIPv6(
            domain: arguments.domain, type: arguments.type, protocol: arguments.protocol)
        let socket = try layer.create(isIPv6: isIPv6, owner: nil)
        _ = MessageSocket(socket, of: process, uid: credentials.uid, daemon: daemon)
        respond(.success(Int32(clamping: socket.number)))
    }

    private func tellState(_ number: Int32) throws(SocketError) {
        let socket = try anySocket(number)
        var answer = ChitcpdResp.success()
        answer.socketState = ChitcpdSocketState(layer.shownState(of: socket), layer.info(of: socket))
        respond(answer)
    }

    private func tellBuffers(_ number: Int32) throws(SocketError) {
        let socket = try anySocket(number)
        var answer = ChitcpdResp.success()
        answer.socketBufferContents = ChitcpdSocketBufferContents(layer.snapshot(of: socket))
        respond(answer)
    }

    private func waitForState(_ arguments: ChitcpdWaitForStateArgs, at now: Instant) throws(SocketError) {
        guard let value = UInt8(exactly: arguments.tcpState), let state = State(rawValue: value) else {
            throw .invalidArgument
        }
        if state == .closed, layer.socket(number: Int(arguments.sockfd)) == nil,
            layer.hasUsed(number: Int(arguments.sockfd))
        {
            respond(.success())
            return
        }
        let socket = try anySocket(arguments.sockfd)
        guard layer.shownState(of: socket) != state else {
            respond(.success())
            return
        }
        let call = ParkedCall(.waitForState, of: self)
        parked = call
        call.watched = socket
        layer.wait(call, for: state, of: socket)
    }
}

/// What socket(2) may be asked for.
enum SocketKind {
    /// True for IPv6, false for IPv4; anything but a TCP socket is an error.
    static func isIPv6(domain: Int32, type: Int32, protocol number: Int32) throws(SocketError) -> Bool {
        guard domain == AF_INET || domain == AF_INET6 else { throw .addressFamilyNotSupported }
        guard type & 0xF == Int32(SOCK_STREAM.rawValue) else { throw .socketTypeNotSupported }
        guard number == 0 || number == Int32(IPPROTO_TCP) else { throw .protocolNotSupported }
        return domain == AF_INET6
    }
}
