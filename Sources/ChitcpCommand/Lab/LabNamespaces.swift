// The networks of labs with namespaces: one for each host, joined by a bridge in one of its own, made with ip(8).
import CLinux
import Glibc

/// A lab's network namespaces. Hosts have 10.88.0.N; where that is a daemon's, the kernel of its namespace only forwards between
/// the daemon's TUN device and the others, and has 10.88.1.N for its own messages.
enum LabNamespaces {
    /// The name of a host's namespace. Names of labs and hosts have no dots.
    static func name(lab: String, host: String) -> String { "chitcp.\(lab).\(host)" }
    /// The name of the namespace with the bridge.
    static func hub(lab: String) -> String { "chitcp.\(lab)" }
    /// The address of host number `index` (from 0).
    static func address(_ index: Int) -> String { "10.88.0.\(index + 1)" }
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

    /// Makes all of them; what exists of them already is a mistake. The caller takes away what was made if this fails.
    static func make(lab: String, hosts: [LabDescription.Host]) throws {
        let hub = hub(lab: lab)
        try shell(
            """
            ip netns add \(hub)
            ip -n \(hub) link add bridge type bridge
            ip -n \(hub) link set bridge up
            """)
        for (index, host) in hosts.enumerated() {
            let own = name(lab: lab, host: host.name)
            let address = address(index)
            var script = """
                ip netns add \(own)
                ip -n \(own) link set lo up
                ip link add eth0 netns \(own) type veth peer name host\(index) netns \(hub)
                ip -n \(hub) link set host\(index) master bridge up
                ip -n \(own) link set eth0 up

                """
            if host.isKernel {
                script += """
                    ip -n \(own) addr add \(address)/24 dev eth0
                    ip -n \(own) route add 10.88.1.0/24 dev eth0
                    """
            } else {
                // The kernel answers for the daemon's address on the wire, at once, and forwards.
                script += """
                    ip -n \(own) tuntap add \(device) mode tun
                    ip -n \(own) link set \(device) mtu 1500 up
                    ip -n \(own) addr add 10.88.1.\(index + 1)/24 dev eth0
                    ip -n \(own) route add \(address)/32 dev \(device)
                    ip -n \(own) route add 10.88.0.0/24 dev eth0
                    ip netns exec \(own) sh -ec 'cd /proc/sys/net/ipv4; echo 1 > ip_forward
                        echo 1 > conf/eth0/proxy_arp; echo 0 > neigh/eth0/proxy_delay
                        echo 0 > conf/eth0/send_redirects; echo 0 > conf/all/send_redirects'
                    """
            }
            try shell(script)
        }
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
