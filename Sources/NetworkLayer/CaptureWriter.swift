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
        // O_NONBLOCK: a FIFO that nobody reads is an error, not a wait without end.
        let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0o644)
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
        let ip = IPHeader(source: from, destination: to, protocolNumber: 6, hopLimit: 233)
        let ipLength = ip.encodedLength
        let total = ipLength + segment.count
        let kept = min(total, 65_535)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16 + kept)
        func put32(_ v: UInt32) { withUnsafeBytes(of: v.littleEndian) { bytes += $0 } }
        put32(UInt32(truncatingIfNeeded: time / 1_000_000_000))
        put32(UInt32(truncatingIfNeeded: time % 1_000_000_000))
        put32(UInt32(kept))
        put32(UInt32(total))
        withUnsafeTemporaryAllocation(byteCount: ipLength, alignment: 8) { header in
            guard let base = header.baseAddress else { return }
            ip.encode(payloadLength: segment.count, into: base)
            bytes += header
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
