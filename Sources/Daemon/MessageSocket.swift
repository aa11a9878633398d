// A socket of chiTCP's protocol: the calls on it that wait, and when each of them has its answer.
import DaemonProtocol
import FoundationEssentials
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

/// A call that waits. Its connection carries no other until it is answered.
final class ParkedCall {
    enum Kind {
        case accept
        case connect
        /// The bytes, and how many of them are queued.
        case send(Data, sent: Int)
        case receive(maximum: Int)
        case close
        case waitForState
    }

    weak var session: MessageSession?
    var kind: Kind
    /// Where it waits; with `waitForState` the socket of any kind.
    weak var socket: MessageSocket?
    var watched: Socket?

    init(_ kind: Kind, of session: MessageSession) {
        self.kind = kind
        self.session = session
    }
}

extension ParkedCall: StateWaiter {
    func stateWaitEnded(_ error: SocketError?, at now: Instant) {
        watched = nil
        session?.finish(self, error.map { .failure($0.messageErrno) } ?? .success(), at: now)
    }
}

/// A socket that its process knows by number.
final class MessageSocket: SocketOwner {
    private unowned let daemon: Daemon
    let socket: Socket
    private let process: MessageProcess
    /// In the order in which they came.
    private var calls: [ParkedCall] = []
    /// The state of which its owner and any debugger have heard.
    private var toldState: State
    var number: Int { socket.number }

    init(_ socket: Socket, of process: MessageProcess, uid: UInt32, daemon: Daemon) {
        self.daemon = daemon
        self.socket = socket
        self.process = process
        toldState = socket.state
        socket.owner = self
        socket.ownerPID = process.pid
        socket.ownerUID = uid
        daemon.layer.reportStates(of: socket)
        process.add(self)
    }

    // MARK: Calls

    /// Answers a call now, or keeps it until it can be answered.
    func perform(_ call: ParkedCall, at now: Instant) {
        calls.append(call)
        call.socket = self
        retry(at: now)
    }

    /// The call's connection has ended.
    func forget(_ call: ParkedCall) { calls.removeAll { $0 === call } }

    /// Answers what can be answered. Of the calls of a kind, the first to come is the first to be served.
    private func retry(at now: Instant) {
        var waiting: (accept: Bool, send: Bool, receive: Bool) = (false, false, false)
        for call in calls {
            let answer: ChitcpdResp?
            switch call.kind {
            case .accept:
                answer = waiting.accept ? nil : accept(call, at: now)
                waiting.accept = answer == nil
            case .send(let bytes, let sent):
                answer = waiting.send ? nil : send(call, bytes, sent, at: now)
                waiting.send = answer == nil
            case .receive(let maximum):
                answer = waiting.receive ? nil : receive(maximum, at: now)
                waiting.receive = answer == nil
            case .connect: answer = connected()
            case .close: answer = closed()
            case .waitForState: answer = nil
            }
            guard let answer else { continue }
            forget(call)
            call.session?.finish(call, answer, at: now)
        }
    }

    private func accept(_ call: ParkedCall, at now: Instant) -> ChitcpdResp? {
        guard let session = call.session else { return .failure(EBADF) }
        do throws(SocketError) {
            guard let new = try daemon.layer.accept(socket, owner: nil, at: now) else { return nil }
            _ = MessageSocket(new, of: session.process, uid: session.credentials.uid, daemon: daemon)
            var answer = ChitcpdResp.success(Int32(clamping: new.number))
            if let peer = new.remoteName { answer.addr = MessageAddress.storage(peer, isIPv6: new.isIPv6) }
            return answer
        } catch { return .failure(error.messageErrno) }
    }

    private func connected() -> ChitcpdResp? {
        if socket.isStopped { return nil }
        if socket.wasEstablished { return .success() }
        guard socket.hasEnded else { return nil }
        return .failure(takeError() ?? ECONNABORTED)
    }

