// What the wire's functions cost: parse and write a header, and sum the bytes of a segment.
import Glibc
import TCPSegments

/// Nanoseconds of CPU this process has used.
func cpuTime() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
}

/// The median of five measurements, in nanoseconds a call. What `body` returns is used, so that nothing is left out.
func measure(_ rounds: Int, _ body: (Int) -> UInt64) -> Double {
    var used: UInt64 = 0
    let times = (0..<5).map { _ in
        let start = cpuTime()
        for i in 0..<rounds { used &+= body(i) }
        return Double(cpuTime() - start) / Double(rounds)
    }
    if used == 1 { print("") }
    return times.sorted()[2]
}

func line(_ what: String, _ figure: String, _ budget: String) {
    func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
    print("  " + pad(what, 44) + pad(figure, 14) + budget)
}

func rounded(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

let segment = UnsafeMutableRawBufferPointer.allocate(byteCount: 60 + 1460, alignment: 64)
for i in segment.indices { segment[i] = UInt8(truncatingIfNeeded: i &* 7) }
guard let base = segment.baseAddress else { fatalError("no memory") }
let whole = UnsafeRawBufferPointer(segment)
let from = IPAddress(10, 0, 0, 1)
let to = IPAddress(10, 0, 0, 2)

var plain = SegmentHeader(
    sourcePort: 1, destinationPort: 2, sequenceNumber: SequenceNumber(3), acknowledgmentNumber: SequenceNumber(4),
    controlBits: .ack, window: WindowField(5))
var stamped = plain
stamped.options.timestamps = Timestamps(value: 6, echoReply: 7)
var sacked = stamped
for i in 0..<3 {
    sacked.options.sackBlocks.append(SequenceRange(start: SequenceNumber(UInt32(i) * 9000), length: 1460))
}

print("headers and checksums, CPU time, medians of 5")
for (name, header) in [("no options", plain), ("timestamps", stamped), ("timestamps and 3 SACK blocks", sacked)] {
    var header = header
    let write = measure(5_000_000) { i in
        header.sequenceNumber = SequenceNumber(UInt32(truncatingIfNeeded: i))
        return UInt64(header.encode(into: base))
    }
    line("write a header, \(name)", rounded(write) + " ns", "tens of ns")
    let length = header.encode(into: base)
    let packet = UnsafeRawBufferPointer(rebasing: whole[..<(length + 1460)])
    let parse = measure(5_000_000) { i in
        // Another number each time, so that no result can be kept.
        base.storeBytes(of: UInt32(truncatingIfNeeded: i), toByteOffset: 4, as: UInt32.self)
        guard let (decoded, offset) = try? SegmentDecoder.decode(packet) else { fatalError("our own header") }
        return UInt64(decoded.sequenceNumber.value) &+ UInt64(offset)
    }
    line("parse it", rounded(parse) + " ns", "tens of ns")
}
for count in [64, 536, 1460] {
    let bytes = UnsafeRawBufferPointer(rebasing: whole[..<count])
    let nanoseconds = measure(5_000_000) { i in
        base.storeBytes(of: UInt32(truncatingIfNeeded: i), toByteOffset: 4, as: UInt32.self)
        return UInt64(InternetChecksum.checksum(of: bytes, from: from, to: to))
    }
    line(
        "checksum of \(count) bytes, pseudo-header included",
        rounded(Double(count) / nanoseconds) + " GB/s", count == 1460 ? "20 GB/s" : "")
}
