// socket, bind, listen, accept, connect, shutdown, close.
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

extension Plugin {
    /// The socket behind a descriptor: EBADF or ENOTSOCK if there is none.
    func socketEnd(_ number: Int32) -> Result<SocketEnd, CallFailure> {
        guard let descriptor = descriptors[number] else { return .failure(CallFailure(error: EBADF)) }
        guard let end = descriptor as? SocketEnd else { return .failure(CallFailure(error: ENOTSOCK)) }
        return .success(end)
    }

    /// Does `body` with the socket behind a descriptor.
    func withSocket(
        _ number: Int32, _ body: (SocketEnd) throws(SocketError) -> Outcome
    ) -> Outcome {
        switch socketEnd(number) {
        case .failure(let failure): return .failure(failure.error)
        case .success(let end):
            do { return try body(end) } catch { return .failure(error.errno) }
        }
    }

    /// socket(2).
    func socket(_ domain: Int32, _ type: Int32, _ protocolNumber: Int32) -> Outcome {
        let flagBits = nonBlockingType | closeOnExecType
        guard domain == AF_INET || domain == AF_INET6 else { return .failure(EAFNOSUPPORT) }
        guard type & ~flagBits == Int32(SOCK_STREAM.rawValue) else { return .failure(ESOCKTNOSUPPORT) }
        guard protocolNumber == 0 || protocolNumber == Int32(IPPROTO_TCP) else { return .failure(EPROTONOSUPPORT) }
        do {
            let socket = try layer.create(isIPv6: domain == AF_INET6, owner: nil)
            return add(socket, isNonBlocking: type & nonBlockingType != 0)
        } catch { return .failure(error.errno) }
    }

    private func add(_ socket: Socket, isNonBlocking: Bool) -> Outcome {
        switch descriptors.add({ SocketEnd(number: $0, socket: socket, flags.personality, at: now) }) {
        case .failure(let failure):
            layer.close(socket, aborting: true, at: now)
            return .failure(failure.error)
        case .success(let end):
            socket.owner = end
            if isNonBlocking { end.statusFlags |= O_NONBLOCK }
            return .value(Int(end.number))
        }
    }

    /// bind(2).
    func bind(_ number: Int32, _ address: UnsafePointer<sockaddr>?, _ length: socklen_t) -> Outcome {
        withSocket(number) { (end) throws(SocketError) in
            switch GivenAddress.read(address, length) {
            case .failure(let failure): return .failure(failure.error)
            case .success(.unspecified): return .failure(EAFNOSUPPORT)
            case .success(.endpoint(let endpoint)):
                try layer.bind(end.socket, to: endpoint)
                network.note(local: endpoint.address)
                return .success
            }
        }
    }

    /// listen(2).
    func listen(_ number: Int32, _ backlog: Int32) -> Outcome {
        withSocket(number) { (end) throws(SocketError) in
            try layer.listen(end.socket, backlog: Int(backlog), at: now)
            return .success
        }
    }

    /// accept(2).
    func accept(
        _ number: Int32, _ address: UnsafeMutablePointer<sockaddr>?, _ length: UnsafeMutablePointer<socklen_t>?
    ) -> Result<WaitingCall, CallFailure> {
        socketEnd(number).map { end in
            WaitingCall(deadline: deadline(end.receiveTimeout, .failure(EAGAIN))) { [unowned self] in
                do throws(SocketError) {
                    guard let accepted = try layer.accept(end.socket, owner: nil, at: now) else {
                        return end.isNonBlocking ? .failure(EAGAIN) : nil
                    }
                    if flags.personality == .freebsd, accepted.hasEnded {
                        // FreeBSD: who was reset while it waited is not handed out.
                        layer.close(accepted, aborting: true, at: now)
                        return .failure(ECONNABORTED)
                    }
                    if let remote = accepted.remoteName {
                        store(remote, isIPv6: accepted.isIPv6, address, length)
                    }
                    let outcome = add(accepted, isNonBlocking: false)
                    if case .value(let made) = outcome, let new = descriptors[Int32(made)] as? SocketEnd {
                        new.inherit(from: end)
                    }
                    return outcome
                } catch { return .failure(error.errno) }
            }
        }
    }

    /// connect(2).
    func connect(
        _ number: Int32, _ address: UnsafePointer<sockaddr>?, _ length: socklen_t
    ) -> Result<WaitingCall, CallFailure> {
        socketEnd(number).flatMap { end in
            GivenAddress.read(address, length).map { given in
                var isTried = false
                return WaitingCall(deadline: deadline(end.sendTimeout, .failure(EINPROGRESS))) { [unowned self] in
                    guard !isTried else { return progress(of: end, first: false) }
                    isTried = true
                    switch given {
                    case .unspecified:
                        layer.disconnect(end.socket, at: now)
                        end.connecting = .never
                        end.isReadingShut = false
                        end.isWritingShut = false
                        return .success
                    case .endpoint(let remote): return connect(end, to: remote)
                    }
                }
            }
        }
    }

