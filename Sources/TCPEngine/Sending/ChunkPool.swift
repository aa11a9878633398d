// Chunks kept for reuse, so that transfers do not allocate.
import TCPSegments

/// Hands out chunks of a few sizes and takes back those that nobody else refers to. Shared by the connections of one host.
final class ChunkPool {
    /// Free chunks of each size.
    @exclusivity(unchecked) private var free: [[Chunk]] = Array(repeating: [], count: ChunkPool.sizes.count)
    private static let sizes = [1 << 10, 4 << 10, 16 << 10, Chunk.largeCapacity]
    /// How many bytes of each size are kept at most.
    private static let limit = 4 << 20

    /// A chunk for `count` bytes that are to follow `queued` others, with room for at least one: its size grows with the
    /// queue, so that memory stays in proportion to what is queued.
    func take(for count: Int, queued: Int) -> Chunk {
        let wanted = max(count, queued * 2)
        var index = 0
        while index < Self.sizes.count - 1, Self.sizes[index] < wanted { index += 1 }
        return free[index].popLast() ?? Chunk(capacity: Self.sizes[index])
    }

    /// Keeps the chunk for reuse if the caller held the only reference.
    func recycle(_ chunk: consuming Chunk) {
        guard let index = Self.sizes.firstIndex(of: chunk.capacity),
            free[index].count * chunk.capacity < Self.limit
        else { return }
        var only = chunk
        if isKnownUniquelyReferenced(&only) { free[index].append(only) }
    }
}
