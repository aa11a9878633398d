// How much memory the buffers of a host's connections may take beyond what they begin with.
import TCPSegments

/// One for a host; connections hold it by way of the chunk pool.
final class BufferBudget {
    private let limit: Int
    @exclusivity(unchecked) private(set) var granted = 0

    init(limit: Int) { self.limit = max(0, limit) }

    /// Grants up to `wanted` bytes.
    func take(_ wanted: Int) -> Int {
        let count = min(max(0, wanted), limit - granted)
        granted += count
        return count
    }

    func giveBack(_ count: Int) { granted -= count }
}

/// What one connection has got of the budget; it goes back when the connection goes. Allocated when a buffer first grows, or is
/// about to.
final class BufferTuning {
    private let budget: BufferBudget
    private var receiveGrant = 0, sendGrant = 0
    /// What is being measured: since when, from which position on, and how much was read in the interval before.
    private var measuredAt: Instant
    private var measuredFrom: StreamOffset
    private var lastCount = 0

    init(_ budget: BufferBudget, position: StreamOffset, at now: Instant) {
        self.budget = budget
        measuredAt = now
        measuredFrom = position
    }

    deinit { budget.giveBack(receiveGrant + sendGrant) }

    /// The user has read up to `position`. Returns the size that the receive buffer should have; nil: the interval is not
    /// over, or less was read than before.
    func wantedSize(readTo position: StreamOffset, interval: TimeInterval, segmentSize: Int, at now: Instant) -> Int? {
        guard now - measuredAt >= interval else { return nil }
        let count = position - measuredFrom
        measuredAt = now
        measuredFrom = position
        guard count > lastCount else { return nil }
        // Linux's dynamic right-sizing: room for what is read and for as much again, which the sender's slow start may send in
        // the next round trip; more where the rate itself grows.
        let growth = lastCount == 0 ? 0 : min(2 * count, proportion(2 * count, count - lastCount, lastCount))
        lastCount = count
        return 2 * count + growth + 16 * segmentSize
    }

    func grantReceive(_ wanted: Int) -> Int {
        let count = budget.take(wanted)
        receiveGrant += count
        return count
    }

    func grantSend(_ wanted: Int) -> Int {
        let count = budget.take(wanted)
        sendGrant += count
        return count
    }

    /// The user has chosen a size: what the buffer had grown by goes back.
    func withdrawReceive() {
        budget.giveBack(receiveGrant)
        receiveGrant = 0
    }

    func withdrawSend() {
        budget.giveBack(sendGrant)
        sendGrant = 0
    }
}
