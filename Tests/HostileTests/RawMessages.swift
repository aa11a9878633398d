// A client of chiTCP's protocol that writes its messages byte by byte.
import CLinux
import Glibc
import TCPSegments

/// Protobuf by hand: whatever the daemon is to be told, right or wrong.
enum Wire {
    static func varint(_ value: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    /// An int32, enum or bool field.
    static func number(_ field: UInt64, _ value: Int64) -> [UInt8] {
        varint(field << 3) + varint(UInt64(bitPattern: value))
    }

    /// A bytes or message field.
    static func bytes(_ field: UInt64, _ value: [UInt8]) -> [UInt8] {
        varint(field << 3 | 2) + varint(UInt64(value.count)) + value
    }

    /// A message with a code and, in field `field`, its arguments.
    static func message(_ code: Int64, _ field: UInt64? = nil, _ arguments: [UInt8]...) -> [UInt8] {
        number(1, code) + (field.map { bytes($0, arguments.flatMap { $0 }) } ?? [])
    }

    /// A message as it travels.
    static func framed(_ body: [UInt8]) -> [UInt8] { length(UInt64(body.count)) + body }

    static func length(_ value: UInt64) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

    static let greeting = message(0, 2, number(1, 0))
    static let socket = message(1, 3, number(1, Int64(AF_INET)), number(2, 1), number(3, 0))
}

/// A connection to the daemon's UNIX stream socket.
final class RawMessages {
    private var descriptor: Int32

    /// Connects, and greets unless told otherwise.
    init(_ daemon: DaemonProcess, greets: Bool = true) throws {
        descriptor = socket(AF_UNIX, streamSocket, 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array(daemon.path.path.utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        for option in [SO_SNDTIMEO, SO_RCVTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            throw Failure("cannot reach the stream socket: \(String(cString: strerror(Glibc.errno)))")
        }
        if greets, try errno(of: Wire.greeting) != 0 { throw Failure("the greeting is refused") }
    }

    deinit { close() }

    func close() {
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        descriptor = -1
    }

    func shutdownSending() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    /// Sends bytes; false if the daemon takes no more, for now or for ever.
    @discardableResult
    func send(_ bytes: [UInt8], waits: Bool = true) -> Bool {
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count, let base = buffer.baseAddress {
                let flags = Int32(MSG_NOSIGNAL) | (waits ? 0 : Int32(MSG_DONTWAIT))
                let n = Glibc.send(descriptor, base + done, buffer.count - done, flags)
                if n < 0, Glibc.errno == EINTR { continue }
                guard n > 0 else { return false }
                done += n
            }
            return true
        }
    }

    @discardableResult
    func send(message body: [UInt8]) -> Bool { send(Wire.framed(body)) }

    private func read(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let n = bytes.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { recv(descriptor, $0 + done, count - done, 0) } ?? -1
            }
            guard n > 0 else { return nil }
            done += n
        }
        return bytes
    }

    /// The next message's bytes; nil if the daemon has closed the connection.
    func receive() -> [UInt8]? {
        guard let length = read(8)?.withUnsafeBytes({ $0.loadUnaligned(as: UInt64.self) }), length <= 1 << 21 else {
            return nil
        }
        return length == 0 ? [] : read(Int(length))
    }

    /// Sends a message and returns its answer's `ret` and errno.
    func answer(to body: [UInt8]) throws -> (ret: Int64, error: Int64) {
        send(message: body)
        guard let answer = receive() else { throw Failure("no answer to the message \(body.prefix(40))") }
        guard let response = Self.fields(answer)[13]?.bytes else { throw Failure("an answer without response") }
        let fields = Self.fields(response)
        return (fields[1]?.number ?? 0, fields[2]?.number ?? 0)
    }

    /// The errno of a message's answer.
    func errno(of body: [UInt8]) throws -> Int64 { try answer(to: body).error }

    /// A new socket's number.
    func makeSocket() throws -> Int64 {
        let (number, error) = try answer(to: Wire.socket)
        guard number >= 0 else { throw Failure("no socket: errno \(error)") }
        return number
    }

    func requireClosed() throws {
        while true {
            var bytes = [UInt8](repeating: 0, count: 4096)
            let n = recv(descriptor, &bytes, bytes.count, 0)
            if n == 0 || (n < 0 && Glibc.errno == ECONNRESET) { return }
            guard n > 0 else { throw Failure("the daemon did not close the connection: errno \(Glibc.errno)") }
        }
    }

    /// The last field of each number, of the daemon's own making.
    private static func fields(_ bytes: [UInt8]) -> [UInt64: (number: Int64, bytes: [UInt8])] {
        var result: [UInt64: (number: Int64, bytes: [UInt8])] = [:]
        var i = 0
        func varint() -> UInt64 {
            var value: UInt64 = 0
            var shift: UInt64 = 0
            while i < bytes.count {
                let byte = bytes[i]
                i += 1
                value |= UInt64(byte & 0x7F) << shift
                if byte < 0x80 { break }
                shift += 7
            }
            return value
        }
        while i < bytes.count {
            let key = varint()
            if key & 7 == 2 {
                let count = min(Int(varint()), bytes.count - i)
                result[key >> 3] = (0, Array(bytes[i..<(i + count)]))
                i += count
            } else {
                result[key >> 3] = (Int64(bitPattern: varint()), [])
            }
        }
        return result
    }
}
