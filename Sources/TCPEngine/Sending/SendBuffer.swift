// The bytes between SND.UNA and the end of what the user queued, in chunks addressed by stream position.
import TCPSegments

/// Holds queued bytes until they are acknowledged. Bytes are copied in once and never again: transmissions and
/// retransmissions refer to the chunks. Not copyable: a copy made to call a method would count references.
struct SendBuffer: ~Copyable {
    private struct Slot {
        var start: StreamOffset
        let chunk: Chunk
        /// Where `start` lies in the chunk, and how much of the chunk is filled.
        var head: Int
        var tail: Int
        var end: StreamOffset { start + (tail - head) }
    }

    private var slots = ShortQueue<Slot>()
    private let pool: ChunkPool
    /// The position of the oldest byte held, and the one after the last.
    private(set) var start = StreamOffset(1)
    private(set) var end = StreamOffset(1)

    init(pool: ChunkPool) { self.pool = pool }

    var count: Int { end - start }

    /// Room behind the last byte for 1 to `maximum` (more than 0) bytes. The caller fills it, which touches nothing of the
    /// buffer, and then says how many bytes there are with `commit`.
    mutating func room(maximum: Int) -> ChunkRange {
        if slots.last.map({ $0.tail == $0.chunk.capacity }) ?? true {
            slots.append(Slot(start: end, chunk: pool.take(for: maximum, queued: count), head: 0, tail: 0))
        }
        let slot = slots[slots.count - 1]
        return ChunkRange(slot.chunk, offset: slot.tail, count: min(slot.chunk.capacity - slot.tail, maximum))
    }

    /// The first `written` bytes of `room` are filled.
    mutating func commit(_ written: Int, of room: ChunkRange) {
        let last = slots.count - 1
        // A fill that itself sends would have its bytes counted twice.
        precondition(
            last >= 0 && slots[last].chunk === room.chunk && slots[last].tail == room.offset && written <= room.count,
            "a send from within the closure of a send")
        slots[last].tail += written
        end = end + written
        if slots[last].tail == slots[last].head { slots.removeLast() }
    }

    /// Forgets everything before `position`.
    mutating func acknowledge(upTo position: StreamOffset) {
        guard position > start else { return }
        let position = min(position, end)
        while let end = slots.first?.end, end <= position {
            if let slot = slots.popFirst() { pool.recycle(ChunkRange((consume slot).chunk, offset: 0, count: 0)) }
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

    /// Adds the bytes [from, from + count), which must be held, to `payload`.
    func addPayload(from: StreamOffset, count: Int, to payload: inout Payload) {
        precondition(from >= start && count >= 0 && from + count <= end, "a transmission outside of the send buffer")
        guard count > 0 else { return }
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
        slots.removeAll()
        start = end
    }
}
