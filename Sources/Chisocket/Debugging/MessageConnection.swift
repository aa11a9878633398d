// A connection for chiTCP's messages: a UNIX stream, each message behind its length.
import CLinux
import Glibc

/// A connection on which one thread talks to a daemon in chiTCP's protocol.
final class MessageConnection {
    private let daemon: DaemonPath
    private let socket: LibrarySocket

    /// More than the two largest buffers a connection may have (16 MiB each).
    private static let maximumLength: UInt64 = 64 << 20

    /// A command connection.
    convenience init(_ daemon: DaemonPath) throws(ChisocketError) {
        try self.init(daemon, opening: DaemonRequest.initialize, call: "chitcpd_get_socket_state")
    }

    /// A debug connection: breakpoints of the socket with `number` for `events`.
    /// - Throws: what the daemon answers: EBADF, EAGAIN, EINVAL.
    convenience init(_ daemon: DaemonPath, debugging number: Int32, events: Int32) throws(ChisocketError) {
        try self.init(daemon, opening: DaemonRequest.debug(number, events: events), call: "chitcpd_debug")
    }

    private init(_ daemon: DaemonPath, opening: [UInt8], call: String) throws(ChisocketError) {
        self.daemon = daemon
        socket = try LibrarySocket(connectedTo: daemon.path, type: SOCK_STREAM, of: daemon)
        _ = try exchange(opening, call: call)
    }

    /// True if this process made the connection and the number still means it.
    var isUsable: Bool { socket.isUsable }

    /// Sends a request and waits for its response.
    /// - Throws: the errno in the response, if it is one of failure.
    func exchange(_ request: [UInt8], call: String) throws(ChisocketError) -> DaemonMessage.Response {
        try send(request)
        guard let message = try receive() else { throw lost(ECONNRESET) }
        guard case .response(let response) = message else { throw lost(EPROTO) }
        guard response.result >= 0 else {
            throw ChisocketError(errno: response.error == 0 ? EPROTO : response.error, call: call)
        }
        return response
    }

    /// Sends one message.
    func send(_ message: [UInt8]) throws(ChisocketError) {
        var framed = withUnsafeBytes(of: UInt64(message.count)) { Array($0) }
        framed += message
        var sent = 0
        while sent < framed.count {
            let count = framed[sent...].withUnsafeBytes {
                Glibc.send(socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count >= 0 { sent += count } else if errno != EINTR { throw lost(errno) }
        }
    }

    /// Waits for the next message; nil when the daemon has closed the connection.
    func receive() throws(ChisocketError) -> DaemonMessage? {
        guard let header = try receive(exactly: MemoryLayout<UInt64>.size) else { return nil }
        let length = header.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
        guard length <= Self.maximumLength else { throw lost(EPROTO) }
        guard let bytes = try receive(exactly: Int(length)) else { throw lost(ECONNRESET) }
        do { return try DaemonMessage(bytes[...]) } catch { throw lost(EPROTO) }
    }

    /// Exactly `count` bytes; nil if the stream ends before the first of them.
    private func receive(exactly count: Int) throws(ChisocketError) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            let n = bytes[received...].withUnsafeMutableBytes { recv(socket.descriptor, $0.baseAddress, $0.count, 0) }
            if n > 0 {
                received += n
            } else if n == 0 {
                if received == 0 { return nil }
                throw lost(ECONNRESET)
            } else if errno != EINTR {
                throw lost(errno)
            }
        }
        return bytes
    }

    /// The connection is of no more use; the next call opens a new one.
    private func lost(_ code: Int32) -> ChisocketError {
        socket.close()
        return .noDaemon(at: daemon.path, errno: code)
    }
}
