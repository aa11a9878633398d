// `chitcp capture` of a TUN device, as tshark reads it.
import Glibc
import TestSupport
import Testing

@Suite(
    "chitcp capture on a TUN device", .timeLimit(.minutes(15)),
    .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"), .enabled(if: TShark.isThere, "tshark is not installed")
)
struct TunCaptureTests {
    /// The bytes of one direction, put together from their segments by sequence number.
    private func stream(_ rows: [[Substring]], from source: String, device: String) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var next = 1
        let segments = try rows.filter { $0[0] == source && !$0[4].isEmpty }.map { (try #require(Int($0[3])), $0[4]) }
        for (sequence, text) in segments.sorted(by: { $0.0 < $1.0 }) where sequence + text.utf8.count / 2 > next {
            try #require(sequence <= next, "bytes from \(next) to \(sequence) are missing in \(device)")
            func value(_ digit: UInt8) -> UInt8 { digit <= UInt8(ascii: "9") ? digit & 15 : digit & 15 + 9 }
            let digits = Array(text.utf8)
            for index in (next - sequence)..<digits.count / 2 {
                bytes.append(value(digits[2 * index]) << 4 | value(digits[2 * index + 1]))
            }
            next = sequence + digits.count / 2
        }
        return bytes
    }

    @Test(
        "a transfer both ways with the kernel: every byte, the device's name, directions, nothing malformed, no bad checksum",
        arguments: [true, false], [true, false])
    func transfer(kernelConnects: Bool, isIPv4: Bool) throws {
        let bench = try Bench()
        let file = bench.folder + "/capture.pcapng"
        defer { unlink(file) }
        let capture = try CommandProcess(["capture", "--socket", bench.path.path, "-w", file])
        try capture.waitUntilItSays("capturing at")
        let (kernel, ours) = try bench.connected(kernelConnects: kernelConnects, isIPv4: isIPv4)
        // Less than what waits for a reader that does not get its turn (4 MiB): nothing is missed.
        let there = pattern(1_000_000), back = Array(there.reversed())
        try exchange(there, back, kernel, ours)
        #expect(capture.end(SIGINT) == 0)
        #expect(capture.said.contains(" segments\n") && !capture.said.contains("missed"), "\(capture.said)")

        let rows = try TShark.rows(
            of: file,
            [
                isIPv4 ? "ip.src" : "ipv6.src", "frame.interface_name", "frame.packet_flags_direction", "tcp.seq",
                "tcp.payload",
            ])
        #expect(try TShark.complaints(of: file, isIPv4: isIPv4) == [])
        let (own, peer) = isIPv4 ? (Bench.daemon4, Bench.kernel4) : (Bench.daemon6, Bench.kernel6)
        #expect(rows.allSatisfy { $0[1] == "tun0" })
        // 1: inbound, 2: outbound.
        #expect(
            rows.allSatisfy {
                $0[0] == "\(own)" && $0[2] == "0x00000002" || $0[0] == "\(peer)" && $0[2] == "0x00000001"
            })
        #expect(try stream(rows, from: "\(own)", device: "tun0") == back)
        #expect(try stream(rows, from: "\(peer)", device: "tun0") == there)
    }
}
