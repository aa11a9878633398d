// A socket that the application holds as a real descriptor: the pump between the daemon's end of a UNIX stream socketpair
// and the socket's connection.
import CLinux
import ControlRecords
import Glibc
import NetworkLayer
import SocketLayer
import TCPEngine
import TCPSegments

/// One application socket, seen from the daemon.
final class DescriptorSocket: EventHandler, SocketOwner {
    unowned let daemon: Daemon
    var end: DescriptorEnd
    private(set) var socket: Socket?
    let id: UInt64

    /// Messages that were read lie in the descriptor; it is among the daemon's `untidyEnds`.
    var isUntidy = false
    /// The application has marked urgent data that was not read yet.
    var isUrgentAhead = false
    private var canWrite = true
    private var sawReadHangup = false
    private var sawHangup = false
    private var finDelivered = false
    /// The connection failed: what was received is still to be written, then the end is closed.
    private var failed = false
    private var isClosed = false
    /// A duplicate of the application's end while it connects (design section 6, Connecting).
    private var applicationEnd: Int32 = -1
    /// Bytes in front of the sentinel that keep the application's end from looking writable until it is connected.
    private var plug: Int
    /// Who waits for the connection; the second and later ones have called connect(2) again.
    private var pendingConnects: [(session: ControlSession, request: chitcp_request)] = []
    /// The connection was made for a caller that did not wait: its next connect(2) says so once, as in Linux.
    private var owesSuccess = false
    /// Its connect(2) succeeded before there was a connection.
    private(set) var opensWithFirstWrite = false
    /// Listening: connections given to the application and, as far as is known, not taken; and one that did not fit.
    private var handedOver: [DescriptorSocket] = []
    private var undelivered: (socket: DescriptorSocket, end: Int32)?
    private var recordCost = 0
    /// Its listener was closed with untaken connections, perhaps this one: then a hang-up until this time is a reset.
    private var untakenUntil: Instant?

    /// More than a third of the smallest send buffer there is: from there on poll(2) shows no room.
    private static let plugSize = 1500

    /// Makes a pair, registers the daemon's end, and returns it with the application's end. That shows no room to write if it
    /// still has to be connected (`connecting`).
    static func make(
        for daemon: Daemon, connecting: Bool
    ) throws(SystemError) -> (DescriptorSocket, applicationEnd: Int32) {
        var ends: [Int32] = [-1, -1]
        guard clinux_socketpair(&ends) == 0 else { throw SystemError("cannot make a socket") }
        daemon.lastDescriptorID += 1
        let plug = connecting ? plugSize : 0
        let new = DescriptorSocket(daemon: daemon, descriptor: ends[0], id: daemon.lastDescriptorID, plug: plug)
        DescriptorEnd.setSendBuffer(ends[1], connecting ? 0 : DescriptorEnd.bufferSize)
        guard nameEnd(ends[1], daemon: daemon.daemonID, id: new.id),
            send(ends[1], daemon.scratch.baseAddress, plug + 1, Int32(MSG_DONTWAIT)) == plug + 1
        else {
            let error = errno
            close(ends[0])
            close(ends[1])
            throw SystemError("cannot make a socket", errno: error)
        }
        do { try daemon.loop.register(ends[0], new, for: .input) } catch {
            close(ends[0])
            close(ends[1])
            throw error
        }
        return (new, ends[1])
    }

    private init(daemon: Daemon, descriptor: Int32, id: UInt64, plug: Int) {
        self.daemon = daemon
        self.id = id
        self.plug = plug
        end = DescriptorEnd(descriptor: descriptor)
    }

    private var descriptor: Int32 { end.descriptor }

    func attach(_ socket: Socket) { self.socket = socket }

