// One thread's connection to the daemon: requests and responses, one record a packet.
import CLinux
import ControlRecords
import Glibc

/// A connection to one daemon, used by one thread of one process.
final class ControlConnection {
    let daemon: DaemonPath
    /// The daemon's identity, from HELLO: the middle of its descriptors' names.
    private(set) var daemonID: UInt64 = 0
    private var descriptor: Int32
    private let device: UInt, inode: UInt
    private let process = getpid()
    private var lastCall: UInt64 = 0

    /// Connects to the daemon and says HELLO.
    init(_ daemon: DaemonPath) throws(ChisocketError) {
        self.daemon = daemon
        let low = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard low >= 0 else { throw ChisocketError(errno: errno, call: "socket") }
        let result = Self.connect(low, to: daemon.controlPath)
        guard result == 0 else {
            close(low)
            throw .noDaemon(at: daemon.path, errno: result)
        }
        // Programs count on low numbers (dup2, select): move out of their way.
        let high = Self.moveUp(low)
        var status = stat()
        guard fstat(high, &status) == 0 else {
            let code = errno
            close(high)
            throw ChisocketError(errno: code, call: "fstat")
        }
        descriptor = high
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        var hello = chitcp_request()
        hello.operation = CHITCP_OP_HELLO.rawValue
        let answer = try exchange(&hello, name: "socket", isInterruptible: false).response
        guard answer.result >= 0 else { throw .noDaemon(at: daemon.path, errno: answer.error) }
        daemonID = answer.value
    }

    deinit {
        // Closed only if the number still is ours; in a forked child this closes the child's copy.
        if isOpen { close(descriptor) }
    }

    /// True if this process made the connection and the number still means it.
    var isUsable: Bool { process == getpid() && isOpen }

    private var isOpen: Bool {
        guard descriptor >= 0 else { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && UInt(status.st_dev) == device && UInt(status.st_ino) == inode
    }

    private static func moveUp(_ low: Int32) -> Int32 {
        var limit = rlimit()
        let soft = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? limit.rlim_cur : 1024
        // The top 64 numbers of the usual limit; with a small limit, its top quarter.
        let floor = Int32(min(soft, 1024))
        let high = fcntl(low, F_DUPFD_CLOEXEC, max(3, floor - max(1, min(64, floor / 4))))
        guard high >= 0 else { return low }
        close(low)
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

    /// Sends a request, with `attached` if it is not -1, and waits for its response.
    /// - Parameter isInterruptible: a signal ends the wait with EINTR, while the daemon goes on (as connect(2) does).
    /// - Returns: the response (whatever its result) and the descriptor that came along, -1 if none.
    func exchange(
        _ request: inout chitcp_request, attached: Int32 = -1, name: String, isInterruptible: Bool
    ) throws(ChisocketError) -> (response: chitcp_response, descriptor: Int32) {
        lastCall += 1
        request.magic = CHITCP_CONTROL_MAGIC
        request.call = lastCall
        while true {
            let sent = withUnsafeBytes(of: &request) {
                clinux_send_descriptor(descriptor, $0.baseAddress, $0.count, attached, 0)
            }
            if sent >= 0 { break }
            try recover(from: errno, wanting: POLLOUT, name: name)
        }
        while true {
            var response = chitcp_response()
            var received: Int32 = -1
            let count = withUnsafeMutableBytes(of: &response) {
                clinux_receive_descriptor(descriptor, $0.baseAddress, $0.count, &received, 0)
            }
            if count < 0 {
                if errno == EINTR, isInterruptible { throw ChisocketError(errno: EINTR, call: name) }
                try recover(from: errno, wanting: POLLIN, name: name)
            } else if count == 0 {
                throw lost(ECONNRESET)
            } else if count == MemoryLayout<chitcp_response>.size, response.magic == CHITCP_CONTROL_MAGIC,
                response.call == request.call
            {
                return (response, received)
            } else {
                // A response to a call that a signal ended, or a record of another layout.
                if received >= 0 { close(received) }
                if response.magic != CHITCP_CONTROL_MAGIC { throw lost(EPROTO) }
            }
        }
    }

    /// Waits where that helps (EINTR, EAGAIN); throws anything else, after closing the connection.
    private func recover(from code: Int32, wanting events: Int32, name: String) throws(ChisocketError) {
        switch code {
        case EINTR: return
        case EAGAIN:
            var waiting = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            _ = poll(&waiting, 1, -1)
        case EBADF where !isOpen: throw lost(ECONNRESET)
        case ECONNRESET, EPIPE, ENOTCONN: throw lost(ECONNRESET)
        default: throw ChisocketError(errno: code, call: name)
        }
    }

    /// The daemon went away; the next call opens a new connection.
    private func lost(_ code: Int32) -> ChisocketError {
        if isOpen { close(descriptor) }
        descriptor = -1
        return .noDaemon(at: daemon.path, errno: code)
    }
}
