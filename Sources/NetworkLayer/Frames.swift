// chiTCP's frames: a 16-byte header and a TCP segment, one after the other in a stream.
import TCPSegments

/// The header of a frame (compatibility page, section 5).
public enum FrameHeader {
    /// Bytes of a frame's header.
    public static let length = 16
    /// The protocol number of TCP segments.
    public static let tcp: UInt8 = 1
    /// The largest segment this project sends: a capture's IPv4 header still fits in front of it.
    public static let maximumSegment = 65_515

    /// Writes the header of a frame with `payloadLength` bytes to `target`, which has room for 16.
    public static func encode(payloadLength: Int, into target: UnsafeMutableRawPointer) {
        target.storeBytes(of: 0, as: UInt64.self)
        target.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
        target.storeBytes(of: UInt16(clamping: payloadLength).bigEndian, as: UInt16.self)
        target.storeBytes(of: tcp, toByteOffset: 2, as: UInt8.self)
    }
}

/// Why a stream of bytes is not a stream of frames. There is no way to find the next frame after that.
public enum FrameError: Error, Hashable, Sendable {
    /// The protocol number is not 1.
    case unknownProtocol(UInt8)
    /// A frame without a segment.
    case empty
}

/// Takes frames out of a stream of bytes.
public enum FrameParser {
    /// Calls `segment` with each complete frame's payload; returns how many bytes were used up. The rest is the beginning
    /// of a frame and to be offered again with what follows it.
    public static func parse(
        _ bytes: UnsafeRawBufferPointer, _ segment: (UnsafeRawBufferPointer) -> Void
    ) throws(FrameError) -> Int {
        var used = 0
        while bytes.count - used >= FrameHeader.length {
            let length = Int(bytes.loadUnaligned(fromByteOffset: used, as: UInt16.self).bigEndian)
            let number = bytes[used + 2]
            guard number == FrameHeader.tcp else { throw .unknownProtocol(number) }
            guard length > 0 else { throw .empty }
            let end = used + FrameHeader.length + length
            guard end <= bytes.count else { break }
            segment(UnsafeRawBufferPointer(rebasing: bytes[(used + FrameHeader.length)..<end]))
            used = end
        }
        return used
    }
}
