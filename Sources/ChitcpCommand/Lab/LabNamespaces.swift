// The networks of labs with namespaces: one for each host, joined by a bridge in one of its own, made with ip(8).
import CLinux
import Glibc
import TCPSegments

/// A lab's network namespaces. Hosts have 10.88.0.N and fd88::N, if their file says nothing else; where that is a daemon's, the
/// kernel of its namespace only forwards between the daemon's TUN device and the others, and has 10.88.1.N and fd88:0:0:1::N for
/// its own messages.
enum LabNamespaces {
    /// The name of a host's namespace. Names of labs and hosts have no dots.
    static func name(lab: String, host: String) -> String { "chitcp.\(lab).\(host)" }
    /// The name of the namespace with the bridge.
    static func hub(lab: String) -> String { "chitcp.\(lab)" }
    /// The addresses of host number `number`, from 1.
    static func addresses(_ number: Int) -> [IPAddress] {
        [IPAddress(10, 88, 0, UInt8(clamping: number)), IPAddress(high: 0xfd88 << 48, low: UInt64(clamping: number))]
    }
    /// The networks of these.
    private static let networks = ["10.88.0.0/24", "fd88::/64"].compactMap { IPPrefix($0) }
    /// Those of the forwarding kernels' own addresses.
    static let kept = ["10.88.1.0/24", "fd88:0:0:1::/64"].compactMap { IPPrefix($0) }
    /// True if this kernel has IPv6.
    static var hasIPv6: Bool { access("/proc/sys/net/ipv6", F_OK) == 0 }
    /// The name of a daemon's TUN device.
    static let device = "tun0"

    /// Why there can be none here, or nil.
    static var obstacle: String? {
        if geteuid() != 0 { return "--namespaces needs root" }
        if access("/dev/net/tun", R_OK | W_OK) != 0 {
            return "--namespaces needs /dev/net/tun, which this kernel has not"
        }
        return nil
    }

    /// What can be reached over the bridge, when these are the addresses of all hosts: the lab's networks, and single addresses
    /// outside of them.
    static func reachable(_ addresses: [IPAddress]) -> [IPPrefix] {
        networks.filter { network in addresses.contains { network.contains($0) } }
            + addresses.filter { address in !networks.contains { $0.contains(address) } }.map(single)
    }

    /// The network that is this address alone.
    static func single(_ address: IPAddress) -> IPPrefix {
        guard let prefix = IPPrefix(address, length: address.isIPv4 ? 32 : 128) else {
            preconditionFailure("every family has a longest prefix")
        }
        return prefix
    }

    /// Makes all of them; what exists of them already is a mistake. The caller takes away what was made if this fails.
    static func make(lab: String, hosts: [LabState.Host]) throws {
        let hub = hub(lab: lab)
        // Nobody asks a bridge of a lab for groups: it hands on what solicits neighbours.
        try shell(
            """
            ip netns add \(hub)
            ip -n \(hub) link add bridge type bridge mcast_snooping 0
            ip -n \(hub) link set bridge up
            """)
        let reachable = reachable(hosts.flatMap(\.addresses))
        for (index, host) in hosts.enumerated() {
            let own = name(lab: lab, host: host.name)
            var script = ["ip netns add \(own)"]
            // Before there are interfaces: link-local addresses, from which neighbours are solicited, hold at once, without waiting
            // for a duplicate.
            if hasIPv6 {
                script.append(
                    """
                    ip netns exec \(own) sh -ec 'cd /proc/sys/net/ipv6/conf
                        for one in all default lo; do echo 0 > $one/disable_ipv6; done; echo 0 > default/accept_dad'
                    """)
            }
            script += [
                "ip -n \(own) link set lo up",
                "ip link add eth0 netns \(own) type veth peer name host\(index) netns \(hub)",
                "ip -n \(hub) link set host\(index) master bridge up", "ip -n \(own) link set eth0 up",
            ]
            let others = reachable.filter { !host.addresses.map(single).contains($0) }
            script +=
                host.isKernel
                ? ownKernel(own, host.addresses, others) : forwardingKernel(own, index + 1, host.addresses, others)
            try shell(script.joined(separator: "\n"))
        }
    }

