// The calls that ask about a chisocket or set its options, and the request they share.
import CLinux
import ControlRecords
import Glibc

extension DescriptorCalls {
    /// Both ends (nil where there is none yet), TCP's state by chiTCP's numbers, and the socket's own address family.
    public static func names(
        _ descriptor: Int32, call name: String = "getsockname", daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> (
        local: ChisocketAddress?, remote: ChisocketAddress?, state: Int32, family: ChisocketAddress.Family
    ) {
        var request = chitcp_request(CHITCP_OP_NAMES)
        return names(in: try call(&request, on: descriptor, daemon, name: name))
    }

    /// The answer to CHITCP_OP_NAMES.
    static func names(
        in response: chitcp_response
    ) -> (local: ChisocketAddress?, remote: ChisocketAddress?, state: Int32, family: ChisocketAddress.Family) {
        (
            ChisocketAddress(response.local), ChisocketAddress(response.remote), response.argument.0,
            response.argument.2 == AF_INET6 ? .ipv6 : .ipv4
        )
    }

    /// The value of an option the daemon answers; the kernel's for those that belong to the descriptor (SO_RCVTIMEO,
    /// SO_SNDTIMEO, SO_RCVLOWAT, SO_PEEK_OFF, SO_OOBINLINE).
    public static func option(
        _ descriptor: Int32, level: Int32, name: Int32, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> [UInt8] {
        if isKernelOption(level, name) {
            var value = [UInt8](repeating: 0, count: 64)
            var length = socklen_t(value.count)
            guard getsockopt(descriptor, level, name, &value, &length) == 0 else {
                throw ChisocketError(errno: errno, call: "getsockopt")
            }
            return Array(value.prefix(Int(length)))
        }
        var request = chitcp_request(CHITCP_OP_GET_OPTION, (level, name, 0, 0))
        return try call(&request, on: descriptor, daemon, name: "getsockopt").bytes
    }

    /// Sets an option: by the daemon, or by the kernel for those that belong to the descriptor.
    public static func setOption(
        _ descriptor: Int32, level: Int32, name: Int32, _ value: UnsafeRawBufferPointer,
        daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        if isKernelOption(level, name) {
            guard setsockopt(descriptor, level, name, value.baseAddress, socklen_t(value.count)) == 0 else {
                throw ChisocketError(errno: errno, call: "setsockopt")
            }
            return
        }
        var request = try chitcp_request.setOption(level: level, name: name, value)
        let response = try call(&request, on: descriptor, daemon, name: "setsockopt")
        var room = response.argument.0
        fitSendBuffer(of: descriptor, to: &room)
    }

    /// A small send buffer is to be felt by the writer, whose bytes wait in the descriptor first.
    static func fitSendBuffer(of descriptor: Int32, to room: inout Int32) {
        if room > 0 {
            setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    /// True for the options that belong to the descriptor and not to the daemon.
    static func isKernelOption(_ level: Int32, _ name: Int32) -> Bool {
        level == SOL_SOCKET
            && (name == SO_RCVTIMEO || name == SO_SNDTIMEO || name == SO_RCVLOWAT || name == SO_PEEK_OFF
                || name == SO_OOBINLINE)
    }

    /// Resets the connection, whatever is queued (RFC 9293 3.10.5).
    public static func abort(_ descriptor: Int32, daemon: DaemonPath = .standard) throws(ChisocketError) {
        var request = chitcp_request(CHITCP_OP_ABORT)
        try call(&request, on: descriptor, daemon, name: "abort")
    }

    /// Sends a request about the chisocket behind `descriptor` and throws what the daemon finds wrong.
    @discardableResult
    static func call(
        _ request: inout chitcp_request, on descriptor: Int32, _ daemon: DaemonPath, attached: Bool = false,
        name: String, context: @autoclosure () -> String = "", isInterruptible: Bool = false
    ) throws(ChisocketError) -> chitcp_response {
        let identity = try DescriptorIdentity(of: descriptor, call: name)
        let connection = try ThreadConnections.connection(to: daemon)
        guard connection.daemonID == identity.daemonID else {
            throw ChisocketError(
                errno: ECONNRESET, call: name, context: "on a chisocket of another daemon than the one at \(daemon)")
        }
        request.socket_id = identity.socketID
        let (response, received) = try connection.exchange(
            &request, attached: attached ? descriptor : -1, name: name, isInterruptible: isInterruptible)
        if received >= 0 { Glibc.close(received) }
        try response.check(name, context())
        return response
    }

    /// What the descriptor is for; the daemon is asked only if this process does not know.
    static func role(
        of descriptor: Int32, _ identity: DescriptorIdentity, _ daemon: DaemonPath, call name: String
    ) throws(ChisocketError) -> DescriptorRoles.Role? {
        if let known = DescriptorRoles.role(of: descriptor, identity) { return known }
        let answer = try names(descriptor, call: name, daemon: daemon)
        return DescriptorRoles.learn(descriptor, identity, state: answer.state, hasPeer: answer.remote != nil)
    }

    /// Throws ENOTCONN unless the chisocket is or was connected, or is connecting: bytes written into a descriptor before
    /// would go nowhere, and a read from a listening one would take a connection off its queue.
    static func requireConnected(
        _ descriptor: Int32, _ daemon: DaemonPath, call name: String
    ) throws(ChisocketError) {
        let identity = try DescriptorIdentity(of: descriptor, call: name)
        do throws(ChisocketError) {
            if try role(of: descriptor, identity, daemon, call: name) == .connected { return }
        } catch {
            // The daemon no longer knows the socket, or is gone: what the descriptor still holds is the kernel's to say.
            return
        }
        throw ChisocketError(errno: ENOTCONN, call: name)
    }
}
