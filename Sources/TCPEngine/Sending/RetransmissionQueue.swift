// What was sent when, between SND.UNA and SND.NXT: ranges in order of position, and what they sum up to.
import DequeModule
import TCPSegments

/// The retransmission queue of RFC 9293 3.10.7.4 as a list of ranges. A transmission adds one range however many segments
/// it has; a range is split where an ACK, a SACK block or a retransmission ends inside of it.
struct RetransmissionQueue {
    private(set) var ranges = Deque<SentRange>()
    /// Where the first range begins.
    private(set) var start = StreamOffset.zero
    /// Bytes with SACK.
    private(set) var selected = 0
    /// Bytes that count as lost, retransmitted or not.
    private(set) var lost = 0
    /// Bytes of retransmissions in the network.
    private(set) var retransmitted = 0
    /// Bytes that count as lost and are to be retransmitted.
    private(set) var awaiting = 0
    /// No range before this position awaits retransmission.
    private var awaitingFrom = StreamOffset.zero
    private var largestCount = 0

    /// SND.NXT.
    var end: StreamOffset { ranges.last?.end ?? start }
    /// True while every range is simply on its way.
    @inline(__always) var isClean: Bool { selected | lost | retransmitted == 0 }

    /// RFC 6675 4, SetPipe: bytes believed to be in the network.
    @inline(__always) func pipe(outstanding: Int) -> Int { outstanding - selected - lost + retransmitted }

    /// Where range `index` begins.
    func start(of index: Int) -> StreamOffset { index == 0 ? start : ranges[index - 1].end }

    // MARK: Transmissions

    /// [from, to) leaves for the first time; `from` is SND.NXT.
    mutating func sent(from: StreamOffset, upTo to: StreamOffset, at now: Instant, _ snapshot: DeliverySnapshot) {
        if ranges.isEmpty { start = from }
        ranges.append(SentRange(end: to, sentAt: now, snapshot: snapshot))
        largestCount = max(largestCount, ranges.count)
    }

    /// The range that was sent last ended with PSH.
    mutating func notePush() { if !ranges.isEmpty { ranges[ranges.count - 1].marks.insert(.pushed) } }

    /// True if what ended at `position` ended with PSH.
    func isPushed(endingAt position: StreamOffset) -> Bool {
        let index = self.index(after: position + -1)
        return index < ranges.count && ranges[index].end == position && ranges[index].marks.contains(.pushed)
    }

    /// [from, to) leaves again. `isBeside`: what is not lost does not count as being in the
    /// network twice.
    mutating func retransmitted(
        from: StreamOffset, to: StreamOffset, at now: Instant, _ snapshot: DeliverySnapshot, isBeside: Bool = false
    ) {
        let from = max(from, start)
        let to = min(to, end)
        guard from < to else { return }
        var index = self.index(after: from)
        if from > start(of: index) {
            split(index, at: from)
            index += 1
        }
        let first = index
        while index < ranges.count, start(of: index) < to {
            if ranges[index].end > to { split(index, at: to) }
            let count = ranges[index].end - start(of: index)
            if ranges[index].awaitsRetransmission { awaiting -= count }
            if ranges[index].marks.isDisjoint(with: [.selected, .retransmitted]),
                !isBeside || ranges[index].marks.contains(.lost)
            {
                retransmitted += count
                ranges[index].marks.insert(.retransmitted)
            }
            ranges[index].marks.insert(.repeated)
            ranges[index].sentAt = now
            ranges[index].snapshot = snapshot
            index += 1
        }
        // What left as one segment is one range again.
        let marks = ranges[first].marks
        if index - first > 1, ranges[first..<index].allSatisfy({ $0.marks == marks }) {
            ranges.removeSubrange(first..<(index - 1))
        }
    }

    /// The first piece that counts as lost and waits for its retransmission, `limit` bytes of it at most.
    mutating func firstAwaiting(atMost limit: Int) -> Range<StreamOffset>? {
        guard awaiting > 0 else { return nil }
        var index = self.index(after: max(awaitingFrom, start))
        while index < ranges.count, !ranges[index].awaitsRetransmission { index += 1 }
        guard index < ranges.count else { preconditionFailure("\(awaiting) bytes await retransmission in no range") }
        awaitingFrom = start(of: index)
        // A piece that was cut by a probe or a block leaves whole.
        while index + 1 < ranges.count, ranges[index].end < awaitingFrom + limit, ranges[index + 1].awaitsRetransmission
        {
            index += 1
        }
        return awaitingFrom..<min(ranges[index].end, awaitingFrom + limit)
    }

    // MARK: ACKs

    /// SND.UNA advances to `position`.
    mutating func acknowledge(upTo position: StreamOffset, _ delivery: inout Delivery) {
        while start < position, let range = ranges.first {
            let end = min(range.end, position)
            let count = end - start
            if range.marks.contains(.selected) {
                selected -= count
            } else {
                release(range.marks, count)
                delivery.note(range, end: end, count: count, bySelection: false)
            }
            if range.end <= position { ranges.removeFirst() }
            start = end
        }
        if ranges.isEmpty, largestCount > 16 {
            // What a bulk transfer needed is not kept by an idle connection.
            ranges = Deque()
            largestCount = 0
        }
    }