    /// Binds the application's end to its abstract name, by which any process that inherits it is recognised.
    private static func nameEnd(_ fd: Int32, daemon: UInt64, id: UInt64) -> Bool {
        var (address, length) = name(daemon: daemon, id: id)
        return withUnsafePointer(to: &address) { p in
            p.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(fd, $0, length) }
        } == 0
    }

    private static func name(daemon: UInt64, id: UInt64) -> (address: sockaddr_un, length: socklen_t) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let nameLength = withUnsafeMutableBytes(of: &address.sun_path) { path in
            // Bounds: a zero, the prefix, twice at most 16 digits and a slash are 41 of 108 bytes.
            var count = 1
            func put(_ byte: UInt8) {
                path[count] = byte
                count += 1
            }
            func put(hexadecimal value: UInt64) {
                for digit in (0...max(0, 15 - value.leadingZeroBitCount / 4)).reversed() {
                    let nibble = UInt8(value >> UInt64(4 * digit) & 0xF)
                    put(nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + nibble - 10)
                }
            }
            for byte in CHITCP_NAME_PREFIX.utf8 { put(byte) }
            put(hexadecimal: daemon)
            put(UInt8(ascii: "/"))
            put(hexadecimal: id)
            return count
        }
        return (address, socklen_t(MemoryLayout<sa_family_t>.size + nameLength))
    }

    /// True if `fd` is the application's end of this socket: only that bears its name.
    func isApplicationEnd(_ fd: Int32) -> Bool {
        var (expected, length) = Self.name(daemon: daemon.daemonID, id: id)
        var found = sockaddr_un()
        var foundLength = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &found) { p in
            p.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(fd, $0, &foundLength) }
        }
        return result == 0 && foundLength == length && memcmp(&found, &expected, Int(length)) == 0
    }

    // MARK: Connecting

    /// True while one more connect() may wait for the attempt under way: not many threads share a descriptor.
    var mayWaitToo: Bool { pendingConnects.count < 64 }

    /// Parks a connect(): the application's end shows nothing until it is decided.
    func parkConnect(_ session: ControlSession, _ request: chitcp_request, applicationEnd fd: Int32) {
        pendingConnects.append((session, request))
        guard applicationEnd < 0 else {
            close(fd)
            return
        }
        applicationEnd = fd
    }

    func socketEstablished(_ socket: Socket, at now: Instant) {
        if applicationEnd >= 0 {
            // Raising the buffer wakes whoever polls for EPOLLOUT; then the plug goes, but for the sentinel.
            DescriptorEnd.setSendBuffer(applicationEnd, writersRoom ?? DescriptorEnd.bufferSize)
            end.removePlug(plug, using: daemon.scratch)
            plug = 0
            close(applicationEnd)
            applicationEnd = -1
        }
        answerConnect(0)
        pump(at: now)
    }

    /// TCP_FASTOPEN_CONNECT with a cookie: as on Linux, connect(2) succeeds and the first write opens the connection.
    func connectedWithFirstWrite(_ socket: Socket, at now: Instant) {
        opensWithFirstWrite = true
        socketEstablished(socket, at: now)
    }

    /// The client does not wait (EINPROGRESS): readiness tells it.
    func answerNobody() {
        pendingConnects.removeLast()
        owesSuccess = true
    }

    /// connect(2) on a connection that stands: 0 once for a caller that did not wait for it, then EISCONN.
    func connectAgain() throws(SocketError) {
        guard owesSuccess else { throw .isConnected }
        owesSuccess = false
    }

    /// shutdown(2). FIN follows what the application has written, as soon as the send buffer takes it.
    func shutdown(receiving: Bool, sending: Bool, at now: Instant) throws(SocketError) {
        guard let socket else { throw .notConnected }
        try daemon.layer.shutdown(socket, receiving: receiving, sending: false, at: now)
        guard sending else { return }
        sawReadHangup = true
        pumpFromApplication(at: now)
    }

    /// Makes the buffers between application and daemon as large as the options want them, as far as the daemon can. Returns
    /// the send buffer that the application's end is to have; 0: leave it.
    func fitBuffers(to socket: Socket) -> Int32 {
        guard socket.hasSettings, socket.listener == nil else { return 0 }
        if let size = socket.settings.receiveBuffer { end.fixBuffer(Int32(clamping: size / 2)) }
        guard socket.wasEstablished, applicationEnd < 0, let room = writersRoom else { return 0 }
        return room
    }

    /// The send buffer of the application's end, if an option decides it.
    private var writersRoom: Int32? {
        guard let socket, socket.hasSettings else { return nil }
        let settings = socket.settings
        guard settings.sendBuffer != nil || settings.unsentLimit != nil else { return nil }
        return Int32(clamping: max(1, min(settings.sendBuffer ?? .max, settings.unsentLimit ?? .max) / 2))
    }

    private func answerConnect(_ error: Int32) {
        guard !pendingConnects.isEmpty else { return }
        // Whoever waits has the error; SO_ERROR does not give it again.
        if error != 0 { socket?.pendingError = 0 }
        owesSuccess = false
        let isIPv6 = socket?.isIPv6 ?? false
        for (session, request) in pendingConnects {
            session.respond(to: request) { r in
                r.socket_id = id
                r.result = error == 0 ? 0 : -1
                r.error = error
                r.local = controlAddress(socket?.localName, isIPv6: isIPv6)
                r.remote = controlAddress(socket?.remoteName, isIPv6: isIPv6)
            }
        }
        pendingConnects = []
    }

    // MARK: Events of the socket

    func socketReadable(_ socket: Socket, at now: Instant) { pumpToApplication(at: now) }

    func socketWritable(_ socket: Socket, at now: Instant) { pumpFromApplication(at: now) }

    func socketResumed(_ socket: Socket, at now: Instant) { pump(at: now) }

    func socketClosed(_ socket: Socket, _ error: ConnectionError?, at now: Instant) {
        answerConnect(error?.errno ?? ECONNABORTED)
        if applicationEnd >= 0 {
            close(applicationEnd)
            applicationEnd = -1
        }
        if error != nil { failed = true }
        pumpToApplication(at: now)
    }

    // MARK: Readiness

    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        guard !isClosed else { return }
        if readiness.contains(.writable) { canWrite = true }
        if readiness.contains(.urgent) { isUrgentAhead = true }
        if readiness.contains(.readHangup) { sawReadHangup = true }
        if readiness.contains(.hangup) { sawHangup = true }
        if let socket, socket.listener != nil {
            listenerReady(socket, at: now)
        } else {
            pump(at: now)
        }
    }

    private func pump(at now: Instant) {
        pumpFromApplication(at: now)
        if !isClosed { pumpToApplication(at: now) }
    }

    // MARK: From the application

    /// Moves what the application wrote into the send buffer, then acts on its end of stream.
    private func pumpFromApplication(at now: Instant) {
        guard !isClosed, applicationEnd < 0, let socket, !socket.isStopped else { return }
        guard let connection = socket.connection else {
            if sawHangup { release(aborting: false, at: now) }
            return
        }
        if sawHangup, end.takeReset() || (wasUntaken(connection, at: now) && end.unread == 0) {
            // close(2) with unread bytes resets, as the kernel's TCP does (RFC 2525 2.17).
            release(aborting: true, at: now)
            return
        }
        do {
            guard try moveAll(into: connection, at: now) else { return }
        } catch {
            // The connection takes no more: what the application still writes goes nowhere.
            end.tidy(using: daemon.scratch)
            end.discard(end.unread, using: daemon.scratch)
        }
        // What left with a SYN, or is to follow it, is not lost because the application is gone already: a write that had to
        // wait for the connection would have kept it.
        if connection.state == .synSent, connection.sendQueued > 0 { return }
        if sawHangup {
            release(aborting: false, at: now)
        } else if sawReadHangup, socket.wasEstablished {
            daemon.layer.host.shutdownSending(connection, at: now)
        }
    }

    /// Moves everything that is unread into the send buffer; false if that is full. What comes meanwhile is told by the next
    /// edge.
    private func moveAll(into connection: Connection, at now: Instant) throws(ConnectionError) -> Bool {
        if isUrgentAhead, try !moveUrgent(into: connection, at: now) { return false }
        let host = daemon.layer.host
        let room = UnsafeMutableRawBufferPointer(rebasing: daemon.scratch[..<(Self.smallSize + end.staleBytes)])
        let fresh = end.peek(into: room)
        if fresh.isEmpty { return true }
        if fresh.endIndex < room.endIndex {
            // A small message costs one system call, now and then two, and one copy more.
            let n = try host.send(connection, UnsafeRawBufferPointer(rebasing: room[fresh]), at: now)
            // What stays takes room from the writer, who may have asked for very little.
            if end.consumePeeked(n, lazily: writersRoom == nil, using: daemon.scratch) {
                daemon.untidyEnds.add(self, at: now)
            }
            return n == fresh.count
        }
        end.tidy(using: daemon.scratch)
        var available = end.unread
        while available > 0 {
            let moved = try host.withSendSpace(connection, maximum: available, at: now) {
                end.read(into: $0, available: available)
            }
            if moved == 0 { return false }
            available = end.unread
        }
        return true
    }

    private static let smallSize = 1024

    /// Takes messages that were read out of the descriptor.
    func tidy() {
        isUntidy = false
        if !isClosed { end.tidy(using: daemon.scratch) }
    }

    // MARK: To the application

    /// Writes what was received to the application, then the end of the stream or the reset.
    private func pumpToApplication(at now: Instant) {
        guard !isClosed, let socket, let connection = socket.connection, socket.wasEstablished || failed,
            !socket.isStopped
        else { return }
        while canWrite {
            var refused: Int32 = 0
            let n = daemon.layer.host.withReceivedBytes(connection, at: now) { bytes in
                guard let base = bytes.baseAddress, bytes.count > 0 else { return 0 }
                let n = write(UnsafeRawBufferPointer(start: base, count: bytes.count), of: connection)
                if n < 0 { refused = errno }
                return max(0, n)
            }
            if refused == EAGAIN {
                canWrite = false
                daemon.loop.watchEverything(descriptor)
            } else if refused != 0, refused != EINTR {
                // Nobody reads any more (shutdown(SHUT_RD), or gone): acknowledge and discard.
                if !sawHangup { daemon.layer.host.shutdownReceiving(connection, at: now) }
                break
            }
            if n == 0, refused != EINTR { break }
        }
        guard connection.receivedCount == 0 else { return }
        if failed {
            // Closed with its unread byte in place: the application reads ECONNRESET.
            release(aborting: true, at: now)
        } else if connection.isAtEndOfStream, !finDelivered {
            finDelivered = true
            Glibc.shutdown(descriptor, Int32(SHUT_WR))
        }
    }

    // MARK: Listening

    /// The application's accepts are of interest from now on: they show as room to write.
    func startedListening() { daemon.loop.watchEverything(descriptor) }

    func socketHasIncoming(_ socket: Socket, at now: Instant) { deliverIncoming(socket, at: now) }

    private func listenerReady(_ socket: Socket, at now: Instant) {
        if sawHangup {
            // A closing listener resets the connections that lie untaken in its descriptor. The kernel closes their ends a
            // moment later and does not say which were taken: those that nobody wrote to, and that hang up at once, were not.
            if end.takeReset() {
                for connection in handedOver { connection.untakenUntil = now + Self.untakenGrace }
                for connection in handedOver { connection.pump(at: now) }
            }
            handedOver = []
            release(aborting: false, at: now)
            return
        }
        deliverIncoming(socket, at: now)
    }

    private static let untakenGrace = TimeInterval.seconds(1)

    private func wasUntaken(_ connection: Connection, at now: Instant) -> Bool {
        guard let untakenUntil else { return false }
        return now < untakenUntil && connection.info.bytesSent == 0 && connection.sendQueued == 0
    }

    /// Forgets the connections that the application has taken since the last look.
    private func noteTaken(_ socket: Socket) {
        let waiting = recordCost > 0 ? Int(clinux_unsent(descriptor)) / recordCost : 0
        if handedOver.count > waiting { handedOver.removeFirst(handedOver.count - max(0, waiting)) }
        socket.listener?.handedOver = handedOver.count + (undelivered == nil ? 0 : 1)
    }

    private func deliverIncoming(_ socket: Socket, at now: Instant) {
        guard let listener = socket.listener else { return }
        noteTaken(socket)
        if let waiting = undelivered {
            undelivered = nil
            guard deliver(waiting.socket, applicationEnd: waiting.end, through: socket, at: now) else { return }
        }
        while handedOver.count <= listener.backlog, listener.acceptQueueCount > listener.handedOver {
            let made: (DescriptorSocket, applicationEnd: Int32)
            do { made = try DescriptorSocket.make(for: daemon, connecting: false) } catch {
                daemon.pauseAccepting(self, because: error.description)
                return
            }
            let new = made.0
            do {
                guard let accepted = try daemon.layer.accept(socket, owner: new, at: now) else {
                    new.discardUnused(made.applicationEnd)
                    return
                }
                accepted.ownerPID = socket.ownerPID
                accepted.ownerUID = socket.ownerUID
                new.attach(accepted)
                let room = new.fitBuffers(to: accepted)
                if room > 0 { DescriptorEnd.setSendBuffer(made.applicationEnd, room) }
                daemon.descriptorSockets[new.id] = new
            } catch {
                new.discardUnused(made.applicationEnd)
                daemon.pauseAccepting(self, because: "no socket is free (--max-sockets)")
                return
            }
            guard deliver(new, applicationEnd: made.applicationEnd, through: socket, at: now) else { return }
        }
        socket.listener?.handedOver = handedOver.count
    }

    /// accept(2) is one recvmsg(2) of this record. False if the descriptor is full: it is tried again when it is not.
    private func deliver(_ new: DescriptorSocket, applicationEnd: Int32, through socket: Socket, at now: Instant)
        -> Bool
    {
        var record = chitcp_accepted()
        record.magic = CHITCP_CONTROL_MAGIC
        record.socket_id = new.id
        record.number = Int32(clamping: new.socket?.number ?? -1)
        record.local = controlAddress(new.socket?.localName, isIPv6: socket.isIPv6)
        record.remote = controlAddress(new.socket?.remoteName, isIPv6: socket.isIPv6)
        var n = 0
        repeat {
            n = clinux_send_descriptor(
                descriptor, &record, MemoryLayout<chitcp_accepted>.size, applicationEnd, Int32(MSG_DONTWAIT))
        } while n < 0 && errno == EAGAIN && end.enlargeBuffer()
        guard n > 0 else {
            undelivered = (new, applicationEnd)
            socket.listener?.handedOver = handedOver.count + 1
            return false
        }
        close(applicationEnd)
        if recordCost == 0 { recordCost = Int(clinux_unsent(descriptor)) }
        handedOver.append(new)
        socket.listener?.handedOver = handedOver.count
        new.begin(at: now)
        return true
    }

    /// An accepted connection may have received, or have ended, before it had an owner.
    private func begin(at now: Instant) {
        guard let socket, let connection = socket.connection else { return }
        if connection.state == .closed, !connection.isAtEndOfStream { failed = true }
        pumpToApplication(at: now)
    }

    private func discardUnused(_ applicationEnd: Int32) {
        close(applicationEnd)
        shutDescriptor()
    }

    // MARK: The end

    /// The application has closed its last copy, or the connection has failed: both ends go.
    func release(aborting: Bool, at now: Instant) {
        guard !isClosed else { return }
        if let (waiting, end) = undelivered {
            undelivered = nil
            close(end)
            waiting.release(aborting: true, at: now)
        }
        answerConnect(ECONNABORTED)
        if applicationEnd >= 0 {
            close(applicationEnd)
            applicationEnd = -1
        }
        let error = socket?.pendingError ?? 0
        // Both directions have ended in order, which looks like a hang-up although the application may hold its end: without
        // the unread byte it reads the end of the stream, not a reset.
        if !aborting, !failed {
            if plug > 0 { end.removePlug(plug, using: daemon.scratch) }
            end.removeStale(using: daemon.scratch)
        }
        shutDescriptor()
        if let socket { daemon.layer.close(socket, aborting: aborting && !failed, at: now) }
        daemon.forget(self, error: error)
        socket = nil
    }

    private func shutDescriptor() {
        isClosed = true
        daemon.loop.deregister(descriptor)
        close(descriptor)
    }
}

/// An endpoint as control records carry it; family 0 for none. Sockets of AF_INET6 show IPv4 addresses as mapped ones.
func controlAddress(_ endpoint: Endpoint?, isIPv6: Bool) -> chitcp_address {
    var a = chitcp_address()
    guard let endpoint else { return a }
    a.family = UInt16(isIPv6 ? AF_INET6 : AF_INET)
    a.port = endpoint.port.bigEndian
    withUnsafeMutableBytes(of: &a.bytes) {
        $0.storeBytes(of: endpoint.address.high.bigEndian, as: UInt64.self)
        $0.storeBytes(of: endpoint.address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    return a
}

/// The endpoint in a control record, or nil if its family is foreign.
func endpoint(of a: chitcp_address) -> Endpoint? {
    guard a.family == AF_INET || a.family == AF_INET6 else { return nil }
    let address = withUnsafeBytes(of: a.bytes) {
        IPAddress(
            high: UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
    guard a.family == AF_INET6 || address.isIPv4 else { return nil }
    return Endpoint(address, UInt16(bigEndian: a.port))
}
