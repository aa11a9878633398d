// pipe(2) and splice(2): bytes between a socket and a buffer that stands for the kernel's pipe.
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

/// The bytes of a pipe.
final class Pipe {
    /// As the kernel's: 16 pages.
    static let capacity = 65_536
    fileprivate(set) var bytes: [UInt8] = []
    fileprivate(set) var hasReader = true, hasWriter = true
    fileprivate weak var reader: PipeEnd?, writer: PipeEnd?
    var room: Int { Self.capacity - bytes.count }
}

/// One end of a pipe.
final class PipeEnd: Descriptor {
    let pipe: Pipe
    let isReader: Bool

    init(number: Int32, pipe: Pipe, isReader: Bool) {
        self.pipe = pipe
        self.isReader = isReader
        super.init(number: number)
        statusFlags = isReader ? O_RDONLY : O_WRONLY
        if isReader { pipe.reader = self } else { pipe.writer = self }
    }

    override var readiness: UInt32 {
        if isReader {
            return (pipe.bytes.isEmpty ? 0 : Readiness.anyInput) | (pipe.hasWriter ? 0 : Readiness.hangUp)
        }
        return pipe.hasReader ? (pipe.room > 0 ? Readiness.anyOutput : 0) : Readiness.error | Readiness.anyOutput
    }

    func close() {
        if isReader { pipe.hasReader = false } else { pipe.hasWriter = false }
        (isReader ? pipe.writer : pipe.reader)?.wake(Readiness.everything)
    }

    func put(_ bytes: UnsafeRawBufferPointer) {
        pipe.bytes.append(contentsOf: bytes)
        pipe.reader?.wake(Readiness.anyInput)
    }

    func take(_ count: Int) {
        pipe.bytes.removeFirst(min(count, pipe.bytes.count))
        pipe.writer?.wake(Readiness.anyOutput)
    }

    func reading(_ memory: CallerMemory) -> WaitingCall {
        WaitingCall { [self] in
            guard isReader else { return .failure(EBADF) }
            guard !pipe.bytes.isEmpty else {
                return pipe.hasWriter ? (isNonBlocking ? .failure(EAGAIN) : nil) : .value(0)
            }
            guard let room = memory.run(at: 0) else { return .failure(EFAULT) }
            let count = min(room.count, pipe.bytes.count)
            pipe.bytes.withUnsafeBytes { room.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            take(count)
            return .value(count)
        }
    }

    func writing(_ memory: CallerMemory) -> WaitingCall {
        WaitingCall { [self] in
            guard !isReader else { return .failure(EBADF) }
            guard pipe.hasReader else { return .failure(EPIPE) }
            guard let bytes = memory.run(at: 0) else { return .failure(EFAULT) }
            let count = min(bytes.count, pipe.room)
            guard count > 0 || bytes.count == 0 else { return isNonBlocking ? .failure(EAGAIN) : nil }
            put(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            return .value(count)
        }
    }
}

extension Plugin {
    /// pipe(2).
    func pipe(_ ends: UnsafeMutablePointer<Int32>?) -> Outcome {
        guard let ends else { return .failure(EFAULT) }
        let pipe = Pipe()
        switch descriptors.add({ PipeEnd(number: $0, pipe: pipe, isReader: true) }) {
        case .failure(let failure): return .failure(failure.error)
        case .success(let reader):
            switch descriptors.add({ PipeEnd(number: $0, pipe: pipe, isReader: false) }) {
            case .failure(let failure):
                descriptors.remove(reader)
                return .failure(failure.error)
            case .success(let writer):
                ends[0] = reader.number
                ends[1] = writer.number
                return .success
            }
        }
    }

    /// splice(2): one side is a pipe, the other a socket.
    func splice(_ input: Int32, _ output: Int32, _ length: Int, _ flags: UInt32) -> Result<WaitingCall, CallFailure> {
        guard let source = descriptors[input], let target = descriptors[output] else {
            return .failure(CallFailure(error: EBADF))
        }
        // SPLICE_F_NONBLOCK is 2.
        let isImpatient = flags & 2 != 0
        switch (source, target) {
        case (let end as SocketEnd, let pipe as PipeEnd) where !pipe.isReader:
            return .success(WaitingCall { [unowned self] in splice(end, into: pipe, length, isImpatient) })
        case (let pipe as PipeEnd, let end as SocketEnd) where pipe.isReader:
            return .success(WaitingCall { [unowned self] in splice(pipe, into: end, length, isImpatient) })
        default: return .failure(CallFailure(error: EINVAL))
        }
    }

    private func splice(_ end: SocketEnd, into pipe: PipeEnd, _ length: Int, _ isImpatient: Bool) -> Outcome? {
        guard let connection = end.connection else { return .failure(ENOTCONN) }
        guard pipe.pipe.hasReader else { return .failure(EPIPE) }
        var moved = 0
        while moved < length, pipe.pipe.room > 0, connection.receivedCount > 0 {
            let limit = min(length - moved, pipe.pipe.room)
            let count = layer.host.withReceivedBytes(connection, at: now) { bytes in
                let count = min(bytes.count, limit)
                pipe.put(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                return count
            }
            guard count > 0 else { break }
            moved += count
        }
        if moved > 0 || length == 0 { return .value(moved) }
        if end.hasPeerClosed, !end.socket.hasEnded { return .value(0) }
        if end.socket.pendingError != 0 { return .failure(end.takeError()) }
        if end.isReadingOver { return .value(0) }
        return isImpatient || end.isNonBlocking ? .failure(EAGAIN) : nil
    }

    private func splice(_ pipe: PipeEnd, into end: SocketEnd, _ length: Int, _ isImpatient: Bool) -> Outcome? {
        guard let connection = end.connection, !end.isWritingOver else { return .failure(EPIPE) }
        guard !pipe.pipe.bytes.isEmpty else {
            return pipe.pipe.hasWriter ? (isImpatient ? .failure(EAGAIN) : nil) : .value(0)
        }
        let count = min(length, pipe.pipe.bytes.count)
        do throws(ConnectionError) {
            let sent = try pipe.pipe.bytes.withUnsafeBytes { bytes in
                Result { () throws(ConnectionError) in
                    try layer.host.send(connection, UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: now)
                }
            }.get()
            if sent == 0, count > 0 {
                end.isWaitingForRoom = true
                return isImpatient || end.isNonBlocking ? .failure(EAGAIN) : nil
            }
            pipe.take(sent)
            return .value(sent)
        } catch { return .failure(error.errno) }
    }
}
