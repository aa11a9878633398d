// Chunks kept for reuse, so that transfers do not allocate.
import TCPSegments

/// Hands out chunks of a few sizes and takes back those that nobody else refers to. Shared by the connections of one host.
final class ChunkPool {
    /// Free chunks of each size: 1, 4, 16 and 64 KiB.
    @exclusivity(unchecked) private var free: [[Chunk]] = Array(repeating: [], count: 4)
    /// How many bytes of each size are kept at most.
    private static let limit = 2 << 20
    /// What the buffers may grow by.
    let budget: BufferBudget

    /// `budget` in bytes.
    init(budget: Int = HostConfiguration().bufferBudget) { self.budget = BufferBudget(limit: budget) }

    /// A chunk for `count` bytes that are to follow `queued` others, with room for at least one: its size grows with the
    /// queue, so that memory stays in proportion to what is queued.
    func take(for count: Int, queued: Int) -> Chunk {
        let wanted = max(count, queued * 2)
        let index = wanted <= 1 << 10 ? 0 : wanted <= 4 << 10 ? 1 : wanted <= 16 << 10 ? 2 : 3
        return free[index].popLast() ?? Chunk(capacity: 1 << (10 + 2 * index))
    }

    /// Keeps the chunk of `holder`, which goes away, for reuse if nobody else refers to it.
    func recycle(_ holder: consuming ChunkRange) {
        var chunk = holder.chunk
        // Else the holder itself would be the somebody else.
        _ = consume holder

        let index =
            switch chunk.capacity {
            case 1 << 10: 0
            case 4 << 10: 1
            case 16 << 10: 2
            case 64 << 10: 3
            default: -1
            }
        guard index >= 0, free[index].count * chunk.capacity < Self.limit else { return }
        if isKnownUniquelyReferenced(&chunk) { free[index].append(chunk) }
    }
}
