// When to acknowledge: at once, or with a delay in the hope of company.
import TCPSegments

/// Decides about the delay of ACKs (RFC 9293 3.8.6.3, RFC 5681 4.2). It starts with acknowledging everything at once, as
/// Linux does, so that the peer's window opens quickly.
struct AckPolicy {
    enum Urgency: Int { case none, delayed, now }

    private(set) var urgency = Urgency.none
    private var quickAcks = 16
    /// True in an exchange of requests and responses: an ACK soon finds data to ride on.
    private var isInteractive = false
    /// Bytes received since the last ACK.
    private var unacknowledged = 0
    /// The largest segment seen of late: what the peer considers full.
    private var fullSize = 0

    /// In-order data arrived.
    @inline(__always) mutating func received(_ count: Int, pushed: Bool) {
        unacknowledged += count
        fullSize = max(fullSize, min(count, 65_535))
        // RFC 5681 4.2: at least every second full-sized segment is acknowledged at once.
        if unacknowledged >= 2 * fullSize && unacknowledged > count {
            urgency = .now
        } else if quickAcks > 0 && !isInteractive {
            urgency = .now
        } else if pushed && !isInteractive {
            // A sender with Nagle's algorithm may be waiting for this ACK to send its next small segment.
            urgency = .now
        } else if urgency == .none {
            urgency = .delayed
        }
    }

    /// Out-of-order data, a filled hole, a FIN, an unacceptable segment, a window that has opened: RFC 5681 4.2.
    @inline(__always) mutating func demandNow() { urgency = .now }

    /// The delay is over.
    @inline(__always) mutating func delayExpired() {
        if urgency == .delayed {
            urgency = .now
            isInteractive = false
        }
    }

    /// A segment with ACK left; with data if `withData`.
    @inline(__always) mutating func acknowledged(withData: Bool) {
        if withData && unacknowledged > 0 { isInteractive = true }
        if urgency != .none, quickAcks > 0 { quickAcks -= 1 }
        unacknowledged = 0
        urgency = .none
    }
}
