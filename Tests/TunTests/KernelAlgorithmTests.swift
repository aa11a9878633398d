// The kernel's congestion controls as senders, and what a capture on the device shows.
import Chisocket
import Glibc
import Testing

/// tshark, if this machine has it (.ci/run installs it where it may).
private let tshark: String? = ["/usr/bin/tshark", "/usr/local/bin/tshark"].first { access($0, X_OK) == 0 }

/// The congestion controls of this kernel.
private let algorithms = readText("/proc/sys/net/ipv4/tcp_available_congestion_control").split(
    whereSeparator: \.isWhitespace
)
.map(String.init)

@Suite(
    "The kernel's senders", .timeLimit(.minutes(3)), .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct KernelAlgorithmTests {
    @Test("whatever controls the kernel's congestion, every byte arrives", arguments: algorithms, [true, false])
    func kernelSends(algorithm: String, isIPv4: Bool) throws {
        let bench = try Bench()
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: isIPv4)
        let name = Array(algorithm.utf8)
        try #require(
            setsockopt(kernel.descriptor, Int32(IPPROTO_TCP), TCP_CONGESTION, name, socklen_t(name.count)) == 0)
        let data = pattern(4_000_000)
        let sender = Background {
            try kernel.send(data)
            kernel.shutdownSending()
        }
        #expect(try ours.receiveAll() == data)
        #expect(sender.join() == nil)
    }

    @Test(
        "tshark finds nothing malformed and no wrong checksum in a capture of both directions",
        .enabled(if: tshark != nil, "tshark is not installed"), arguments: [true, false])
    func captureIsClean(isIPv4: Bool) throws {
        let tshark = try #require(tshark)
        let bench = try Bench(capture: true)
        let data = pattern(2_000_000)
        for kernelConnects in [true, false] {
            let (kernel, ours) = try bench.connected(kernelConnects: kernelConnects, isIPv4: isIPv4)
            let sender = Background {
                try kernel.send(data)
                kernel.shutdownSending()
            }
            #expect(try ours.receiveAll() == data)
            #expect(sender.join() == nil)
            let back = Background {
                let all = try kernel.receiveAll()
                #expect(all == data)
            }
            try ours.send(data)
            try ours.shutdown(.sending)
            #expect(back.join() == nil)
        }
        let path = bench.folder + "/capture.pcap"
        bench.stop()
        // The kernel writes a checksum of 0 as 0xFFFF, as UDP must: the same number in one's complement (RFC 1071), but not the
        // one that RFC 1624 3 ends with, and tshark complains.
        let kernel = isIPv4 ? "ip.src == \(Bench.kernel4)" : "ipv6.src == \(Bench.kernel6)"
        let filter = """
            _ws.malformed || ip.checksum.status == 0 ||
            (tcp.checksum.status == 0 && !(\(kernel) && tcp.checksum == 0xffff))
            """
        let complaints = try CommandProcess(
            script: """
                exec \(tshark) -n -r \(path) -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE -Y '\(filter)' 2>&1 |
                grep -v 'Running as user' || true
                """)
        #expect(complaints.wait() == 0)
        #expect(complaints.said == "", "\(complaints.said.prefix(1000))")
        let count = try CommandProcess(script: "\(tshark) -n -r \(path) 2>/dev/null | wc -l")
        #expect(count.wait() == 0)
        // 8 MB in segments of the MTU, not in what the kernel puts together.
        #expect((Int(count.said.split(separator: "\n")[0].trimmed) ?? 0) > 5500, "\(count.said)")
    }
}

extension Substring {
    fileprivate var trimmed: Substring { drop { $0 == " " } }
}
