// A UNIX socket of the library's own in a program that does not know of it.
import CLinux
import Glibc

/// A connected UNIX socket, close-on-exec and numbered high. The program may close its number, and then even use it for
/// something else, and may fork: each use first asks `isUsable`.
final class LibrarySocket {
    /// The descriptor; -1 once closed.
    private(set) var descriptor: Int32
    private let device: UInt, inode: UInt
    private let process = getpid()

    /// Connects to the daemon's UNIX socket at `path`; `daemon` is what an error names.
    /// - Parameters:
    ///   - type: SOCK_STREAM or SOCK_SEQPACKET.
    ///   - flags: SOCK_NONBLOCK for one that never waits: with EAGAIN the daemon has too many clients in its queue.
    init(
        connectedTo path: String, type: __socket_type, flags: Int32 = 0, of daemon: DaemonPath
    ) throws(ChisocketError) {
        let low = socket(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | flags, 0)
        guard low >= 0 else { throw ChisocketError(errno: errno, call: "socket") }
        let result = Self.connect(low, to: path)
        guard result == 0 else {
            Glibc.close(low)
            throw .noDaemon(at: daemon.path, errno: result)
        }
        // Programs count on low numbers (dup2, select): move out of their way.
        let high = Self.moveUp(low)
        var status = stat()
        guard fstat(high, &status) == 0 else {
            let code = errno
            Glibc.close(high)
            throw ChisocketError(errno: code, call: "fstat")
        }
        descriptor = high
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
    }

    deinit { close() }

    /// True if this process made the connection and the number still means it.
    var isUsable: Bool { process == getpid() && isOpen }

    /// True if the number still means this socket.
    var isOpen: Bool {
        guard descriptor >= 0 else { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && UInt(status.st_dev) == device && UInt(status.st_ino) == inode
    }

    /// Closes it, if the number still is ours; in a forked child this closes the child's copy.
    func close() {
        if isOpen { Glibc.close(descriptor) }
        descriptor = -1
    }

    private static func moveUp(_ low: Int32) -> Int32 {
        var limit = rlimit()
        let soft = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? limit.rlim_cur : 1024
        // The top 64 numbers of the usual limit; with a small limit, its top quarter.
        let floor = Int32(min(soft, 1024))
        let high = fcntl(low, F_DUPFD_CLOEXEC, max(3, floor - max(1, min(64, floor / 4))))
        guard high >= 0 else { return low }
        Glibc.close(low)
        return high
    }

    /// 0, or the errno of connect(2).
    private static func connect(_ descriptor: Int32, to path: String) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        // Bounds: the path and its final zero fit into sun_path (108 bytes).
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return ENAMETOOLONG }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        while true {
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if result == 0 { return 0 }
            if errno != EINTR { return errno }
        }
    }
}
