// A socket as the script sees it: the socket layer's, with what is a matter of the descriptor.
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

/// A descriptor of a TCP socket.
final class SocketEnd: Descriptor, SocketOwner {
    /// Where connect(2) stands.
    enum Connecting {
        case never
        /// A connect(2) has begun, and nobody has heard of its end.
        case begun
        case done
    }

    let socket: Socket
    var connecting = Connecting.never
    /// shutdown(2) of each direction.
    var isReadingShut = false, isWritingShut = false
    /// SO_RCVTIMEO, SO_SNDTIMEO; nil: none. SO_RCVLOWAT.
    var receiveTimeout: TimeInterval?, sendTimeout: TimeInterval?
    var receiveLowWater = 1
    /// TCP_INQ: recvmsg(2) tells how much is left.
    var tellsQueue = false
    /// Somebody found the send buffer full, and wants to hear of room.
    var isWaitingForRoom = false
    private(set) var times: Chronograph
    /// What decides how much a write takes, where that is Linux's way.
    var queue: LinuxSendQueue?
    /// Linux: the connection ended after the peer's FIN had come. Readers see the end of the stream, not why.
    private(set) var endedAfterPeer = false
    /// The last write ended a record (MSG_EOR).
    var hasEndedRecord = false

    init(number: Int32, socket: Socket, _ personality: Personality, at now: Instant) {
        self.socket = socket
        queue = personality == .linux ? LinuxSendQueue() : nil
        times = Chronograph(at: now)
        super.init(number: number)
    }

    var connection: Connection? { socket.connection }

    // MARK: Readiness

    /// The peer has ended its stream, or the connection is over.
    var hasPeerClosed: Bool {
        guard let connection, !socket.hasEnded else { return true }
        switch connection.state {
        case .closeWait, .closing, .lastAck, .timeWait, .closed: return true
        case .listen, .synSent, .synReceived, .established, .finWait1, .finWait2: return false
        }
    }

    var isReadingOver: Bool { isReadingShut || hasPeerClosed }
    var isWritingOver: Bool { isWritingShut || socket.hasEnded }

    /// Linux: a third of the buffer is free.
    private func isWritable(wake: Bool) -> Bool {
        guard let connection, socket.wasEstablished else { return true }
        if let queue { return queue.isWritable(connection, wake: wake) }
        let free = connection.sendSpace
        return free > 0 && 2 * free >= connection.sendQueued
    }

    /// Linux's tcp_poll.
    override var readiness: UInt32 {
        var ready: UInt32 = 0
        if let listener = socket.listener {
            return listener.acceptQueueCount > 0 ? Readiness.anyInput : 0
        }
        let isOver = connection == nil || socket.hasEnded
        if isOver || (isReadingOver && isWritingOver) { ready |= Readiness.hangUp }
        if connection != nil, isReadingOver { ready |= Readiness.anyInput | Readiness.readHangUp }
        if isOver || socket.wasEstablished {
            if (connection?.receivedCount ?? 0) >= max(1, receiveLowWater) { ready |= Readiness.anyInput }
            if isOver || isWritingOver || isWritable(wake: false) {
                ready |= Readiness.anyOutput
            } else {
                isWaitingForRoom = true
            }
        }
        if connection?.isOpenDeferred ?? false { ready |= Readiness.anyOutput }
        if socket.pendingError != 0 { ready |= Readiness.error }
        return ready
    }

    /// Looks at what has become of the connection.
    func notice(at now: Instant) {
        if let connection { times.look(at: connection, wantsRoom: isWaitingForRoom, now: now) }
        guard isWaitingForRoom, isWritable(wake: true) else { return }
        isWaitingForRoom = false
        wake(Readiness.anyOutput)
    }

    // MARK: Events of the socket

    func socketEstablished(_ socket: Socket, at now: Instant) { wake(Readiness.everything) }
    func socketReadable(_ socket: Socket, at now: Instant) {
        wake(hasPeerClosed ? Readiness.everything : Readiness.anyInput)
    }
    func socketWritable(_ socket: Socket, at now: Instant) {}
    func socketClosed(_ socket: Socket, _ error: ConnectionError?, at now: Instant) {
        if queue != nil, let connection, connection.hasReceivedFin {
            endedAfterPeer = true
            // Linux: who closed is not expected to read any more; whoever writes to it hears that.
            if error == .reset { socket.pendingError = EPIPE }
        }
        wake(Readiness.everything)
    }
    func socketHasIncoming(_ socket: Socket, at now: Instant) { wake(Readiness.anyInput) }
    func socketResumed(_ socket: Socket, at now: Instant) {}
}
