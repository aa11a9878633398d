// The socket calls on plain descriptors, blocking: what `Chisocket` and libchitcp's C functions are made of.
import CLinux
import ControlRecords
import Glibc

/// The chisocket calls on file descriptors. Everything not here (read, write, poll, dup, close) is the kernel's own call.
/// Safe from any thread.
public enum DescriptorCalls {
    /// Creates a chisocket and returns its descriptor.
    /// - Parameters:
    ///   - domain: AF_INET or AF_INET6, else EAFNOSUPPORT.
    ///   - type: SOCK_STREAM, with SOCK_CLOEXEC and SOCK_NONBLOCK as in Linux.
    public static func socket(
        domain: Int32, type: Int32, protocol number: Int32 = 0, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int32 {
        var request = try chitcp_request.socket(domain: domain, type: type, protocol: number)
        let connection = try ThreadConnections.connection(to: daemon)
        let (response, descriptor) = try connection.exchange(&request, name: "socket", isInterruptible: false)
        return try made(descriptor, response, type: type, daemonID: connection.daemonID)
    }

    /// The end of socket(2): `descriptor` came with the daemon's response.
    static func made(
        _ descriptor: Int32, _ response: chitcp_response, type: Int32, daemonID: UInt64
    ) throws(ChisocketError) -> Int32 {
        guard response.result >= 0, descriptor >= 0 else {
            if descriptor >= 0 { Glibc.close(descriptor) }
            throw ChisocketError(errno: response.error == 0 ? EPROTO : response.error, call: "socket")
        }
        DescriptorNumbers.note(
            response.argument.1, descriptor,
            DescriptorIdentity(daemonID: daemonID, socketID: response.socket_id))
        // Descriptors arrive close-on-exec and blocking.
        if type & Int32(SOCK_CLOEXEC.rawValue) == 0 { _ = fcntl(descriptor, F_SETFD, 0) }
        if type & Int32(SOCK_NONBLOCK.rawValue) != 0 { _ = fcntl(descriptor, F_SETFL, O_RDWR | O_NONBLOCK) }
        return descriptor
    }

    /// Binds the chisocket to a local address; port 0 lets the daemon choose.
    public static func bind(
        _ descriptor: Int32, to address: ChisocketAddress, daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        var request = chitcp_request(CHITCP_OP_BIND, address: address)
        try call(&request, on: descriptor, daemon, name: "bind", context: "to \(address)")
    }

    /// Lets others connect; at most `backlog` connections wait for `accept`.
    public static func listen(
        _ descriptor: Int32, backlog: Int32, daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        var request = chitcp_request(CHITCP_OP_LISTEN, (backlog, 0, 0, 0))
        try call(&request, on: descriptor, daemon, attached: true, name: "listen")
        DescriptorRoles.note(.listening, descriptor, try DescriptorIdentity(of: descriptor, call: "listen"))
    }

    /// Connects to `address`. With O_NONBLOCK this throws EINPROGRESS, and poll(2) shows POLLOUT when it is done. A signal
    /// without SA_RESTART ends the wait with EINTR and the connection goes on, as POSIX has it.
    public static func connect(
        _ descriptor: Int32, to address: ChisocketAddress, daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        let flags = fcntl(descriptor, F_GETFL)
        guard flags >= 0 else { throw ChisocketError(errno: errno, call: "connect") }
        var request = chitcp_request(
            CHITCP_OP_CONNECT, (flags & O_NONBLOCK != 0 ? 1 : 0, 0, 0, 0), address: address)
        do throws(ChisocketError) {
            try call(
                &request, on: descriptor, daemon, attached: true, name: "connect", context: "to \(address)",
                isInterruptible: true)
        } catch {
            guard error.errno == EBADF, fcntl(descriptor, F_GETFD) >= 0 else { throw error }
            try renew(descriptor, flags, address.family, daemon)
            try call(
                &request, on: descriptor, daemon, attached: true, name: "connect", context: "to \(address)",
                isInterruptible: true)
        }
    }

    /// A connection that has failed takes its chisocket with it. Who connects again with the same descriptor gets a new one.
    private static func renew(
        _ descriptor: Int32, _ flags: Int32, _ family: ChisocketAddress.Family, _ daemon: DaemonPath
    ) throws(ChisocketError) {
        let type = Int32(SOCK_STREAM.rawValue) | (flags & O_NONBLOCK != 0 ? Int32(SOCK_NONBLOCK.rawValue) : 0)
        try replace(descriptor, with: try socket(domain: family.domain, type: type, daemon: daemon))
    }

    /// Makes `descriptor` mean the new chisocket `fresh`, which is closed.
    static func replace(_ descriptor: Int32, with fresh: Int32) throws(ChisocketError) {
        let closes = fcntl(descriptor, F_GETFD) & FD_CLOEXEC
        defer { Glibc.close(fresh) }
        guard dup2(fresh, descriptor) == descriptor, fcntl(descriptor, F_SETFD, closes) == 0 else {
            throw ChisocketError(errno: errno, call: "connect")
        }
    }

    /// What `accept` gives: a new descriptor and the two ends of its connection.
    public struct Accepted: Sendable {
        /// The connection's descriptor; the caller closes it.
        public let descriptor: Int32
        /// This end.
        public let local: ChisocketAddress?
        /// The peer's end.
        public let remote: ChisocketAddress?
    }

    /// Takes an established connection off a listening chisocket, waiting for one unless it is O_NONBLOCK.
    /// - Throws: EINVAL if the chisocket does not listen.
    public static func accept(
        _ listener: Int32, closeOnExec: Bool = false, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Accepted {
        let identity = try DescriptorIdentity(of: listener, call: "accept")
        guard try role(of: listener, identity, daemon, call: "accept") == .listening else {
            throw ChisocketError(errno: EINVAL, call: "accept", context: "on a chisocket that does not listen")
        }
        return try take(from: listener, identity, closeOnExec: closeOnExec)
    }

    /// Takes the next connection out of a listening descriptor: recvmsg(2) with `flags`.
    static func take(
        from listener: Int32, _ identity: DescriptorIdentity, closeOnExec: Bool, flags: Int32 = 0
    ) throws(ChisocketError) -> Accepted {
        var record = chitcp_accepted()
        var received: Int32 = -1
        // The kernel never joins two records that carry descriptors, so one call takes one connection, whole.
        let count = withUnsafeMutableBytes(of: &record) {
            clinux_receive_descriptor(listener, $0.baseAddress, $0.count, &received, flags)
        }
        var code = count < 0 ? errno : EINVAL
        // A record without its descriptor: this process has none left, and the connection is lost.
        if count == MemoryLayout<chitcp_accepted>.size, received < 0 { code = EMFILE }
        guard count == MemoryLayout<chitcp_accepted>.size, record.magic == CHITCP_CONTROL_MAGIC, received >= 0 else {
            if received >= 0 { Glibc.close(received) }
            throw ChisocketError(
                errno: code, call: "accept", context: count == 0 ? "on a listener that its daemon has closed" : "")
        }
        let accepted = DescriptorIdentity(daemonID: identity.daemonID, socketID: record.socket_id)
        let descriptor = ReservedDescriptors.move(received, number: record.number, daemonID: identity.daemonID)
        if !closeOnExec { _ = fcntl(descriptor, F_SETFD, 0) }
        DescriptorRoles.note(.connected, descriptor, accepted)
        DescriptorNumbers.note(record.number, descriptor, accepted)
        return Accepted(
            descriptor: descriptor, local: ChisocketAddress(record.local), remote: ChisocketAddress(record.remote))
    }

    /// send(2) without SIGPIPE. Throws ENOTCONN on a chisocket that never was connected.
    public static func send(
        _ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, flags: Int32 = 0, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int {
        try requireConnected(descriptor, daemon, call: "send")
        let count = Glibc.send(descriptor, bytes.baseAddress, bytes.count, flags | Int32(MSG_NOSIGNAL))
        guard count >= 0 else { throw ChisocketError(errno: errno, call: "send") }
        return count
    }

    /// recv(2): 0 at the end of the stream. Throws ENOTCONN on a chisocket that never was connected.
    public static func receive(
        _ descriptor: Int32, into bytes: UnsafeMutableRawBufferPointer, flags: Int32 = 0,
        daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int {
        try requireConnected(descriptor, daemon, call: "recv")
        let count = recv(descriptor, bytes.baseAddress, bytes.count, flags)
        guard count >= 0 else { throw ChisocketError(errno: errno, call: "recv") }
        return count
    }

    /// Shuts down one or both directions: SHUT_RD, SHUT_WR or SHUT_RDWR.
    public static func shutdown(
        _ descriptor: Int32, how: Int32, daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        guard how == Int32(SHUT_RD) || how == Int32(SHUT_WR) || how == Int32(SHUT_RDWR) else {
            throw ChisocketError(errno: EINVAL, call: "shutdown")
        }
        let identity = try DescriptorIdentity(of: descriptor, call: "shutdown")
        if DescriptorRoles.role(of: descriptor, identity) == .listening {
            // Linux: whoever waits in accept gets EINVAL; the sending side of a listener is nothing.
            guard how == Int32(SHUT_WR) || Glibc.shutdown(descriptor, Int32(SHUT_RDWR)) == 0 else {
                throw ChisocketError(errno: errno, call: "shutdown")
            }
            return
        }
        try requireConnected(descriptor, daemon, call: "shutdown")
        if how != Int32(SHUT_WR) {
            // The daemon is told first: on its end this would look like a close.
            var request = chitcp_request(CHITCP_OP_SHUTDOWN, (how, 0, 0, 0))
            try call(&request, on: descriptor, daemon, name: "shutdown")
        }
        guard Glibc.shutdown(descriptor, how) == 0 else { throw ChisocketError(errno: errno, call: "shutdown") }
    }

    /// Closes the descriptor of a chisocket; refuses any other (ENOTSOCK).
    public static func close(_ descriptor: Int32) throws(ChisocketError) {
        _ = try DescriptorIdentity(of: descriptor, call: "close")
        DescriptorRoles.forget(descriptor)
        guard Glibc.close(descriptor) == 0 else { throw ChisocketError(errno: errno, call: "close") }
    }
}
