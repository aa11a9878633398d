// The engine's queues against arrays, and what goes back to the pool.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct QueueTests {
    private final class Item: TurnTaking {
        let number: Int
        var nextInTurn: Unmanaged<Item>?
        init(_ number: Int) { self.number = number }
    }

    @Test("a turn queue gives its elements back in order, also after some were taken from its middle")
    func turns() {
        let items = (0..<40).map { Item($0) }
        var queue = TurnQueue<Item>()
        var model: [Int] = []
        for step in 0..<2000 {
            let item = items[Int(mixed(step) % 40)]
            switch mixed(step + 5000) % 4 {
            case 0, 1:
                guard !model.contains(item.number) else { continue }
                queue.append(item)
                model.append(item.number)
            case 2:
                queue.remove(item)
                model.removeAll { $0 == item.number }
            default:
                let popped = queue.popFirst()?.takeUnretainedValue().number
                #expect(popped == (model.isEmpty ? nil : model.removeFirst()))
            }
            #expect(queue.isEmpty == model.isEmpty)
            #expect(queue.first?.takeUnretainedValue().number == model.first)
        }
    }

    @Test("a short queue holds any number of elements, in order and by index")
    func short() {
        var queue = ShortQueue<Int>()
        var model: [Int] = []
        for step in 0..<3000 {
            switch mixed(step) % 8 {
            case 0, 1, 2:
                queue.append(step)
                model.append(step)
            case 3, 4:
                #expect(queue.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
            case 5:
                if !model.isEmpty {
                    let index = Int(mixed(step + 9000) % UInt64(model.count))
                    queue[index] += 7
                    model[index] += 7
                }
            case 6:
                if !model.isEmpty {
                    queue.removeLast()
                    model.removeLast()
                }
            default:
                if step % 64 == 7 {
                    queue.removeAll()
                    model.removeAll()
                }
            }
            #expect(queue.isEmpty == model.isEmpty && queue.count == model.count)
            #expect(queue.first == model.first && queue.last == model.last)
            #expect((0..<queue.count).map { queue[$0] } == model)
        }
    }
}

@Suite struct ChunkReuseTests {
    @Test("a chunk whose bytes were acknowledged, or read, is the next one's", arguments: [100, 3000, 10_000, 65_536])
    func reuse(count: Int) {
        let pool = ChunkPool()
        var sending = SendBuffer(pool: pool)
        let room = ObjectIdentifier(sending.fill(count).chunk)
        sending.acknowledge(upTo: sending.end)
        #expect(sending.count == 0)
        #expect(ObjectIdentifier(sending.fill(count).chunk) == room)
        sending.acknowledge(upTo: sending.end)

        var receiving = ReceiveBuffer(pool: pool)
        let bytes = [UInt8](repeating: 7, count: count)
        for _ in 0..<3 {
            bytes.withUnsafeBytes { receiving.append($0) }
            #expect(receiving.firstRange().map { ObjectIdentifier($0.chunk) } == room)
            receiving.consume(count)
        }
    }

    @Test("a chunk that a transmission still refers to is not reused")
    func inUse() {
        let pool = ChunkPool()
        var sending = SendBuffer(pool: pool)
        let kept = sending.fill(100)
        var payload = Payload()
        sending.addPayload(from: sending.start, count: 100, to: &payload)
        sending.acknowledge(upTo: sending.end)
        #expect(sending.fill(100).chunk !== kept.chunk)
        #expect(payload.count == 100)
    }
}

extension SendBuffer {
    /// Appends `count` bytes, which fit in one chunk.
    fileprivate mutating func fill(_ count: Int) -> ChunkRange {
        let space = room(maximum: count)
        commit(space.count, of: space)
        return space
    }
}
