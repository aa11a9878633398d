// TCP Fast Open as sockets have it on Linux: TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_KEY, TCP_FASTOPEN_NO_COOKIE, and
// sendto(2) with MSG_FASTOPEN.
import Glibc
import TCPEngine
import TCPSegments

extension SocketLayer {
    /// sendto(2) or sendmsg(2) with MSG_FASTOPEN on a socket that is not connected: connects, and puts as much of `bytes` into
    /// the SYN as fits if there is a cookie. Returns how many bytes those are; 0: none (Linux: EINPROGRESS), they are to be
    /// sent when the connection is up.
    public func sendFastOpen(
        _ socket: Socket, _ bytes: UnsafeRawBufferPointer, to remote: Endpoint, at now: Instant
    ) throws(SocketError) -> Int {
        guard host.fastOpen.modes.contains(.client) else { throw .notSupported }
        try connect(socket, to: remote, fastOpen: .now, at: now)
        guard let connection = socket.connection else { return 0 }
        let count = min(bytes.count, connection.synDataRoom)
        guard count > 0 else { return 0 }
        do {
            return try host.send(connection, UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: now)
        } catch { throw .connection(error) }
    }

    /// TCP_FASTOPEN: how many of the listener's connections may be open before their handshakes have ended.
    func setFastOpenQueue(_ socket: Socket, _ limit: Int32, at now: Instant) throws(SocketError) {
        guard limit >= 0, socket.connection == nil else { throw .invalidArgument }
        change(socket, at: now) { $0.fastOpenQueue = Int(limit) }
        configureFastOpen(of: socket)
    }

    /// TCP_FASTOPEN_CONNECT.
    func setFastOpenConnect(_ socket: Socket, _ on: Bool, at now: Instant) throws(SocketError) {
        guard host.fastOpen.modes.contains(.client) else { throw .notSupported }
        guard case .idle = socket.kind else { throw .invalidArgument }
        change(socket, at: now) { $0.fastOpensConnect = on }
    }

    /// TCP_FASTOPEN_NO_COOKIE, for listeners.
    func setFastOpenWithoutCookie(_ socket: Socket, _ on: Bool, at now: Instant) throws(SocketError) {
        guard socket.connection == nil else { throw .invalidArgument }
        change(socket, at: now) { $0.fastOpensWithoutCookie = on }
        configureFastOpen(of: socket)
    }

    /// TCP_FASTOPEN_KEY: the bytes of one key, or of the present and the last one.
    func setFastOpenKeys(_ socket: Socket, _ bytes: [UInt8], at now: Instant) throws(SocketError) {
        guard bytes.count == 16 || bytes.count == 32 else { throw .invalidArgument }
        let keys = stride(from: 0, to: bytes.count, by: 16).compactMap { FastOpenKey(bytes[$0..<($0 + 16)]) }
        change(socket, at: now) { $0.fastOpenKeys = keys }
        configureFastOpen(of: socket)
    }

    /// The bytes of a socket's keys, or of its host's.
    func fastOpenKeys(of socket: Socket) -> [UInt8] {
        let own = socket.settings.fastOpenKeys
        return (own.isEmpty ? host.fastOpenKeys : own).prefix(2).flatMap(\.bytes)
    }

    /// Gives a listener what was set on its socket.
    func configureFastOpen(of socket: Socket) {
        guard let listener = socket.listener, socket.hasSettings else { return }
        let settings = socket.settings
        if let limit = settings.fastOpenQueue { host.setFastOpenQueue(limit, of: listener) }
        host.setFastOpenKeys(settings.fastOpenKeys, of: listener)
        host.setFastOpenWithoutCookie(settings.fastOpensWithoutCookie, of: listener)
    }
}
