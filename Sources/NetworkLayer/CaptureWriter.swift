// The capture file of chitcpd -c: pcap with nanoseconds, as the original writes it, by a thread of its own.
import Glibc

/// Writes a pcap file of what is on the wire: a segment that an impairment drops on its way out is not in it. Records wait in
/// a bounded queue for the writer thread, so that a slow disk never stops the caller; what does not fit is counted.
public final class CaptureWriter: SegmentRecorder {
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
        put32(UInt32(CapturedPacket.maximumLength))
        put32(UInt32(CapturedPacket.linkType))
        return bytes
    }()

    /// Records a segment.
    public func record(_ segment: TappedSegment) {
        guard segment.impairment?.drop == nil || !segment.isOutgoing else { return }
        writer.write(Self.bytes(of: segment))
    }

    /// One pcap record.
    public static func bytes(of segment: TappedSegment) -> [UInt8] {
        let total = CapturedPacket.length(segment)
        let kept = min(total, CapturedPacket.maximumLength)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16 + kept)
        func put32(_ v: UInt32) { withUnsafeBytes(of: v.littleEndian) { bytes += $0 } }
        put32(UInt32(truncatingIfNeeded: segment.time / 1_000_000_000))
        put32(UInt32(truncatingIfNeeded: segment.time % 1_000_000_000))
        put32(UInt32(kept))
        put32(UInt32(total))
        CapturedPacket.append(segment, to: &bytes, limit: kept)
        return bytes
    }

    /// Waits until everything is written, and closes the file.
    public func close() { writer.close() }
    /// Records that did not fit into the queue.
    public var dropped: Int { writer.dropped }
}
