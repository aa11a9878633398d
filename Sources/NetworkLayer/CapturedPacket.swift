// A segment as captures hold it: in an IP packet, although frames have no IP header.
import TCPSegments

/// The IP packet that a capture shows for a segment.
enum CapturedPacket {
    /// Link type 101: IP packets without anything in front.
    static let linkType: UInt16 = 101
    /// What an IPv4 header can say of its packet's length.
    static let maximumLength = 65_535

    /// Bytes of the packet for a segment between two addresses.
    static func length(_ segment: TappedSegment) -> Int {
        header(segment).encodedLength + segment.bytes.count
    }

    /// Appends the packet, cut to `limit` bytes: a synthesised IP header (TTL 233) and the segment. A checksum of 0 is filled
    /// in, so that readers do not complain about what frames leave out on purpose.
    static func append(_ segment: TappedSegment, to bytes: inout [UInt8], limit: Int) {
        let ip = header(segment)
        let start = bytes.count
        withUnsafeTemporaryAllocation(byteCount: ip.encodedLength, alignment: 8) { space in
            guard let base = space.baseAddress else { return }
            ip.encode(payloadLength: segment.bytes.count, into: base)
            bytes += space
        }
        let tcp = bytes.count
        let kept = max(0, limit - ip.encodedLength)
        bytes += segment.bytes.prefix(kept)
        if segment.bytes.count >= 20, kept >= 18, segment.bytes[16] == 0, segment.bytes[17] == 0 {
            let sum = InternetChecksum.checksum(of: segment.bytes, from: ip.source, to: ip.destination)
            bytes[tcp + 16] = UInt8(sum >> 8)
            bytes[tcp + 17] = UInt8(sum & 0xFF)
        }
        if bytes.count > start + limit { bytes.removeLast(bytes.count - start - limit) }
    }

    private static func header(_ segment: TappedSegment) -> IPHeader {
        IPHeader(
            source: segment.source.address, destination: segment.destination.address, protocolNumber: 6, hopLimit: 233,
            ecn: segment.ecn)
    }
}