    private func send(_ call: ParkedCall, _ bytes: Data, _ alreadySent: Int, at now: Instant) -> ChitcpdResp? {
        guard let connection = socket.connection else {
            return .failure(socket.listener == nil ? ENOTCONN : EOPNOTSUPP)
        }
        if socket.isStopped { return nil }
        var sent = alreadySent
        func stopped(_ error: Int32) -> ChitcpdResp { sent > 0 ? .success(Int32(sent)) : .failure(error) }
        guard socket.wasEstablished else { return stopped(ENOTCONN) }
        guard !socket.hasEnded else { return stopped(takeError() ?? EPIPE) }
        // Its end is about to be told.
        guard connection.state != .closed else { return nil }
        let queued = bytes.withUnsafeBytes { all in
            Result { () throws(ConnectionError) in
                try daemon.layer.host.send(connection, UnsafeRawBufferPointer(rebasing: all[sent...]), at: now)
            }
        }
        switch queued {
        case .success(let n): sent += n
        case .failure(let error): return stopped(error.errno)
        }
        if sent == bytes.count { return .success(Int32(sent)) }
        call.kind = .send(bytes, sent: sent)
        return nil
    }

    private func receive(_ maximum: Int, at now: Instant) -> ChitcpdResp? {
        guard let connection = socket.connection, socket.wasEstablished || socket.isStopped else {
            return .failure(ENOTCONN)
        }
        if socket.isStopped { return nil }
        let available = min(connection.receivedCount, maximum, MessageFrames.maximumData)
        if available > 0 {
            let bytes = [UInt8](unsafeUninitializedCapacity: available) { buffer, count in
                count = daemon.layer.host.receive(connection, into: UnsafeMutableRawBufferPointer(buffer), at: now)
            }
            var answer = ChitcpdResp.success(Int32(bytes.count))
            answer.buf = Data(bytes)
            return answer
        }
        if connection.isAtEndOfStream { return .success() }
        return socket.hasEnded ? .failure(takeError() ?? ENOTCONN) : nil
    }

    /// chiTCP's close returns when our FIN was acknowledged or the peer's has come as well (active), or with LAST-ACK
    /// (passive).
    private func closed() -> ChitcpdResp? {
        if socket.isStopped { return nil }
        if socket.hasEnded { return .success() }
        switch toldState {
        case .finWait2, .closing, .timeWait, .lastAck, .closed: return .success()
        case .listen, .synReceived, .synSent, .established, .finWait1, .closeWait: return nil
        }
    }

    private func takeError() -> Int32? {
        let error = socket.pendingError
        socket.pendingError = 0
        return error == 0 ? nil : error
    }

    // MARK: The end

    /// CLOSE: other calls that wait end, this one is answered by chiTCP's rule.
    func close(_ call: ParkedCall, at now: Instant) {
        let others = calls
        calls = []
        daemon.layer.close(socket, aborting: false, at: now)
        for other in others {
            var answer = ChitcpdResp.failure(EBADF)
            if case .send(_, let sent) = other.kind, sent > 0 { answer = .success(Int32(sent)) }
            if case .connect = other.kind { answer = .failure(ECONNABORTED) }
            other.session?.finish(other, answer, at: now)
        }
        if daemon.layer.socket(number: number) !== socket {
            // Nothing was left to end: the number is free.
            process.remove(self)
            call.session?.finish(call, .success(), at: now)
        } else {
            perform(call, at: now)
        }
    }

    /// The process is gone, and with it all who waited.
    func release(aborting: Bool, at now: Instant) {
        calls = []
        process.remove(self)
        if !socket.isClosed || aborting { daemon.layer.close(socket, aborting: aborting, at: now) }
    }

    // MARK: Events of the socket

    func socketEstablished(_ socket: Socket, at now: Instant) { retry(at: now) }
    func socketReadable(_ socket: Socket, at now: Instant) { retry(at: now) }
    func socketWritable(_ socket: Socket, at now: Instant) { retry(at: now) }
    func socketHasIncoming(_ socket: Socket, at now: Instant) { retry(at: now) }
    func socketResumed(_ socket: Socket, at now: Instant) { retry(at: now) }

    func socketStateChanged(_ socket: Socket, to state: State, at now: Instant) {
        toldState = state
        retry(at: now)
    }

    func socketClosed(_ socket: Socket, _ error: ConnectionError?, at now: Instant) {
        retry(at: now)
        if socket.isClosed { process.remove(self) }
    }
}
