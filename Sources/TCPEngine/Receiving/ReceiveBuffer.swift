// In-order bytes that the user has not read yet.
import DequeModule
import TCPSegments

/// A queue of received bytes in chunks. Memory is proportional to what it holds.
struct ReceiveBuffer {
    private var ranges = Deque<ChunkRange>()
    private let pool: ChunkPool
    /// Bytes held.
    private(set) var count = 0
    /// Filled bytes of the last range's chunk; -1 if its rest is not ours to fill.
    private var fill = -1

    init(pool: ChunkPool) { self.pool = pool }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while rest.count > 0, let source = rest.baseAddress {
            if fill < 0 || fill == (ranges.last?.chunk.capacity ?? 0) {
                ranges.append(ChunkRange(pool.take(for: rest.count, queued: count), offset: 0, count: 0))
                fill = 0
            }
            let last = ranges.count - 1
            let chunk = ranges[last].chunk
            let n = min(chunk.capacity - fill, rest.count)
            // Bounds: fill + n <= capacity, and n <= rest.count.
            (chunk.base + fill).copyMemory(from: source, byteCount: n)
            fill += n
            ranges[last].count += n
            count += n
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
        }
    }

    /// Appends bytes that lie in a chunk already.
    mutating func append(_ range: ChunkRange) {
        guard range.count > 0 else { return }
        ranges.append(range)
        count += range.count
        fill = -1
    }

    /// The first contiguous run of bytes, which stays valid while `body` runs; empty if there are none.
    func withFirst<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        guard let first = ranges.first else { return body(UnsafeRawBufferPointer(start: nil, count: 0)) }
        return withExtendedLifetime(first.chunk) { body(first.bytes) }
    }

    /// Forgets the first `n` bytes (at most `count`).
    mutating func consume(_ n: Int) {
        var left = min(n, count)
        count -= left
        while left > 0, let first = ranges.first {
            if first.count <= left {
                left -= first.count
                ranges.removeFirst()
                pool.recycle(first.chunk)
                if ranges.isEmpty { fill = -1 }
            } else {
                ranges[0].offset += left
                ranges[0].count -= left
                left = 0
            }
        }
        if ranges.isEmpty { ranges = Deque() }
    }

    /// Copies all bytes without consuming them, for snapshots.
    func copyAll() -> [UInt8] { ranges.flatMap { Array($0.bytes) } }

    mutating func discardAll() {
        ranges = Deque()
        count = 0
        fill = -1
    }
}
