// Packet capture: pcap with nanoseconds, raw IP, written by a thread of its own.
import Glibc
import Synchronization
import TCPSegments

/// Writes a pcap file. Records wait in a bounded queue for the writer thread, so that a slow disk never stops the caller;
/// what does not fit is counted.
public final class CaptureWriter: Sendable {
    private let writer: BackgroundWriter

    /// Creates or overwrites the file at `path`.
    public init(path: String) throws(SystemError) {
        let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard fd >= 0 else { throw SystemError("cannot write the capture \(path)") }
        writer = BackgroundWriter(descriptor: fd, name: "capture")
        writer.write(Self.fileHeader)
    }

    /// pcap's global header: nanosecond magic, version 2.4, snaplen 65535, link type 101 (raw IP).
    public static let fileHeader: [UInt8] = {
        var bytes: [UInt8] = []
        func put32(_ v: UInt32) { withUnsafeBytes(of: v.littleEndian) { bytes += $0 } }
        func put16(_ v: UInt16) { withUnsafeBytes(of: v.littleEndian) { bytes += $0 } }
        put32(0xa1b2_3c4d)
        put16(2)
        put16(4)
        put32(0)
        put32(0)
        put32(65535)
        put32(101)
        return bytes
    }()

    /// Records a segment with its TCP header in front, at `time` nanoseconds since 1970.
    public func record(_ segment: UnsafeRawBufferPointer, from: IPAddress, to: IPAddress, time: Int64) {
        writer.write(Self.record(segment, from: from, to: to, time: time))
    }

    /// One pcap record: a synthesised IP header (TTL 233) and the segment. A checksum of 0 is filled in, so that readers do
    /// not complain about what this network layer leaves out on purpose.
    public static func record(
        _ segment: UnsafeRawBufferPointer, from: IPAddress, to: IPAddress, time: Int64
    ) -> [UInt8] {
        let v4 = from.isIPv4 && to.isIPv4
        let ipLength = v4 ? 20 : 40
        let total = ipLength + segment.count
        let kept = min(total, 65_535)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16 + kept)
        func put32(_ v: UInt32) { withUnsafeBytes(of: v.littleEndian) { bytes += $0 } }
        put32(UInt32(truncatingIfNeeded: time / 1_000_000_000))
        put32(UInt32(truncatingIfNeeded: time % 1_000_000_000))
        put32(UInt32(kept))
        put32(UInt32(total))
        func big16(_ v: Int) { bytes += [UInt8(truncatingIfNeeded: v >> 8), UInt8(truncatingIfNeeded: v)] }
        func big64(_ v: UInt64) { withUnsafeBytes(of: v.bigEndian) { bytes += $0 } }
        if v4 {
            let start = bytes.count
            bytes += [0x45, 0]
            big16(total)
            bytes += [0, 0, 0x40, 0, 233, 6, 0, 0]
            for a in [from, to] { withUnsafeBytes(of: a.v4Bits.bigEndian) { bytes += $0 } }
            var sum = InternetChecksum()
            bytes[start...].withUnsafeBytes { sum.add($0) }
            bytes[start + 10] = UInt8(sum.value >> 8)
            bytes[start + 11] = UInt8(sum.value & 0xFF)
        } else {
            bytes += [0x60, 0, 0, 0]
            big16(segment.count)
            bytes += [6, 233]
            for a in [from, to] {
                big64(a.high)
                big64(a.low)
            }
        }
        let tcp = bytes.count
        bytes += segment.prefix(kept - ipLength)
        if segment.count >= 20, kept == total, segment[16] == 0, segment[17] == 0 {
            let sum = InternetChecksum.checksum(of: segment, from: from, to: to)
            bytes[tcp + 16] = UInt8(sum >> 8)
            bytes[tcp + 17] = UInt8(sum & 0xFF)
        }
        return bytes
    }

    /// Waits until everything is written, and closes the file.
    public func close() { writer.close() }
    /// Records that did not fit into the queue.
    public var dropped: Int { writer.dropped }
}
