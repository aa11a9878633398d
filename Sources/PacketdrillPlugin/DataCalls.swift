// read, recv, write, send and their relatives.
import CPacketdrill
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

/// The caller's memory in pieces; a piece without memory is what EFAULT is for.
struct CallerMemory {
    private(set) var pieces: [(base: UnsafeMutableRawPointer?, count: Int)]

    init(_ base: UnsafeMutableRawPointer?, _ count: Int) { pieces = [(base, count)] }

    /// At most 1,024 pieces (IOV_MAX); nil: more, or fewer than none.
    init?(vector: UnsafePointer<iovec>?, _ count: Int) {
        guard (0...1024).contains(count), count == 0 || vector != nil else { return nil }
        pieces = []
        for index in 0..<count {
            guard let piece = vector?[index] else { return nil }
            pieces.append((piece.iov_base, Int(clamping: piece.iov_len)))
        }
    }

    var count: Int { pieces.reduce(0) { $0.addingReportingOverflow($1.count).overflow ? .max : $0 + $1.count } }

    /// The run of bytes at `offset`; nil: no memory is there, although there should be.
    func run(at offset: Int) -> UnsafeMutableRawBufferPointer? {
        var skip = offset
        for (base, count) in pieces {
            if skip >= count {
                skip -= count
                continue
            }
            guard let base else { return nil }
            return UnsafeMutableRawBufferPointer(start: base + skip, count: count - skip)
        }
        return UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }
}

/// Flags of recv(2) and send(2), as the kernel numbers them.
enum MessageFlags {
    static let outOfBand: Int32 = 0x1, peek: Int32 = 0x2, controlTruncated: Int32 = 0x8, truncate: Int32 = 0x20
    static let dontWait: Int32 = 0x40, endOfRecord: Int32 = 0x80, waitAll: Int32 = 0x100, errorQueue: Int32 = 0x2000
    static let more: Int32 = 0x8000, fastOpen: Int32 = 0x2000_0000
}

extension Plugin {
    // MARK: Receiving

    /// recv(2) and everything like it.
    func receive(_ number: Int32, _ memory: CallerMemory?, _ flags: Int32) -> Result<WaitingCall, CallFailure> {
        guard let memory else { return .failure(CallFailure(error: EINVAL)) }
        if let pipe = descriptors[number] as? PipeEnd { return .success(pipe.reading(memory)) }
        return socketEnd(number).map { end in
            var got = 0
            let isImpatient = end.isNonBlocking || flags & MessageFlags.dontWait != 0
            let wanted = memory.count
            let enough = flags & MessageFlags.waitAll != 0 ? wanted : max(1, min(end.receiveLowWater, wanted))
            func attempt() -> Outcome? {
                if flags & MessageFlags.errorQueue != 0 { return .failure(EAGAIN) }
                if flags & MessageFlags.outOfBand != 0 { return .failure(EINVAL) }
                guard let connection = end.connection else { return .failure(ENOTCONN) }
                let outcome = take(connection, into: memory, from: got, flags)
                if case .value(let count) = outcome {
                    got += count
                    if got >= enough || (wanted == 0 && connection.receivedCount > 0) { return .value(got) }
                }
                if got > 0, case .failure = outcome { return .value(got) }
                if case .failure = outcome { return outcome }
                // The end of the stream comes before an error, which is told once.
                if end.hasPeerClosed, !end.socket.hasEnded || end.endedAfterPeer { return .value(got) }
                if got == 0, end.socket.pendingError != 0 { return .failure(end.takeError()) }
                if end.isReadingOver || got > 0 && isImpatient { return .value(got) }
                return isImpatient ? .failure(EAGAIN) : nil
            }
            var call = WaitingCall(attempt: attempt)
            if let patience = end.receiveTimeout {
                call.deadline = ((now + patience).nanoseconds, .failure(EAGAIN))
            }
            return call
        }
    }

