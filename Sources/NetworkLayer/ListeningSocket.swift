// A listening socket of the network layer, where other daemons dial in.
import CLinux
import Glibc
import TCPSegments

/// A listening socket of the network layer.
final class ListeningSocket: EventHandler {
    private let descriptor: Int32
    private unowned let owner: FrameLinks

    init(_ endpoint: Endpoint, owner: FrameLinks) throws(SystemError) {
        self.owner = owner
        let attempt = "cannot listen on \(endpoint)"
        let fd = socket(
            endpoint.address.isIPv4 ? AF_INET : AF_INET6,
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { throw SystemError(attempt) }
        descriptor = fd
        var on: Int32 = 1
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        if !endpoint.address.isIPv4 {
            setsockopt(fd, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &on, socklen_t(MemoryLayout<Int32>.size))
        }
        guard SocketAddress(endpoint).withPointer({ bind(fd, $0, $1) }) == 0, Glibc.listen(fd, 1024) == 0 else {
            let error = errno
            _ = Glibc.close(fd)
            let advice =
                error == EADDRINUSE
                ? "another chitcpd? choose an address with --address, or a port with -p or CHITCPD_PORT"
                : error == EADDRNOTAVAIL ? "this machine has no such address" : ""
            throw SystemError(attempt, errno: error, advice: advice)
        }
        try owner.registry.register(fd, self)
    }

    /// Connections accepted before others get their turn: whoever dials without end holds up nobody.
    private static let turn = 64

    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        for _ in 0..<Self.turn {
            var peer = SocketAddress()
            let fd = peer.fill {
                clinux_accept(descriptor, $0, $1)
            }
            if fd < 0 {
                let error = errno
                if error == EINTR || error == ECONNABORTED { continue }
                if error != EAGAIN { owner.acceptLater(at: now) }
                return
            }
            var name = SocketAddress()
            guard name.fill({ getsockname(fd, $0, $1) }) == 0, let local = name.endpoint, let remote = peer.endpoint
            else {
                _ = Glibc.close(fd)
                continue
            }
            owner.accepted(fd, local: local.address, remote: remote.address, at: now)
        }
        owner.registry.again(self)
    }

    func close() {
        owner.registry.deregister(descriptor)
        _ = Glibc.close(descriptor)
    }
}
