// Which segments fit a path that does not say so (RFC 4821, RFC 8899): the search between what works and what does not.
import TCPSegments

/// When a connection looks for the largest segments that the path takes, where packets that are too large may vanish.
public enum SegmentSizeProbing: String, Sendable, Hashable, CaseIterable {
    /// Never; only routers' reports make segments smaller (tcp_mtu_probing=0).
    case off
    /// Once large segments seem to vanish, or a router has reported a smaller MTU (tcp_mtu_probing=1).
    case afterBlackHole = "black-hole"
    /// From the beginning: segments begin with the base size and grow (tcp_mtu_probing=2).
    case always
}

/// A search for the path's largest segment, by halves. Sizes are data and options: the MTU less the headers' fixed parts.
/// Allocated for connections that search.
final class SegmentSizeSearch {
    /// A segment that is larger than those that are known to arrive.
    struct Probe {
        let range: Range<StreamOffset>
        let size: Int
        /// Bytes of data.
        var count: Int { range.upperBound - range.lowerBound }
    }

    /// What link and peer take, whatever the path does.
    let ceiling: Int
    /// What is known to arrive, and the largest that may.
    @exclusivity(unchecked) private(set) var low: Int
    @exclusivity(unchecked) private(set) var high: Int
    /// On its way; nil: none.
    @exclusivity(unchecked) private(set) var probe: Probe?
    /// When something was last learnt.
    @exclusivity(unchecked) private var learntAt: Instant
    /// Probes sent, and those that were lost.
    @exclusivity(unchecked) private(set) var sent: UInt32 = 0
    @exclusivity(unchecked) private(set) var failed: UInt32 = 0

    /// Two sizes that are closer together are as good as one (tcp_probe_threshold).
    private static var threshold: Int { 8 }

    init(ceiling: Int, working: Int, at now: Instant) {
        self.ceiling = max(ceiling, working)
        low = working
        high = self.ceiling
        learntAt = now
    }

    /// What to try next; nil: nothing now. When all has been tried, it is tried again after `interval`: paths change.
    func next(interval: TimeInterval, at now: Instant) -> Int? {
        guard probe == nil else { return nil }
        if high - low < Self.threshold {
            guard ceiling - low >= Self.threshold, now - learntAt >= interval else { return nil }
            high = ceiling
        }
        return (low + high + 1) / 2
    }

    func sent(_ range: Range<StreamOffset>, size: Int) {
        probe = Probe(range: range, size: size)
        sent += 1
    }

    /// The probe has arrived. Returns its size.
    func succeeded(at now: Instant) -> Int {
        low = max(low, probe?.size ?? low)
        high = max(high, low)
        probe = nil
        learntAt = now
        return low
    }

    /// The probe, and nothing else, was lost.
    func failed(at now: Instant) {
        failed += 1
        if let probe { high = max(low, min(high, probe.size - 1)) }
        probe = nil
        learntAt = now
    }

    /// More than the probe was lost: that says nothing about its size.
    func gaveUp() { probe = nil }

    /// What had been known to arrive does not any more; `size` may.
    func vanished(to size: Int, at now: Instant) {
        low = size
        high = max(size, high)
        probe = nil
        learntAt = now
    }

    /// A router has said that `size` is the largest.
    func limited(to size: Int, at now: Instant) {
        high = min(high, size)
        low = min(low, high)
        learntAt = now
    }
}
