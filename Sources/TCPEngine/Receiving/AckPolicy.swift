// When to acknowledge: at once, or with a delay in the hope of company.
import TCPSegments

/// Which segments of data are acknowledged at once.
public enum AckDiscipline: UInt8, Sendable, Hashable {
    /// The first ones, then those that a waiting sender may need; others wait for company.
    case adaptive
    /// All.
    case immediate
    /// Every second one, whatever its size (FreeBSD).
    case everySecondSegment
}

/// Decides about the delay of ACKs (RFC 9293 3.8.6.3, RFC 5681 4.2). It starts with acknowledging everything at once, as
/// Linux does, so that the peer's window opens quickly.
struct AckPolicy {
    enum Urgency: Int {
        case none
        case delayed
        /// Delayed for a moment, in which an answer may come that carries it.
        case soon
        case now
    }

    private(set) var urgency = Urgency.none
    private var quickAcks = 16
    /// True in an exchange of requests and responses: an ACK soon finds data to ride on.
    private var isInteractive = false
    /// The user wants ACKs at once, and has said so.
    private var isQuickByUser = false
    /// Bytes received since the last ACK.
    private var unacknowledged = 0
    /// The largest segment seen of late: what the peer considers full.
    private var fullSize = 0

    /// Fewer bytes than this in a pushed segment are a message, not part of a bulk transfer.
    private static let smallMessage = 536

    /// In-order data arrived, and the discipline is not to adapt. More than a segment's worth at once is not delayed.
    mutating func received(_ count: Int, _ discipline: AckDiscipline, segmentSize: Int) {
        unacknowledged += count
        switch discipline {
        case .adaptive, .immediate: urgency = .now
        case .everySecondSegment:
            if urgency == .none, count <= segmentSize { urgency = .delayed } else { urgency = .now }
        }
    }

    /// True if ACKs do not wait for company: TCP_QUICKACK as getsockopt(2) gives it.
    var isQuick: Bool { !isInteractive }

    /// TCP_QUICKACK.
    mutating func setQuick(_ on: Bool) {
        isInteractive = !on
        isQuickByUser = on
        quickAcks = on ? 16 : 0
        if on, urgency != .none { urgency = .now }
    }

    /// In-order data arrived.
    /// `awaitsAnswers`: the ACK of a small message may wait for `ConnectionConfiguration.answerDelay`.
    @inline(__always) mutating func received(_ count: Int, pushed: Bool, awaitsAnswers: Bool = false) {
        unacknowledged += count
        fullSize = max(fullSize, min(count, 65_535))
        // RFC 5681 4.2: at least every second full-sized segment is acknowledged at once.
        if unacknowledged >= 2 * fullSize && unacknowledged > count {
            urgency = .now
        } else if awaitsAnswers && pushed && count < Self.smallMessage && !(isQuickByUser && quickAcks > 0) {
            awaitAnswer()
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

    /// Something arrived that the user may answer at once.
    @inline(__always) mutating func awaitAnswer() {
        if urgency != .now { urgency = .soon }
    }

    /// The delay is over.
    @inline(__always) mutating func delayExpired() {
        if urgency == .delayed { isInteractive = false }
        if urgency != .none { urgency = .now }
    }

    /// A segment with ACK left; with data if `withData`.
    @inline(__always) mutating func acknowledged(withData: Bool) {
        if withData && unacknowledged > 0 && urgency != .soon { isInteractive = true }
        if urgency != .none, quickAcks > 0 { quickAcks -= 1 }
        unacknowledged = 0
        urgency = .none
    }
}
