// The bytes between SND.UNA and the end of what the user queued, in chunks addressed by stream position.
import DequeModule
import TCPSegments

/// Holds queued bytes until they are acknowledged. Bytes are copied in once and never again: transmissions and
/// retransmissions refer to the chunks.
struct SendBuffer {
    private struct Slot {
        var start: StreamOffset
        let chunk: Chunk
        /// Where `start` lies in the chunk, and how much of the chunk is filled.
        var head: Int
        var tail: Int
        var end: StreamOffset { start + (tail - head) }
    }

    private var slots = Deque<Slot>()
    private let pool: ChunkPool
    /// The position of the oldest byte held, and the one after the last.
    private(set) var start = StreamOffset(1)
    private(set) var end = StreamOffset(1)

    init(pool: ChunkPool) { self.pool = pool }

    var count: Int { end - start }

    /// Appends `maximum` bytes or fewer, as `fill` writes them: it gets room for 1 to `maximum` bytes and returns how
    /// many it wrote.
    mutating func append(maximum: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Int) -> Int {
        guard maximum > 0 else { return 0 }
        if slots.last.map({ $0.tail == $0.chunk.capacity }) ?? true {
            slots.append(Slot(start: end, chunk: pool.take(for: maximum, queued: count), head: 0, tail: 0))
        }
        let last = slots.count - 1
        let tail = slots[last].tail
        let chunk = slots[last].chunk
        let room = min(chunk.capacity - tail, maximum)
        // Bounds: tail < capacity and room <= capacity - tail.
        let written = min(max(fill(UnsafeMutableRawBufferPointer(start: chunk.base + tail, count: room)), 0), room)
        slots[last].tail = tail + written
        end = end + written
        if slots[last].tail == slots[last].head { slots.removeLast() }
        return written
    }

    /// Forgets everything before `position`.
    mutating func acknowledge(upTo position: StreamOffset) {
        guard position > start else { return }
        let position = min(position, end)
        while let slot = slots.first, slot.end <= position {
            slots.removeFirst()
            pool.recycle(slot.chunk)
        }
        if !slots.isEmpty {
            let n = position - slots[0].start
            if n > 0 {
                slots[0].head += n
                slots[0].start = position
            }
        }
        start = position
    }

    /// The bytes [from, from + count), which must be held.
    func payload(from: StreamOffset, count: Int) -> Payload {
        precondition(from >= start && count >= 0 && from + count <= end, "a transmission outside of the send buffer")
        var payload = Payload()
        guard count > 0 else { return payload }
        var index = slotIndex(of: from)
        var position = from
        var left = count
        while left > 0 {
            let slot = slots[index]
            let skip = position - slot.start
            let n = min(slot.end - position, left)
            payload.append(ChunkRange(slot.chunk, offset: slot.head + skip, count: n))
            position = position + n
            left -= n
            index += 1
        }
        return payload
    }

    /// Binary search for the slot that holds `position`.
    private func slotIndex(of position: StreamOffset) -> Int {
        var low = 0
        var high = slots.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if slots[middle].start <= position { low = middle } else { high = middle - 1 }
        }
        return low
    }

    mutating func discardAll() {
        slots = Deque()
        start = end
    }
}
