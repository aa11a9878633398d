// In-order bytes that the user has not read yet.
import TCPSegments

/// A queue of received bytes in chunks. Memory is proportional to what it holds. Not copyable: a copy made to call a method
/// would count references.
struct ReceiveBuffer: ~Copyable {
    private var ranges = ShortQueue<ChunkRange>()
    let pool: ChunkPool
    /// Bytes held.
    private(set) var count = 0
    /// Where the next byte goes: behind the last range, in its chunk, which `ranges` keeps alive; valid for `room` bytes.
    /// So a segment costs a copy and no look at the chunk. nil: the next bytes begin another range.
    private var tail: UnsafeMutableRawPointer?
    private var room = 0
    /// Bytes before `tail` that the last range does not count yet.
    private var unrecorded = 0

    init(pool: ChunkPool) { self.pool = pool }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        if let tail, bytes.count <= room {
            fill(from: source, bytes.count, at: tail)
            return
        }
        appendAcrossChunks(bytes)
    }

    /// Bounds: the caller has seen that `n` <= `room`.
    @inline(__always)
    private mutating func fill(from source: UnsafeRawPointer, _ n: Int, at tail: UnsafeMutableRawPointer) {
        tail.copyMemory(from: source, byteCount: n)
        self.tail = tail + n
        room -= n
        unrecorded += n
        count += n
    }

    private mutating func appendAcrossChunks(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while rest.count > 0, let source = rest.baseAddress {
            if room == 0 {
                record()
                let chunk = pool.take(for: rest.count, queued: count)
                ranges.append(ChunkRange(chunk, offset: 0, count: 0))
                tail = chunk.base
                room = chunk.capacity
            }
            guard let tail else { preconditionFailure("room without a chunk") }
            let n = min(room, rest.count)
            fill(from: source, n, at: tail)
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
        }
    }

    /// Lets the last range count what lies before `tail`.
    private mutating func record() {
        guard unrecorded > 0 else { return }
        ranges[ranges.count - 1].count += unrecorded
        unrecorded = 0
    }

    /// Nothing more goes into the last range's chunk.
    private mutating func seal() {
        record()
        tail = nil
        room = 0
    }

    /// Appends bytes that lie in a chunk already, and whose chunk's rest is not ours to fill.
    mutating func append(_ range: ChunkRange) {
        guard range.count > 0 else { return }
        seal()
        ranges.append(range)
        count += range.count
    }

    /// The first contiguous run of bytes; nil if there are none.
    mutating func firstRange() -> ChunkRange? {
        record()
        return ranges.first
    }

    /// Forgets the first `n` bytes (at most `count`).
    mutating func consume(_ n: Int) {
        record()
        var left = min(n, count)
        count -= left
        while left > 0, !ranges.isEmpty {
            if ranges[0].count <= left {
                left -= ranges[0].count
                if ranges.count == 1 { seal() }
                if let range = ranges.popFirst() { pool.recycle(range) }
            } else {
                ranges[0].offset += left
                ranges[0].count -= left
                left = 0
            }
        }
    }

    /// Copies the first bytes, at most `limit`, without consuming them, for snapshots.
    mutating func copy(limit: Int) -> [UInt8] {
        record()
        var copy: [UInt8] = []
        for index in 0..<ranges.count where copy.count < limit {
            copy.append(contentsOf: ranges[index].bytes.prefix(limit - copy.count))
        }
        return copy
    }

    mutating func discardAll() {
        seal()
        ranges.removeAll()
        count = 0
    }
}
