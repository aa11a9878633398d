// `chitcp relay` between two kernels: their TCP over a wire that we make bad.
import CLinux
import Glibc
import TCPSegments
import TestSupport
import Testing

/// A network namespace with a name, as `ip netns` has them; it goes with this object.
private final class NamedNamespace: Sendable {
    let name: String

    init(_ name: String) throws {
        self.name = name
        try command("ip netns add \(name) && ip -n \(name) link set lo up")
    }

    /// Moves the calling thread into it, for good.
    func enter() throws {
        let descriptor = open("/run/netns/" + name, O_RDONLY | O_CLOEXEC)
        defer { close(descriptor) }
        try #require(clinux_enter_network(descriptor) == 0)
    }

    deinit { try? command("ip netns del \(name)") }
}

@Suite("chitcp relay", .timeLimit(.minutes(15)), .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct RelayTests {
    @Test("the kernel's TCP gets every byte through, and the relay says what it did", arguments: [true, false])
    func transfer(isIPv4: Bool) throws {
        let left = try NamedNamespace("chitcp-test-\(getpid())-l\(isIPv4 ? 4 : 6)")
        let right = try NamedNamespace("chitcp-test-\(getpid())-r\(isIPv4 ? 4 : 6)")
        let relay = try CommandProcess([
            "relay", "--tun", "wire@\(left.name)", "--tun", "wire@\(right.name)", "--impair",
            "loss=2%,delay=2ms,reorder=1%/2ms,duplicate=1%,corrupt=1%,rate=200mbit,queue=60kB,seed=3", "--mark", "10kB",
        ])
        try relay.waitUntilItSays("Ctrl-C")
        let ends = isIPv4 ? ["10.79.0.1", "10.79.0.2"] : ["fd79::1", "fd79::2"]
        for (namespace, address) in zip([left, right], ends) {
            let suffix = isIPv4 ? "/24" : "/64 nodad"
            try command("ip -n \(namespace.name) addr add \(address)\(suffix) dev wire")
            try command("ip netns exec \(namespace.name) sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_ecn'")
        }
        let there = Endpoint(try #require(IPAddress(ends[1])), 7)
        let data = pattern(1_000_000)
        let server = Background {
            try right.enter()
            let connection = try KernelSocket.listening(on: there).accept()
            #expect(try connection.receiveAll() == data)
            try connection.send(data)
        }
        let client = Background {
            try left.enter()
            var socket = try KernelSocket(isIPv4: isIPv4)
            for attempt in 0..<3000 {
                do {
                    try socket.connect(to: there)
                    break
                } catch let error as KernelSocket.Failure where error.errno == ECONNREFUSED && attempt < 2999 {
                    usleep(10_000)  // until the other thread listens
                    socket = try KernelSocket(isIPv4: isIPv4)
                }
            }
            try socket.send(data)
            socket.shutdownSending()
            #expect(try socket.receiveAll() == data)
        }
        for thread in [client, server] { #expect(thread.join() == nil) }
        #expect(relay.end(SIGINT) == 0)
        let lines = relay.said.split(separator: "\n").filter { $0.contains("packets in") }
        #expect(lines.count == 2, "\(relay.said)")
        for line in lines {
            for what in ["lost", "reordered", "duplicated", "corrupted", "marked"] {
                #expect(line.contains(what), "\(line)")
            }
        }
    }
}
