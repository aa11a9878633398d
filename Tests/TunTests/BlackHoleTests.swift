// A way to the kernel's TCP that swallows large packets without a word.
import Chisocket
import Daemon
import Glibc
import Impairments
import TCPSegments
import TestSupport
import Testing

@Suite(
    "A black hole on a TUN device", .timeLimit(.minutes(15)),
    .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")")
)
struct BlackHoleTests {
    @Test("what is sent comes through, in segments that fit, all the same", arguments: [true, false])
    func transfer(isIPv4: Bool) throws {
        let bench = try Bench()
        // Above what is tried first, and below the device's 1,500 bytes.
        let largest = isIPv4 ? 1200 : 1350
        for rule in try ImpairmentRule.parse("largest=\(largest)") {
            try DaemonControl.impair(rule.record, at: bench.path)
        }
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: isIPv4)
        let data = pattern(1_000_000)
        let receiver = Background {
            let all = try kernel.receiveAll()
            #expect(all == data)
        }
        try ours.send(data)
        try ours.shutdown(.sending)
        #expect(receiver.join() == nil)
        let information = try ours.withDescriptor { d throws(ChisocketError) in
            try DescriptorCalls.option(d, level: Int32(IPPROTO_TCP), name: TCP_INFO, daemon: bench.path)
        }
        let segment = information.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 16, as: UInt32.self) }
        // Headers and timestamps.
        let most = largest - (isIPv4 ? 40 : 60) - 12
        #expect(Int(segment) <= most && Int(segment) > most / 2, "tcpi_snd_mss \(segment)")
    }
}
