// The kernel's congestion controls as senders, and what a capture on the device shows.
import Chisocket
import Glibc
import TestSupport
import Testing

/// The congestion controls of this kernel.
private let algorithms = readText("/proc/sys/net/ipv4/tcp_available_congestion_control").split(
    whereSeparator: \.isWhitespace
)
.map(String.init)

@Suite(
    "The kernel's senders", .timeLimit(.minutes(15)), .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
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
        .enabled(if: TShark.isThere, "tshark is not installed"), arguments: [true, false])
    func captureIsClean(isIPv4: Bool) throws {
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
        #expect(try TShark.complaints(of: path, isIPv4: isIPv4) == [])
        // 8 MB in segments of the MTU, not in what the kernel puts together.
        #expect(try TShark.rows(of: path, ["frame.number"]).count > 5500)
    }
}