    private func connect(_ end: SocketEnd, to remote: Endpoint) -> Outcome? {
        switch end.connecting {
        case .done: return .failure(EISCONN)
        // Linux: an attempt that is under way goes on; the call waits for it, or says so.
        case .begun:
            if end.connection?.isOpenDeferred ?? false { return .failure(EISCONN) }
            // FreeBSD: only the first call tells of the end.
            if flags.personality == .freebsd, end.socket.wasEstablished { return .failure(EISCONN) }
            return progress(of: end, first: false)
        case .never:
            if flags.personality == .freebsd, end.socket.listener != nil { return .failure(EOPNOTSUPP) }
            do {
                try layer.connect(end.socket, to: remote, at: now)
                end.connecting = .begun
                layer.run(at: now)
                // TCP_FASTOPEN_CONNECT: the SYN waits for the first bytes, and the caller does not.
                if end.connection?.isOpenDeferred ?? false { return .success }
                return progress(of: end, first: true)
            } catch { return .failure(error.errno) }
        }
    }

    /// What connect(2) says of an attempt; nil: undecided, and the call waits.
    private func progress(of end: SocketEnd, first: Bool) -> Outcome? {
        if end.socket.wasEstablished, !end.socket.hasEnded {
            end.connecting = .done
            return .success
        }
        if end.socket.hasEnded {
            let error = end.socket.pendingError
            end.socket.pendingError = 0
            end.connecting = .never
            return .failure(error == 0 ? ECONNABORTED : error)
        }
        guard end.isNonBlocking else { return nil }
        return .failure(first ? EINPROGRESS : EALREADY)
    }

    /// shutdown(2). The receiving side is a matter of the descriptor: what comes is still acknowledged and can be read (Linux).
    func shutdown(_ number: Int32, _ how: Int32) -> Outcome {
        withSocket(number) { (end) throws(SocketError) in
            guard (0...2).contains(how) else { return .failure(EINVAL) }
            if end.socket.listener != nil {
                // Linux: a listener that is shut for reading listens no more.
                if how != 1 { layer.disconnect(end.socket, at: now) }
                end.wake(Readiness.everything)
                return .success
            }
            guard end.connection != nil, !end.socket.hasEnded else { return .failure(ENOTCONN) }
            if end.socket.wasEstablished {
                if how != 0 { try layer.shutdown(end.socket, receiving: false, sending: true, at: now) }
            } else if flags.personality == .freebsd, let connection = end.connection {
                // FreeBSD: the FIN follows the handshake.
                if how != 0 { layer.host.shutdownSending(connection, at: now) }
            } else {
                // Linux: what has no peer yet is dissolved.
                layer.disconnect(end.socket, at: now)
                end.connecting = .never
            }
            if how != 1 { end.isReadingShut = true }
            if how != 0 { end.isWritingShut = true }
            if end.isReadingShut, let connection = end.connection, end.socket.wasEstablished {
                if flags.personality == .freebsd {
                    // FreeBSD: what is unread and what comes is gone.
                    layer.host.shutdownReceiving(connection, at: now)
                } else {
                    layer.host.refuseText(connection)
                }
            }
            end.wake(Readiness.everything)
            return .success
        }
    }

    /// close(2). With SO_LINGER it waits until the peer has acknowledged everything.
    func close(_ number: Int32) -> Result<WaitingCall, CallFailure> {
        guard let descriptor = descriptors[number] else { return .failure(CallFailure(error: EBADF)) }
        descriptors.remove(descriptor)
        guard let end = descriptor as? SocketEnd else {
            (descriptor as? PipeEnd)?.close()
            return .success(WaitingCall { .success })
        }
        let linger = end.socket.linger ?? 0
        let connection = end.connection
        layer.close(end.socket, aborting: false, at: now)
        return .success(
            WaitingCall(deadline: linger > 0 ? deadline(.seconds(Int64(linger)), .success) : nil) {
                guard linger > 0, let connection else { return .success }
                switch connection.state {
                case .finWait1, .closing, .lastAck: return nil
                case .closed, .listen, .synSent, .synReceived, .established, .finWait2, .closeWait, .timeWait:
                    return .success
                }
            })
    }

    /// When a call that begins now gives up, if it does.
    func deadline(_ patience: TimeInterval?, _ outcome: Outcome) -> (at: Int64, outcome: Outcome)? {
        patience.map { ((now + $0).nanoseconds, outcome) }
    }
}

/// SOCK_NONBLOCK and SOCK_CLOEXEC, which Swift shows as an enumeration's cases or not at all.
private let nonBlockingType: Int32 = 0x800
private let closeOnExecType: Int32 = 0x80000

extension SocketEnd {
    /// What an accepted socket has of its listener besides what the socket layer hands on.
    func inherit(from listening: SocketEnd) {
        connecting = .done
        receiveTimeout = listening.receiveTimeout
        sendTimeout = listening.sendTimeout
        receiveLowWater = listening.receiveLowWater
        tellsQueue = listening.tellsQueue
    }
}
