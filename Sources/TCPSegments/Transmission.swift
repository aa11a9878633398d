// What a connection hands to a link: header fields and ranges of reference-counted chunks, so that nothing is copied
// before the link gathers it.

/// A block of payload memory, shared by a send buffer and the transmissions that carry parts of it. Bytes are written
/// once, before any transmission refers to them, and never change afterwards.
public final class Chunk: @unchecked Sendable {
    // @unchecked Sendable: the bytes of a range are immutable once it is shared, and the rest are constants.

    /// The capacity of a large chunk, in bytes.
    @inlinable public static var largeCapacity: Int { 64 * 1024 }

    /// The first byte; valid for `capacity` bytes as long as the chunk lives.
    public let base: UnsafeMutableRawPointer
    /// How many bytes there are.
    public let capacity: Int

    /// A chunk of `capacity` uninitialised bytes (1 or more).
    public init(capacity: Int) {
        precondition(capacity > 0, "a chunk holds at least one byte")
        base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        self.capacity = capacity
    }

    deinit { base.deallocate() }
}

/// A range of bytes in one chunk.
public struct ChunkRange: Sendable {
    /// The chunk.
    public let chunk: Chunk
    /// Where the range starts in the chunk.
    public var offset: Int
    /// How many bytes it covers.
    public var count: Int

    /// `count` bytes from `offset` on; both are checked against the chunk's capacity.
    @inlinable public init(_ chunk: Chunk, offset: Int, count: Int) {
        precondition(offset >= 0 && count >= 0 && offset <= chunk.capacity - count, "a range outside of its chunk")
        self.chunk = chunk
        self.offset = offset
        self.count = count
    }

    /// The bytes; valid as long as the chunk lives.
    @inlinable public var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: chunk.base + offset, count: count)
    }
}

/// Payload as a list of chunk ranges. Up to two ranges, the usual case, need no allocation: bulk data crosses from one
/// chunk into the next in nearly every transmission.
public struct Payload: Sendable {
    /// The first two ranges; nil where there is none.
    @usableFromInline var first, second: ChunkRange?
    /// The ranges after the second. nil, not empty: an empty array is counted by reference, too.
    @usableFromInline var rest: [ChunkRange]?
    /// Bytes in all ranges.
    public private(set) var count: Int = 0

    /// No payload.
    @inlinable public init() {}

    /// Appends a range; an empty one is ignored.
    public mutating func append(_ range: ChunkRange) {
        guard range.count > 0 else { return }
        count += range.count
        if first == nil {
            first = range
        } else if second == nil {
            second = range
        } else {
            rest = (rest ?? []) + [range]
        }
    }

    /// Calls `body` with the bytes of each range in order.
    @inlinable public func forEachRange(_ body: (ChunkRange) throws -> Void) rethrows {
        if let first { try body(first) }
        if let second { try body(second) }
        if let rest { for range in rest { try body(range) } }
    }

    /// Calls `body` with `count` bytes from position `offset` on, piece by piece.
    private func forEachPiece(from offset: Int, count: Int, _ body: (UnsafeRawBufferPointer) -> Void) {
        precondition(offset >= 0 && count >= 0 && offset + count <= self.count, "a copy outside of the payload")
        if let first, offset + count <= first.count {
            // Nearly every segment lies in one range.
            body(UnsafeRawBufferPointer(start: first.chunk.base + first.offset + offset, count: count))
            return
        }
        var skip = offset
        var left = count
        forEachRange { range in
            let n = min(range.count - skip, left)
            guard n > 0 else {
                skip -= min(skip, range.count)
                return
            }
            body(UnsafeRawBufferPointer(start: range.chunk.base + range.offset + skip, count: n))
            left -= n
            skip = 0
        }
    }

    /// Copies `count` bytes from position `offset` on to `destination`, which has room for them. Used by the simulator,
    /// tests and links that need contiguous bytes.
    public func copyBytes(from offset: Int, count: Int, to destination: UnsafeMutableRawPointer) {
        var target = destination
        forEachPiece(from: offset, count: count) { piece in
            if let source = piece.baseAddress { target.copyMemory(from: source, byteCount: piece.count) }
            target += piece.count
        }
    }

    /// As `copyBytes`, and adds the bytes to `checksum` in the same pass.
    public func copyBytes(
        from offset: Int, count: Int, to destination: UnsafeMutableRawPointer, checksum: inout InternetChecksum
    ) {
        var target = destination
        forEachPiece(from: offset, count: count) { piece in
            checksum.add(copying: piece, to: target)
            target += piece.count
        }
    }
}

/// One or more segments of a connection that differ only in sequence number and payload, as segmentation offload wants
/// them: segment i carries bytes [i * segmentSize, …) of the payload. PSH and FIN belong to the last segment only.
public struct Transmission: Sendable {
    /// The first segment's header.
    public var header: SegmentHeader
    /// What they carry.
    public var payload: Payload
    /// Payload bytes in each segment but the last; 1 or more.
    public var segmentSize: Int
    /// What the IP header of each says of ECN, where the link has one.
    public var ecn: ECNField
    /// The differentiated services codepoint of each (RFC 2474), where the link has IP headers: 0 to 63.
    public var differentiatedServices: UInt8 = 0

    /// A transmission of `payload` cut into segments of `segmentSize` bytes.
    @inlinable public init(
        header: SegmentHeader, payload: Payload = Payload(), segmentSize: Int = 1, ecn: ECNField = .notCapable
    ) {
        precondition(segmentSize > 0, "segments of no bytes")
        self.header = header
        self.payload = payload
        self.segmentSize = segmentSize
        self.ecn = ecn
    }

    /// One without control bits, ports and payload, to be filled in.
    @inlinable public static var blank: Transmission {
        Transmission(header: .blank)
    }

    /// How many segments these are: at least one.
    @inlinable public var segmentCount: Int { payload.count == 0 ? 1 : (payload.count + segmentSize - 1) / segmentSize }

    /// The header of segment `index` (0 ..< segmentCount) and the range of the payload it carries.
    @inlinable public func segment(_ index: Int) -> (header: SegmentHeader, payloadOffset: Int, payloadCount: Int) {
        let start = index * segmentSize
        let end = min(start + segmentSize, payload.count)
        var header = self.header
        header.sequenceNumber = header.sequenceNumber + UInt32(truncatingIfNeeded: start)
        if end < payload.count { header.controlBits.subtract([.psh, .fin]) }
        if start > 0, header.controlBits.contains(.urg) {
            // The urgent pointer counts from the segment's own number; what ended before it is not urgent any more.
            if start < Int(header.urgentPointer) {
                header.urgentPointer -= UInt16(start)
            } else {
                header.controlBits.subtract(.urg)
                header.urgentPointer = 0
            }
        }
        return (header, start, end - start)
    }
}