    /// Moves what is there; with MSG_PEEK it stays, with MSG_TRUNC it goes nowhere.
    private func take(
        _ connection: Connection, into memory: CallerMemory, from begin: Int, _ flags: Int32
    ) -> Outcome {
        let wanted = memory.count
        var position = begin
        if flags & MessageFlags.peek != 0 {
            let bytes = connection.unreadBytes(limit: min(wanted, connection.receivedCount))
            return bytes.withUnsafeBytes { source in
                var copied = 0
                while copied < source.count {
                    guard let room = memory.run(at: copied) else {
                        return copied > 0 ? .value(copied) : .failure(EFAULT)
                    }
                    let count = min(room.count, source.count - copied)
                    room.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[copied..<(copied + count)]))
                    copied += count
                }
                return .value(copied - min(begin, copied))
            }
        }
        while position < wanted, connection.receivedCount > 0 {
            let isDiscarding = flags & MessageFlags.truncate != 0
            guard
                let room = isDiscarding ? UnsafeMutableRawBufferPointer(start: nil, count: 0) : memory.run(at: position)
            else { return position > begin ? .value(position - begin) : .failure(EFAULT) }
            let left = wanted - position
            let count = layer.host.withReceivedBytes(connection, at: now) { bytes in
                if isDiscarding { return min(bytes.count, left) }
                let count = min(bytes.count, room.count)
                room.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                return count
            }
            guard count > 0 else { break }
            position += count
        }
        return .value(position - begin)
    }

    /// recvmsg(2): the bytes, no name, and the control messages that were asked for.
    func receiveMessage(
        _ number: Int32, _ message: UnsafeMutablePointer<msghdr>?, _ flags: Int32
    ) -> Result<WaitingCall, CallFailure> {
        guard let message else { return .failure(CallFailure(error: EFAULT)) }
        let room = message.pointee.msg_control
        let capacity = message.pointee.msg_controllen
        let end = descriptors[number] as? SocketEnd
        let memory = CallerMemory(vector: message.pointee.msg_iov, Int(clamping: message.pointee.msg_iovlen))
        return receive(number, memory, flags).map { call in
            WaitingCall(deadline: call.deadline) {
                let outcome = call.attempt()
                guard case .value = outcome else { return outcome }
                message.pointee.msg_flags = 0
                message.pointee.msg_namelen = 0
                message.pointee.msg_controllen = 0
                guard let end, end.tellsQueue else { return outcome }
                let used =
                    room.map {
                        packetdrill_put_int_message(
                            $0, capacity, Int32(IPPROTO_TCP), SocketEnd.queueMessage, end.queueHint)
                    } ?? 0
                message.pointee.msg_controllen = used
                // Linux: there was something to tell, and no room for it.
                if used == 0 { message.pointee.msg_flags = MessageFlags.controlTruncated }
                return outcome
            }
        }
    }

    // MARK: Sending

    /// send(2) and everything like it.
    /// `remote`: where MSG_FASTOPEN connects to.
    func send(
        _ number: Int32, _ memory: CallerMemory?, _ flags: Int32, to remote: GivenAddress? = nil
    ) -> Result<WaitingCall, CallFailure> {
        guard let memory else { return .failure(CallFailure(error: EINVAL)) }
        if let pipe = descriptors[number] as? PipeEnd { return .success(pipe.writing(memory)) }
        return socketEnd(number).map { end in
            var sent = 0
            let isImpatient = end.isNonBlocking || flags & MessageFlags.dontWait != 0
            let total = memory.count
            var isOpening = flags & MessageFlags.fastOpen != 0
            var hasWaited = false
            func attempt() -> Outcome? {
                if isOpening || end.connection?.isOpenDeferred ?? false {
                    isOpening = false
                    switch openFast(end, memory, to: remote, isDeferred: end.connection?.isOpenDeferred ?? false) {
                    case .failure(let error): return .failure(error)
                    case nil: break
                    case .value(let count):
                        sent = count
                        if isImpatient { return count > 0 ? .value(count) : .failure(EINPROGRESS) }
                    }
                }
                if let refusal = refusal(of: end) { return sent > 0 ? .value(sent) : .failure(refusal) }
                guard let connection = end.connection, end.socket.wasEstablished else {
                    return isImpatient ? .failure(EAGAIN) : nil
                }
                // Linux: whoever sleeps is woken when a third of the memory is free, not before.
                if hasWaited, end.queue != nil, end.isWaitingForRoom { return nil }
                switch push(connection, of: end, memory, from: sent) {
                case .value(let count): sent += count
                case .failure(let error): return sent > 0 ? .value(sent) : .failure(error)
                }
                if sent >= total {
                    if total > 0 { end.hasEndedRecord = flags & MessageFlags.endOfRecord != 0 }
                    let moreFollows = flags & MessageFlags.more != 0
                    connection.noteWrite(
                        endsRecord: total > 0 && flags & MessageFlags.endOfRecord != 0, moreFollows: moreFollows)
                    if !moreFollows { end.queue?.push() }
                    return .value(sent)
                }
                end.isWaitingForRoom = true
                // Linux: what was taken is pushed, whatever follows.
                if sent > 0, end.queue != nil {
                    connection.noteWrite(endsRecord: false, moreFollows: false)
                    end.queue?.push()
                }
                guard isImpatient else {
                    hasWaited = true
                    return nil
                }
                return sent > 0 ? .value(sent) : .failure(EAGAIN)
            }
            var call = WaitingCall(attempt: attempt)
            if let patience = end.sendTimeout {
                call.deadline = ((now + patience).nanoseconds, .failure(EAGAIN))
            }
            return call
        }
    }

    /// Why nothing can be sent at all.
    private func refusal(of end: SocketEnd) -> Int32? {
        // FreeBSD: a pipe is broken whatever broke it.
        if flags.personality == .freebsd {
            if end.socket.hasEnded || end.isWritingOver { return EPIPE }
            return end.connection == nil || !end.socket.wasEstablished ? ENOTCONN : nil
        }
        if end.connection != nil, end.socket.pendingError != 0 { return end.takeError() }
        return end.connection == nil || end.isWritingOver ? EPIPE : nil
    }

    private func push(
        _ connection: Connection, of end: SocketEnd, _ memory: CallerMemory, from begin: Int
    ) -> Outcome {
        var position = begin
        let total = memory.count
        while position < total {
            guard let bytes = memory.run(at: position) else {
                return position > begin ? .value(position - begin) : .failure(EFAULT)
            }
            let room =
                end.queue?.room(
                    for: connection, begins: end.hasEndedRecord && position == 0, isFirst: position == 0) ?? bytes.count
            guard room > 0 else { break }
            let piece = UnsafeRawBufferPointer(rebasing: bytes[..<min(bytes.count, room)])
            do throws(ConnectionError) {
                let count = try layer.host.send(connection, piece, at: now)
                end.queue?.added(count)
                position += count
                if count < piece.count { break }
                if count == room, position < total, end.queue?.isForced(by: connection) ?? false {
                    connection.noteWrite(endsRecord: false, moreFollows: true)
                    connection.noteFullBuffer(isPushed: true)
                    layer.run(at: now)
                    // What is left of the buffer may grow.
                    if connection.unsentBytes > 0 { connection.forgetFullBuffer() }
                }
            } catch { return position > begin ? .value(position - begin) : .failure(error.errno) }
        }
        return .value(position - begin)
    }
}

extension SocketEnd {
    /// The type of the control message of TCP_INQ (linux/tcp.h).
    static let queueMessage: Int32 = 36

    /// What TCP_INQ tells: unread bytes, the peer's FIN included, so that the reader asks once more.
    var queueHint: Int32 { Int32(clamping: (connection?.receivedCount ?? 0) + (hasPeerClosed ? 1 : 0)) }

    /// SO_ERROR, which is told once.
    func takeError() -> Int32 {
        defer { socket.pendingError = 0 }
        return socket.pendingError
    }
}
