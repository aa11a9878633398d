// A few large chunks kept for reuse, so that bulk transfers do not allocate.
import TCPSegments

/// Hands out chunks and takes back large ones that nobody else refers to. Shared by the connections of one host.
final class ChunkPool {
    private var free: [Chunk] = []
    private static let limit = 64

    /// A chunk with room for at least `count` bytes, or for `Chunk.largeCapacity`, whichever is less.
    func take(for count: Int, queued: Int) -> Chunk {
        let wanted = max(count, queued)
        guard wanted > 16 * 1024 else {
            var capacity = 1024
            while capacity < wanted { capacity *= 2 }
            return Chunk(capacity: capacity)
        }
        return free.popLast() ?? Chunk(capacity: Chunk.largeCapacity)
    }

    /// Keeps the chunk for reuse if it is large and the caller held the only reference.
    func recycle(_ chunk: consuming Chunk) {
        guard chunk.capacity == Chunk.largeCapacity, free.count < Self.limit else { return }
        var only = chunk
        if isKnownUniquelyReferenced(&only) { free.append(only) }
    }
}
