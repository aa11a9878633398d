// The UNIX sockets at which clients find the daemon, and the rule about files that lie there already.
import CLinux
import Glibc
import NetworkLayer
import TCPSegments

/// Listens for connections of clients.
final class ClientListener: EventHandler {
    private let descriptor: Int32
    private let path: String
    /// Which file is ours: another daemon may have taken the path meanwhile.
    private let file: FileIdentity?
    private unowned let daemon: Daemon
    private var isClosed = false
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
            guard FileIdentity(of: path)?.isSocket ?? true else {
                Glibc.close(fd)
                throw SystemError(
                    attempt, errno: EEXIST, advice: "what lies there is not a socket; choose another path")
            }
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
        file = FileIdentity(of: path)
        do { try daemon.loop.register(fd, self) } catch {
            Glibc.close(fd)
            unlink(path)
            throw error
        }
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

    /// Clients let in before others get their turn: whoever connects without end holds up nobody.
    private static let turn = 64

    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        guard !isClosed else { return }
        for _ in 0..<Self.turn {
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
        daemon.loop.again(self)
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        daemon.loop.deregister(descriptor)
        Glibc.close(descriptor)
        if FileIdentity(of: path) == file { unlink(path) }
    }
}

/// Which file lies at a path. A new file may get the inode of one that was just removed, but not its time.
private struct FileIdentity: Equatable {
    let device: UInt
    let inode: UInt
    let seconds: Int
    let nanoseconds: Int
    let isSocket: Bool

    /// Nil if there is none.
    init?(of path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
        isSocket = status.st_mode & S_IFMT == S_IFSOCK
    }
}
