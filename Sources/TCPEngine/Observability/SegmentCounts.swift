// What is outstanding, counted in segments as Linux tells it. Computed when somebody asks.
import TCPSegments

/// Outstanding segments by what is known of them. A segment counts whole, however small it is.
public struct SegmentCounts: Sendable, Hashable {
    /// Sent and not acknowledged, selectively acknowledged ones included.
    public internal(set) var outstanding = 0
    /// Selectively acknowledged.
    public internal(set) var selected = 0
    /// Believed to be lost, retransmitted or not.
    public internal(set) var lost = 0
    /// Retransmissions in the network.
    public internal(set) var retransmitted = 0
}

/// Where loss recovery stands, in Linux's words.
public enum RecoveryState: UInt8, Sendable, Hashable {
    /// Nothing is missing.
    case open = 0
    /// Duplicate ACKs or SACK blocks tell of reordering or loss.
    case disorder = 1
    /// The window is being reduced for another reason than loss.
    case reducing = 2
    /// Fast recovery.
    case recovery = 3
    /// The retransmission timer expired.
    case loss = 4
}

extension Connection {
    /// Counted anew from the retransmission queue.
    var segmentCounts: SegmentCounts {
        var counts = SegmentCounts()
        let size = max(1, tcb.sendMSS)
        for index in retransmissionQueue.ranges.indices {
            let range = retransmissionQueue.ranges[index]
            let count = (range.end - retransmissionQueue.start(of: index) + size - 1) / size
            counts.outstanding += count
            if range.marks.contains(.selected) { counts.selected += count }
            if range.marks.contains(.lost) { counts.lost += count }
            if range.marks.contains(.retransmitted) { counts.retransmitted += count }
        }
        if !selectiveAcks { counts.selected = (duplicates.departed + size - 1) / size }
        return counts
    }

    var recoveryState: RecoveryState {
        switch episode?.phase {
        case .fast: return .recovery
        case .timeout: return .loss
        case nil: return retransmissionQueue.selected > 0 || duplicates.count > 0 ? .disorder : .open
        }
    }
}