    /// What makes the kernel of a namespace the host.
    private static func ownKernel(_ own: String, _ addresses: [IPAddress], _ others: [IPPrefix]) -> [String] {
        var script: [String] = []
        for address in addresses {
            // Usable at once: the routes below name it.
            script.append("ip -n \(own) addr add \(single(address)) dev eth0\(address.isIPv4 ? "" : " nodad")")
            for network in (others + kept) where network.address.isIPv4 == address.isIPv4 {
                script.append("ip -n \(own) route add \(network) dev eth0 src \(address)")
            }
        }
        return script
    }

    /// What makes the kernel of a namespace forward to the daemon's device. It answers for the daemon's addresses on the wire, at
    /// once.
    private static func forwardingKernel(
        _ own: String, _ number: Int, _ addresses: [IPAddress], _ others: [IPPrefix]
    ) -> [String] {
        var script = [
            "ip -n \(own) tuntap add \(device) mode tun", "ip -n \(own) link set \(device) mtu 1500 up",
        ]
        if addresses.contains(where: \.isIPv4) {
            script += [
                "ip -n \(own) addr add 10.88.1.\(number)/24 dev eth0",
                """
                ip netns exec \(own) sh -ec 'cd /proc/sys/net/ipv4; echo 1 > ip_forward
                    echo 1 > conf/eth0/proxy_arp; echo 0 > neigh/eth0/proxy_delay
                    echo 0 > conf/eth0/send_redirects; echo 0 > conf/all/send_redirects'
                """,
            ]
        }
        if addresses.contains(where: { !$0.isIPv4 }) {
            script += [
                "ip -n \(own) addr add fd88:0:0:1::\(String(number, radix: 16))/64 dev eth0 nodad",
                """
                ip netns exec \(own) sh -ec 'cd /proc/sys/net/ipv6; echo 1 > conf/all/forwarding
                    echo 1 > conf/eth0/proxy_ndp; echo 0 > neigh/eth0/proxy_delay'
                """,
            ]
        }
        for address in addresses {
            script.append("ip -n \(own) route add \(single(address)) dev \(device)")
            // IPv4 needs no more than proxy_arp.
            if !address.isIPv4 { script.append("ip -n \(own) neigh add proxy \(address) dev eth0") }
            for network in others where network.address.isIPv4 == address.isIPv4 {
                script.append("ip -n \(own) route add \(network) dev eth0")
            }
        }
        return script
    }

    /// Ends what still runs in a namespace, and removes it with its devices.
    static func remove(_ namespace: String) {
        guard access("/run/netns/" + namespace, F_OK) == 0 else { return }
        try? shell(
            """
            ip netns pids \(namespace) | while read -r pid; do kill $pid || true; done
            for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                [ -n "$(ip netns pids \(namespace))" ] || exit 0
                sleep 0.1
            done
            ip netns pids \(namespace) | while read -r pid; do kill -9 $pid || true; done
            """)
        try? shell("ip netns del \(namespace)")
    }

    /// Moves the calling thread into a namespace.
    static func enter(_ namespace: String) throws {
        let descriptor = open("/run/netns/" + namespace, O_RDONLY | O_CLOEXEC)
        defer { if descriptor >= 0 { close(descriptor) } }
        guard descriptor >= 0, clinux_enter_network(descriptor) == 0 else {
            throw CommandError("cannot enter the namespace \(namespace)", errno: errno)
        }
    }

    /// Runs a script, whose words are ours or names that were checked; what it says is the error's text.
    private static func shell(_ script: String) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw CommandError("cannot make a pipe", errno: errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let arguments: [String] = ["sh", "-ec", script]
        let words = arguments.map { strdup($0) } + [nil]
        var pid: pid_t = 0
        let code = posix_spawn(&pid, "/bin/sh", &actions, &attributes, words, environ)
        posix_spawn_file_actions_destroy(&actions)
        posix_spawnattr_destroy(&attributes)
        for word in words { free(word) }
        close(ends[1])
        defer { close(ends[0]) }
        guard code == 0 else { throw CommandError("cannot run /bin/sh", errno: code) }
        var said: [UInt8] = []
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
        defer { buffer.deallocate() }
        while case let n = readSome(ends[0], buffer), n > 0 { if said.count < 65_536 { said += buffer[..<n] } }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            let text = String(decoding: said, as: UTF8.self).split(separator: "\n").joined(separator: "; ")
            throw CommandError("the namespaces cannot be made: \(text.isEmpty ? "status \(status)" : text)")
        }
    }
}
