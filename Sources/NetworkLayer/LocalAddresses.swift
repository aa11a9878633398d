// From which of this host's addresses another one is reached.
import CLinux
import Glibc
import TCPSegments

/// Asks the kernel for the way, and remembers for a moment what it said.
struct LocalAddresses {
    /// The addresses that this host uses; empty: all that the machine has.
    private let ours: [IPAddress]
    private var known: [IPAddress: (address: IPAddress, second: Int)] = [:]

    init(ours: [IPAddress]) { self.ours = ours }

    /// What the kernel says, if it is one of ours; else our first of that family.
    mutating func address(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress {
        let candidates = ours.lazy.filter { $0.isIPv4 == remote.isIPv4 }
        if candidates.count == 1, let only = candidates.first { return only }
        let now = Self.monotonicSeconds()
        if let known = known[remote], known.second == now { return known.address }
        let found = try find(toReach: remote)
        // Bounded, and asked again every second: routes change.
        if known.count >= 1024 { known = [:] }
        known[remote] = (found, now)
        return found
    }

    private static func monotonicSeconds() -> Int {
        var t = timespec()
        clock_gettime(CLOCK_MONOTONIC, &t)
        return t.tv_sec
    }

    private func find(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress {
        let fd = socket(
            remote.isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { throw .unreachable }
        defer { _ = Glibc.close(fd) }
        if SocketAddress(Endpoint(remote, 9)).withPointer({ Glibc.connect(fd, $0, $1) }) == 0 {
            var name = SocketAddress()
            if name.fill({ getsockname(fd, $0, $1) }) == 0, let local = name.endpoint?.address,
                ours.isEmpty || ours.contains(local)
            {
                return local
            }
        } else if ours.isEmpty {
            throw .unreachable
        }
        guard let first = ours.first(where: { $0.isIPv4 == remote.isIPv4 }) else { throw .unreachable }
        return first
    }
}
