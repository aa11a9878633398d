// The retransmission queue against a model that keeps a record for every byte.
import TCPSegments
import Testing

@testable import TCPEngine

/// What the queue keeps for ranges, byte by byte.
private struct ByteModel {
    struct Byte {
        var selected = false
        var lost = false
        var retransmitted = false
    }

    var start = 1
    var bytes: [Byte] = []
    var end: Int { start + bytes.count }

    mutating func acknowledge(upTo position: Int) -> Int {
        let count = position - start
        let fresh = bytes.prefix(count).filter { !$0.selected }.count
        bytes.removeFirst(count)
        start = position
        return fresh
    }

    mutating func select(_ range: Range<Int>) -> Int {
        var fresh = 0
        for position in range where position >= start && position < end {
            let i = position - start
            if !bytes[i].selected { fresh += 1 }
            bytes[i] = Byte(selected: true)
        }
        return fresh
    }

    mutating func retransmit(_ range: Range<Int>) {
        for position in range where position >= start && position < end {
            if !bytes[position - start].selected { bytes[position - start].retransmitted = true }
        }
    }

    mutating func lose(_ range: Range<Int>) {
        for position in range where !bytes[position - start].selected {
            bytes[position - start].lost = true
            bytes[position - start].retransmitted = false
        }
    }

    var sums: [Int] {
        [
            bytes.filter(\.selected).count, bytes.filter(\.lost).count, bytes.filter(\.retransmitted).count,
            bytes.filter { $0.lost && !$0.retransmitted }.count,
        ]
    }
}

@Suite struct RetransmissionQueueTests {
    private func at(_ position: Int) -> StreamOffset { StreamOffset(UInt64(position)) }

    @Test(
        "whatever is sent, acknowledged, selected, lost and sent again, the sums are those of the bytes",
        arguments: 0..<40)
    func model(seed: Int) {
        var queue = RetransmissionQueue()
        var model = ByteModel()
        var step = seed * 1_000_003
        func random(_ n: Int) -> Int {
            step += 1
            return n > 0 ? Int(mixed(step) % UInt64(n)) : 0
        }
        for round in 0..<400 {
            let now = Instant(nanoseconds: Int64(round))
            var delivery = Delivery()
            let from = model.start + random(model.bytes.count + 1)
            let to = from + random(model.end - from + 1)
            switch random(8) {
            case 0, 1:
                let count = 1 + random(60)
                queue.sent(from: at(model.end), upTo: at(model.end + count), at: now, DeliverySnapshot())
                model.bytes += Array(repeating: ByteModel.Byte(), count: count)
            case 2:
                queue.acknowledge(upTo: at(from), &delivery)
                #expect(delivery.bytes == model.acknowledge(upTo: from))
            case 3, 4:
                queue.select(from: at(from), to: at(to), maximumCount: 1000, &delivery)
                #expect(delivery.bytes == model.select(from..<to))
            case 5:
                queue.retransmitted(from: at(from), to: at(to), at: now, DeliverySnapshot())
                model.retransmit(from..<to)
            case 6:
                if !queue.ranges.isEmpty {
                    let index = random(queue.ranges.count)
                    let range = Int(queue.start(of: index).value)..<Int(queue.ranges[index].end.value)
                    let before = queue.lost
                    var told = 0
                    queue.markLost(index) { told += $1 }
                    // What was lost before is told of again only if its retransmission is lost.
                    #expect(told >= queue.lost - before && told <= range.count)
                    model.lose(range)
                }
            default:
                if random(20) == 0 {
                    queue.forgetLosses()
                    for i in model.bytes.indices { model.bytes[i].lost = false }
                } else if let piece = queue.firstAwaiting(atMost: 1 + random(80)) {
                    // The first piece that waits is the first byte that waits.
                    let first = model.bytes.firstIndex { $0.lost && !$0.retransmitted }
                    #expect(first == Int(piece.lowerBound.value) - model.start)
                    queue.retransmitted(from: piece.lowerBound, to: piece.upperBound, at: now, DeliverySnapshot())
                    model.retransmit(Int(piece.lowerBound.value)..<Int(piece.upperBound.value))
                }
            }
            let sums = [queue.selected, queue.lost, queue.retransmitted, queue.awaiting]
            #expect(sums == model.sums, "after step \(round) of seed \(seed)")
            #expect(queue.inconsistency == nil)
            #expect(queue.ranges.isEmpty || (queue.start == at(model.start) && queue.end == at(model.end)))
        }
    }

    @Test("selected ranges are joined with their neighbours in whatever order they come")
    func joins() {
        let pieces = [0, 1, 2, 3, 4]
        for first in pieces {
            for step in 1..<5 {
                var queue = RetransmissionQueue()
                queue.sent(from: at(1), upTo: at(1001), at: .origin, DeliverySnapshot())
                for i in pieces {
                    let piece = (first + i * step) % 5
                    var delivery = Delivery()
                    queue.select(
                        from: at(101 + piece * 100), to: at(201 + piece * 100), maximumCount: 100, &delivery)
                    #expect(delivery.selected == 100)
                }
                #expect(queue.ranges.map(\.end.value) == [101, 601, 1001])
                #expect(queue.selected == 500)
            }
        }
    }

    @Test("a peer that selects single bytes costs a bounded number of ranges")
    func bounded() {
        var queue = RetransmissionQueue()
        queue.sent(from: at(1), upTo: at(100_001), at: .origin, DeliverySnapshot())
        for position in stride(from: 3, to: 100_000, by: 2) {
            var delivery = Delivery()
            queue.select(from: at(position), to: at(position + 1), maximumCount: 300, &delivery)
        }
        #expect(queue.ranges.count <= 302)
        #expect(queue.inconsistency == nil)
    }
}
