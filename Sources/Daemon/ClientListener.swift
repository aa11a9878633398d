// The UNIX sockets at which clients find the daemon, and the rule about files that lie there already.
import CLinux
import Glibc
import NetworkLayer
import TCPSegments

/// Listens for connections of clients.
final class ClientListener: EventHandler {
    private let descriptor: Int32
    private let path: String
    private unowned let daemon: Daemon
    private let welcome: (_ descriptor: Int32, Instant) -> Bool

    /// A stale socket file is replaced; one with a live daemon behind it is not. `welcome` takes over each connection, or
    /// returns false.
    init(
        _ type: __socket_type, at path: String, daemon: Daemon, welcome: @escaping (Int32, Instant) -> Bool
    ) throws(SystemError) {
        self.path = path
        self.daemon = daemon
        self.welcome = welcome
        let attempt = "cannot serve applications at \(path)"
        guard var address = Self.address(path) else {
            throw SystemError(attempt, errno: ENAMETOOLONG, advice: "choose a path below 100 characters with -s")
        }
        let fd = Self.makeSocket(type)
        guard fd >= 0 else { throw SystemError(attempt) }
        let bound = Self.withPointer(&address) { bind(fd, $0, $1) }
        if bound < 0, errno == EADDRINUSE {
            guard !Self.isAlive(&address, type) else {
                Glibc.close(fd)
                throw SystemError(
                    attempt, errno: EADDRINUSE,
                    advice: "a chitcpd is running there; choose another path with -s or CHITCPD_SOCK")
            }
            unlink(path)
            guard Self.withPointer(&address, { bind(fd, $0, $1) }) == 0 else {
                let error = errno
                Glibc.close(fd)
                throw SystemError(attempt, errno: error)
            }
        } else if bound < 0 {
            let error = errno
            Glibc.close(fd)
            throw SystemError(attempt, errno: error, advice: error == ENOENT ? "the folder does not exist" : "")
        }
        // Whoever may not use the daemon is told so; the file itself would turn away those who may as well.
        if !daemon.configuration.admission.isClosed { chmod(path, 0o666) }
        guard listen(fd, 1024) == 0 else {
            let error = errno
            Glibc.close(fd)
            unlink(path)
            throw SystemError(attempt, errno: error)
        }
        descriptor = fd
        try daemon.loop.register(fd, self)
    }

    private static func makeSocket(_ type: __socket_type) -> Int32 {
        socket(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    }

    private static func address(_ path: String) -> sockaddr_un? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return address
    }

    private static func withPointer<R>(
        _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
    ) -> R {
        withUnsafePointer(to: &address) { p in
            p.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }

    private static func isAlive(_ address: inout sockaddr_un, _ type: __socket_type) -> Bool {
        let probe = makeSocket(type)
        guard probe >= 0 else { return true }
        defer { Glibc.close(probe) }
        return withPointer(&address) { connect(probe, $0, $1) } == 0 || errno != ECONNREFUSED
    }

    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        while true {
            let fd = clinux_accept(descriptor, nil, nil)
            if fd < 0 {
                let error = errno
                if error == EINTR || error == ECONNABORTED { continue }
                if error != EAGAIN {
                    daemon.pauseAccepting(
                        self, because: SystemError("cannot serve another client", errno: error).description)
                }
                return
            }
            if !welcome(fd, now) { Glibc.close(fd) }
        }
    }

    func close() {
        daemon.loop.deregister(descriptor)
        Glibc.close(descriptor)
        unlink(path)
    }
}