    /// A SACK block covers [from, to). A range is split only while there are fewer than `maximumCount`, so that a peer that
    /// acknowledges single bytes costs no more memory than one that acknowledges segments.
    mutating func select(from: StreamOffset, to: StreamOffset, maximumCount: Int, _ delivery: inout Delivery) {
        let from = max(from, start)
        let to = min(to, end)
        guard from < to else { return }
        var index = self.index(after: from)
        if from > start(of: index), !ranges[index].marks.contains(.selected) {
            if ranges.count < maximumCount { split(index, at: from) }
            index += 1
        }
        let first = index
        var hasChanged = false
        while index < ranges.count, start(of: index) < to {
            if !ranges[index].marks.contains(.selected) {
                if ranges[index].end > to {
                    guard ranges.count < maximumCount else { break }
                    split(index, at: to)
                }
                let range = ranges[index]
                let count = range.end - start(of: index)
                release(range.marks, count)
                selected += count
                ranges[index].marks.subtract([.lost, .retransmitted])
                ranges[index].marks.insert(.selected)
                delivery.note(range, end: range.end, count: count, bySelection: true)
                hasChanged = true
            }
            index += 1
        }
        if hasChanged { mergeSelected(first..<index) }
    }

    /// Makes one range of the selected ones from `indices` on, and of their selected neighbours.
    private mutating func mergeSelected(_ indices: Range<Int>) {
        var first = indices.lowerBound
        var last = indices.upperBound - 1
        if first > 0, ranges[first - 1].marks.contains(.selected) { first -= 1 }
        if last + 1 < ranges.count, ranges[last + 1].marks.contains(.selected) { last += 1 }
        if first < last { ranges.removeSubrange(first..<last) }
    }

    // MARK: Loss

    /// Range `index` counts as lost; so does a retransmission of it. `onLoss` hears of it and of how many bytes it has, unless it
    /// counted as lost already.
    mutating func markLost(_ index: Int, _ onLoss: (SentRange, Int) -> Void) {
        let marks = ranges[index].marks
        guard !marks.contains(.selected), marks.intersection([.lost, .retransmitted]) != .lost else { return }
        let begin = start(of: index)
        let count = ranges[index].end - begin
        if !marks.contains(.lost) { lost += count }
        if marks.contains(.retransmitted) { retransmitted -= count }
        onLoss(ranges[index], count)
        awaiting += count
        ranges[index].marks.insert(.lost)
        ranges[index].marks.remove(.retransmitted)
        awaitingFrom = min(awaitingFrom, begin)
    }

    /// The first `count` bytes count as lost.
    mutating func markFirstLost(_ count: Int, _ onLoss: (SentRange, Int) -> Void) {
        guard let range = ranges.first else { return }
        if range.end > start + count { split(0, at: start + count) }
        markLost(0, onLoss)
    }

    /// Everything that is not selected counts as lost.
    mutating func markAllLost(_ onLoss: (SentRange, Int) -> Void) {
        for index in ranges.indices { markLost(index, onLoss) }
    }

    /// Nothing was lost after all.
    mutating func forgetLosses() {
        for index in ranges.indices { ranges[index].marks.remove(.lost) }
        lost = 0
        awaiting = 0
    }

    /// The peer has given up what it had selected (RFC 2018 8).
    mutating func deselectAll() {
        for index in ranges.indices where ranges[index].marks.contains(.selected) {
            ranges[index].marks.remove(.selected)
            ranges[index].marks.insert(.repeated)
        }
        selected = 0
    }

    /// The peer acknowledged up to the beginning of a range that it had selected before: it has given it up.
    var hasReneged: Bool { ranges.first?.marks.contains(.selected) ?? false }

    mutating func removeAll() { self = RetransmissionQueue() }

    // MARK: Parts

    /// The index of the first range that ends after `position`.
    func index(after position: StreamOffset) -> Int {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].end <= position { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Cuts range `index` in two at `position`, which lies inside of it.
    private mutating func split(_ index: Int, at position: StreamOffset) {
        var left = ranges[index]
        left.end = position
        left.marks.remove(.pushed)
        ranges.insert(left, at: index)
        largestCount = max(largestCount, ranges.count)
    }

    /// `count` bytes with these marks leave the account of what is lost or retransmitted.
    @inline(__always) private mutating func release(_ marks: SentRange.Marks, _ count: Int) {
        guard !marks.isDisjoint(with: [.lost, .retransmitted]) else { return }
        if marks.contains(.lost) {
            lost -= count
            if !marks.contains(.retransmitted) { awaiting -= count }
        }
        if marks.contains(.retransmitted) { retransmitted -= count }
    }

    /// What does not hold of the accounts; nil if all is well.
    var inconsistency: String? {
        var sums = (selected: 0, lost: 0, retransmitted: 0, awaiting: 0)
        var position = start
        for range in ranges {
            let count = range.end - position
            guard count > 0 else { return "an empty range at \(position)" }
            if range.marks.contains(.selected) {
                sums.selected += count
                guard range.marks.isDisjoint(with: [.lost, .retransmitted]) else {
                    return "selected and lost at \(position)"
                }
            }
            if range.marks.contains(.lost) { sums.lost += count }
            if range.marks.contains(.retransmitted) { sums.retransmitted += count }
            if range.awaitsRetransmission {
                sums.awaiting += count
                guard awaitingFrom <= position else { return "the range at \(position) is passed over" }
            }
            position = range.end
        }
        return sums == (selected, lost, retransmitted, awaiting)
            ? nil : "\(sums) in the ranges, (\(selected), \(lost), \(retransmitted), \(awaiting)) on account"
    }
}
