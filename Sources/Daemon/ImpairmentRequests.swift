// Requests about impairments over a control connection, and the records that carry them.
import ControlRecords
import Glibc
import Impairments
import NetworkLayer
import TCPSegments

extension ControlSession {
    /// From now on a rule holds.
    func impair(_ request: chitcp_request) {
        guard credentials.mayImpair else {
            fail(request, EPERM)
            return
        }
        guard request.data_length == UInt32(MemoryLayout<chitcp_impairment>.size) else {
            fail(request, EINVAL)
            return
        }
        // Bounds: the header asserts that the record fits into data.
        let record = withUnsafeBytes(of: request.data) { $0.loadUnaligned(as: chitcp_impairment.self) }
        guard let rule = ImpairmentRule(record) else {
            fail(request, EINVAL)
            return
        }
        guard daemon.impairments.set(rule) else {
            fail(request, ENOSPC)
            return
        }
        daemon.log.info("process \(credentials.pid) impairs the network: \(rule.direction) \(rule.configuration)")
        respond(to: request)
    }

    func clearImpairments(_ request: chitcp_request, at now: Instant) {
        guard credentials.mayImpair else {
            fail(request, EPERM)
            return
        }
        let directions = Set(PacketDirection.allCases.filter { Int32($0.rawValue) & request.argument.0 != 0 })
        var peer: IPAddress?
        if request.address.family != 0 {
            guard let named = endpoint(of: request.address) else {
                fail(request, EINVAL)
                return
            }
            peer = named.address
        }
        let count = daemon.impairments.clear(directions, peer: peer, at: now)
        respond(to: request) { $0.result = Int32(clamping: count) }
    }

    func listImpairment(_ request: chitcp_request) {
        let statuses = daemon.impairments.statuses
        let index = Int(request.argument.0)
        guard statuses.indices.contains(index) else {
            fail(request, ENOENT)
            return
        }
        let status = chitcp_impairment_status(statuses[index])
        respond(to: request) {
            $0.result = request.argument.0
            $0.setData(status)
        }
    }
}

extension ImpairmentRule {
    /// The rule in a record; nil if a value is out of bounds.
    public init?(_ record: chitcp_impairment) {
        guard let direction = PacketDirection(rawValue: UInt8(clamping: record.direction)) else { return nil }
        var c = ImpairmentConfiguration()
        c.loss = Int(record.loss)
        c.burstBegin = Int(record.burst_begin)
        c.burstEnd = Int(record.burst_end)
        c.reorder = Int(record.reorder)
        c.duplicate = Int(record.duplicate)
        c.corrupt = Int(record.corrupt)
        c.reorderDelay = .nanoseconds(Int64(clamping: record.reorder_delay))
        c.delay = .nanoseconds(Int64(clamping: record.delay))
        c.jitter = .nanoseconds(Int64(clamping: record.jitter))
        c.rate = Int64(clamping: record.rate)
        c.queueLimit = Int(clamping: record.queue_limit)
        c.largestPacket = Int(record.largest)
        c.markThreshold = Int(clamping: record.mark_threshold)
        guard c.isWithinBounds else { return nil }
        var peer: IPAddress?
        if record.peer.family != 0 {
            guard let named = endpoint(of: record.peer) else { return nil }
            peer = named.address
        }
        self.init(direction, peer: peer, c, seed: record.seed)
    }

    /// The record that says this.
    public var record: chitcp_impairment {
        var r = chitcp_impairment()
        if let peer { r.peer = controlAddress(Endpoint(peer, 0), isIPv6: !peer.isIPv4) }
        r.direction = UInt32(direction.rawValue)
        let c = configuration
        r.loss = UInt32(clamping: c.loss)
        r.burst_begin = UInt32(clamping: c.burstBegin)
        r.burst_end = UInt32(clamping: c.burstEnd)
        r.reorder = UInt32(clamping: c.reorder)
        r.duplicate = UInt32(clamping: c.duplicate)
        r.corrupt = UInt32(clamping: c.corrupt)
        r.seed = seed
        r.reorder_delay = UInt64(clamping: c.reorderDelay.nanoseconds)
        r.delay = UInt64(clamping: c.delay.nanoseconds)
        r.jitter = UInt64(clamping: c.jitter.nanoseconds)
        r.rate = UInt64(clamping: c.rate)
        r.queue_limit = UInt64(clamping: c.queueLimit)
        r.largest = UInt32(clamping: c.largestPacket)
        r.mark_threshold = UInt64(clamping: c.markThreshold)
        return r
    }
}

extension chitcp_impairment_status {
    fileprivate init(_ status: ImpairmentFilter.Status) {
        self.init()
        rule = status.rule.record
        segments = UInt64(clamping: status.counters.packets)
        lost = UInt64(clamping: status.counters.lost + status.counters.tooLarge)
        queue_dropped = UInt64(clamping: status.counters.queueDropped)
        overflowed = UInt64(clamping: status.overflowed)
        delayed = UInt64(clamping: status.counters.delayed)
        reordered = UInt64(clamping: status.counters.reordered)
        duplicated = UInt64(clamping: status.counters.duplicated)
        corrupted = UInt64(clamping: status.counters.corrupted)
        marked = UInt64(clamping: status.counters.marked)
        held_segments = UInt64(clamping: status.heldSegments)
        held_bytes = UInt64(clamping: status.heldBytes)
    }
}
