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

    /// A contiguous run of blocks, and when it last grew.
    private struct Run {
        var range: Range<StreamOffset>
        var grownAt: UInt64
    }

    private(set) var blocks: [Block] = []
    /// What lies between the holes, in order.
    private var runs: [Run] = []
    private var growths: UInt64 = 0
    private let limit: Int
    private let pool: ChunkPool

    /// Holds at most `limit` blocks; what would need more is dropped, and the peer sends it again.
    init(limit: Int, pool: ChunkPool) {
        self.limit = limit
        self.pool = pool
    }

    var isEmpty: Bool { blocks.isEmpty }
    /// Bytes held.
    var count: Int { blocks.reduce(0) { $0 + $1.range.count } }

    /// How many runs there are.
    var runCount: Int { runs.count }

    /// The runs that grew most recently, newest first (RFC 2018 4), at most `limit`.
    func forEachRecent(_ limit: Int, _ body: (Range<StreamOffset>) -> Void) {
        var before = UInt64.max
        for _ in 0..<max(0, min(limit, runs.count)) {
            var newest: Run?
            for run in runs where run.grownAt < before && run.grownAt > newest?.grownAt ?? 0 { newest = run }
            guard let newest else { return }
            body(newest.range)
            before = newest.grownAt
        }
    }

    /// The part of [start, end) that is held already, if it is one piece: for a duplicate's report (RFC 2883).
    func firstHeld(from start: StreamOffset, to end: StreamOffset) -> Range<StreamOffset>? {
        for run in runs where run.range.upperBound > start && run.range.lowerBound < end {
            return max(start, run.range.lowerBound)..<min(end, run.range.upperBound)
        }
        return nil
    }

    /// [start, end) is held now, or was: its run becomes the newest.
    private func grow(_ start: StreamOffset, _ end: StreamOffset) {
        growths += 1
        var merged = start..<end
        var first = 0
        while first < runs.count, runs[first].range.upperBound < start { first += 1 }
        var last = first
        while last < runs.count, runs[last].range.lowerBound <= end {
            merged =
                min(
                    merged.lowerBound, runs[last].range.lowerBound)..<max(
                    merged.upperBound, runs[last].range.upperBound)
            last += 1
        }
        runs.replaceSubrange(first..<last, with: CollectionOfOne(Run(range: merged, grownAt: growths)))
    }

    /// Adds `bytes` that begin at `start`, except what is held already.
    func insert(_ bytes: UnsafeRawBufferPointer, at start: StreamOffset) {
        guard bytes.count > 0 else { return }
        var position = start
        let end = start + bytes.count
        defer { if position > start { grow(start, min(position, end)) } }
        var index = firstBlock(endingAfter: start)
        while position < end {
            let gapEnd = index < blocks.count ? min(blocks[index].start, end) : end
            if position < gapEnd {
                let piece = UnsafeRawBufferPointer(rebasing: bytes[(position - start)..<(gapEnd - start)])
                guard add(piece, at: position, before: &index) else { return }
                position = gapEnd
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
        while let first = runs.first, first.range.lowerBound < position {
            if first.range.upperBound <= position {
                runs.removeFirst()
            } else {
                runs[0].range = position..<first.range.upperBound
            }
        }
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
            if blocks[index - 1].range.appendToChunk(source, piece.count) { return true }
        }
        guard blocks.count < limit else { return false }
        // Small pieces get small chunks, so that the number of blocks bounds the memory as well; the larger ones come from the
        // pool, or each loss would allocate and free as much as is in flight.
        let chunk =
            switch piece.count {
            case ..<512: Chunk(capacity: 512)
            case ...Chunk.largeCapacity: pool.take(for: piece.count, queued: 0)
            default: Chunk(capacity: piece.count)
            }
        chunk.base.copyMemory(from: source, byteCount: piece.count)
        blocks.insert(Block(start: position, range: ChunkRange(chunk, offset: 0, count: piece.count)), at: index)
        index += 1
        return true
    }
}

extension ChunkRange {
    /// Copies `n` bytes behind the range and makes them part of it, if its chunk has room for them there. For the chunk's last
    /// range only.
    fileprivate mutating func appendToChunk(_ source: UnsafeRawPointer, _ n: Int) -> Bool {
        let end = offset + count
        guard chunk.capacity - end >= n else { return false }
        // Bounds: end + n <= capacity.
        (chunk.base + end).copyMemory(from: source, byteCount: n)
        count += n
        return true
    }
}
