// A file sent and received back over one connection, both directions at once, every byte compared.
import Glibc

/// Bytes that can be read again at any position: a file, or a generated sequence.
struct Content: Sendable {
    /// Bytes in all.
    let count: Int
    /// The name for the summary.
    let name: String
    private let descriptor: Int32

    /// The file at `path`, opened.
    init(path: String) throws {
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandError("cannot read \(path)", errno: errno) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw CommandError("cannot send \(path): it is not a regular file")
        }
        count = Int(status.st_size)
        name = path
    }

    /// `count` bytes of SplitMix64 written to a new file at `path`: the same on every machine.
    static func generate(_ count: Int, at path: String) throws -> Content {
        let fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw CommandError("cannot write \(path)", errno: errno) }
        defer { close(fd) }
        var words = [UInt64](repeating: 0, count: (count + 7) / 8)
        var state: UInt64 = 0
        for index in words.indices {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            words[index] = (z ^ (z >> 31)).littleEndian
        }
        let written = words.withUnsafeBytes { writeAll(fd, UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        guard written else { throw CommandError("cannot write \(path)", errno: errno) }
        return try Content(path: path)
    }

    /// Fills as much of `buffer` as there is from `offset` on; returns how much, 0 at the end.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var done = 0
        while done < buffer.count {
            let n = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
            if n == 0 { break }
            if n < 0 {
                if errno == EINTR { continue }
                throw CommandError("cannot read \(name)", errno: errno)
            }
            done += n
        }
        return done
    }
}

/// What an exchange came to.
struct ExchangeResult: Sendable {
    let bytes: Int
    let nanoseconds: Int64
}

/// Sends `content` over `stream`, half-closes, receives until the end and compares: an error names the first byte that
/// differs, or is missing or too many.
func exchange(_ content: Content, over stream: Int32) throws -> ExchangeResult {
    let size = 256 << 10
    let outgoing = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
    let incoming = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
    let expected = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
    defer { for buffer in [outgoing, incoming, expected] { buffer.deallocate() } }
    var progress = Progress()
    defer { progress.clear() }
    let start = monotonicNow()
    var sent = 0
    var received = 0
    var pending = UnsafeRawBufferPointer(start: nil, count: 0)
    var sending = true

    while true {
        if sending && pending.isEmpty {
            let n = try content.read(at: sent, into: outgoing)
            pending = UnsafeRawBufferPointer(rebasing: outgoing[..<n])
            if n == 0 {
                sending = false
                shutdown(stream, Int32(SHUT_WR))
            }
        }
        var wanted = pollfd(fd: stream, events: Int16(POLLIN) | (sending ? Int16(POLLOUT) : 0), revents: 0)
        guard poll(&wanted, 1, -1) >= 0 || errno == EINTR else { throw CommandError("cannot wait", errno: errno) }
        if sending && wanted.revents & Int16(POLLOUT) != 0 {
            let n = send(stream, pending.baseAddress, pending.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
            if n > 0 {
                sent += n
                pending = UnsafeRawBufferPointer(rebasing: pending.dropFirst(n))
            } else if errno != EAGAIN && errno != EINTR {
                throw CommandError("sending stopped after \(sent) of \(content.count) bytes", errno: errno)
            }
        }
        if wanted.revents & ~Int16(POLLOUT) != 0 {
            let n = recv(stream, incoming.baseAddress, size, Int32(MSG_DONTWAIT))
            if n == 0 { break }
            if n < 0 {
                if errno == EAGAIN || errno == EINTR { continue }
                throw CommandError("receiving stopped after \(received) of \(content.count) bytes", errno: errno)
            }
            let known = try content.read(
                at: received, into: UnsafeMutableRawBufferPointer(rebasing: expected[..<n]))
            guard known == n else {
                throw CommandError("more came back than the \(content.count) bytes that were sent")
            }
            if memcmp(incoming.baseAddress!, expected.baseAddress!, n) != 0 {
                let at = (0..<n).first { incoming[$0] != expected[$0] } ?? 0
                throw CommandError("byte \(received + at) came back wrong")
            }
            received += n
            let done = received
            progress.show("\(grouped(UInt64(done))) of \(grouped(UInt64(content.count))) bytes are back")
        }
    }
    guard received == content.count else {
        throw CommandError("only \(received) of \(content.count) bytes came back")
    }
    return ExchangeResult(bytes: received, nanoseconds: max(1, monotonicNow() - start))
}
