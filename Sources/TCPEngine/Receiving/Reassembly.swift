// Bytes that arrived ahead of a hole, kept until it closes.
import TCPSegments

/// Blocks of out-of-order bytes: sorted, disjoint, bounded in number. What is held is never overwritten: of overlapping
/// bytes the first to arrive count.
final class Reassembly {
    struct Block {
        var start: StreamOffset
        var range: ChunkRange
        var end: StreamOffset { start + range.count }
    }

    private(set) var blocks: [Block] = []
    private let limit: Int

    /// Holds at most `limit` blocks; what would need more is dropped, and the peer sends it again.
    init(limit: Int) { self.limit = limit }

    var isEmpty: Bool { blocks.isEmpty }
    /// Bytes held.
    var count: Int { blocks.reduce(0) { $0 + $1.range.count } }

    /// Adds `bytes` that begin at `start`, except what is held already.
    func insert(_ bytes: UnsafeRawBufferPointer, at start: StreamOffset) {
        guard bytes.count > 0 else { return }
        var position = start
        let end = start + bytes.count
        var index = firstBlock(endingAfter: start)
        while position < end {
            let gapEnd = index < blocks.count ? min(blocks[index].start, end) : end
            if position < gapEnd {
                let piece = UnsafeRawBufferPointer(rebasing: bytes[(position - start)..<(gapEnd - start)])
                guard add(piece, at: position, before: &index) else { return }
            }
            guard index < blocks.count else { return }
            position = max(position, blocks[index].end)
            index += 1
        }
    }

    /// Takes out what continues the stream at `position`; what lies before it is dropped.
    func take(at position: StreamOffset, _ deliver: (ChunkRange) -> Void) -> StreamOffset {
        var position = position
        var taken = 0
        for block in blocks {
            guard block.start <= position else { break }
            taken += 1
            let skip = position - block.start
            guard skip < block.range.count else { continue }
            deliver(ChunkRange(block.range.chunk, offset: block.range.offset + skip, count: block.range.count - skip))
            position = block.end
        }
        blocks.removeFirst(taken)
        return position
    }

    private func firstBlock(endingAfter position: StreamOffset) -> Int {
        var low = 0
        var high = blocks.count
        while low < high {
            let middle = (low + high) / 2
            if blocks[middle].end <= position { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Puts `piece` in front of block `index`; afterwards `index` names the same block as before.
    private func add(_ piece: UnsafeRawBufferPointer, at position: StreamOffset, before index: inout Int) -> Bool {
        guard let source = piece.baseAddress else { return true }
        if index > 0, blocks[index - 1].end == position {
            // The chunk of the block before may have room behind its bytes; only its last range may grow.
            let before = blocks[index - 1].range
            let free = before.chunk.capacity - before.offset - before.count
            if free >= piece.count {
                (before.chunk.base + before.offset + before.count).copyMemory(from: source, byteCount: piece.count)
                blocks[index - 1].range.count += piece.count
                return true
            }
        }
        guard blocks.count < limit else { return false }
        let chunk = Chunk(capacity: max(piece.count, 2048))
        chunk.base.copyMemory(from: source, byteCount: piece.count)
        blocks.insert(Block(start: position, range: ChunkRange(chunk, offset: 0, count: piece.count)), at: index)
        index += 1
        return true
    }
}
