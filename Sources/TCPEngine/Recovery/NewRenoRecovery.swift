// What is lost: fast retransmit (RFC 5681 3.2) with NewReno's partial acknowledgments (RFC 6582), and timeouts.
import TCPSegments

/// What the recovery concluded from an ACK.
enum RecoveryVerdict {
    case nothing
    /// Loss was detected: the congestion window is to be reduced, once.
    case lossDetected
}

/// Decides which positions are lost and which of them is to be retransmitted next, without SACK. It also counts what is
/// still in the network, which is all the window needs to know.
struct NewRenoRecovery {
    enum Phase { case open, fastRecovery, timeout }

    private(set) var phase = Phase.open
    /// SND.NXT when the recovery began (RFC 6582's recover).
    private(set) var recover = StreamOffset.zero
    private(set) var duplicateAcks = 0
    /// [next, lostEnd) is lost and not retransmitted yet.
    private var next = StreamOffset.zero
    private var lostEnd = StreamOffset.zero
    /// Bytes that duplicate ACKs say have left the network.
    private var departed = 0
    /// RFC 6582 3.2: the first retransmission after entry or a partial ACK does not ask the window.
    private(set) var mustRetransmit = false

    /// What is to be retransmitted, oldest first.
    var lost: Range<StreamOffset>? { next < lostEnd ? next..<lostEnd : nil }

    /// RFC 3042: the first two duplicate ACKs let a segment each beyond the congestion window.
    func limitedTransmit(segmentSize: Int) -> Int { phase == .open ? min(duplicateAcks, 2) * segmentSize : 0 }

    /// Bytes believed to be in the network.
    func inFlight(una: StreamOffset, nxt: StreamOffset) -> Int {
        max(0, (nxt - una) - departed - max(0, lostEnd - next))
    }

    mutating func acknowledged(una: StreamOffset, nxt: StreamOffset, bytes: Int, segmentSize: Int) {
        duplicateAcks = 0
        switch phase {
        case .open:
            break
        case .fastRecovery:
            if una >= recover {
                // RFC 6582 3.2 (3), full acknowledgment.
                finish()
            } else {
                // RFC 6582 3.2 (3), partial acknowledgment: the next hole is lost as well.
                departed = max(0, departed - max(0, bytes - segmentSize))
                next = una
                lostEnd = min(una + segmentSize, nxt)
                mustRetransmit = true
            }
        case .timeout:
            if una >= recover { finish() }
        }
        if next < una { next = una }
        if lostEnd < next { lostEnd = next }
        departed = min(departed, max(0, nxt - una))
    }

    mutating func duplicateAck(una: StreamOffset, nxt: StreamOffset, segmentSize: Int) -> RecoveryVerdict {
        duplicateAcks = min(duplicateAcks + 1, 1 << 20)
        switch phase {
        case .timeout:
            return .nothing
        case .fastRecovery:
            // RFC 6582 3.2 (4): each further duplicate means that a segment has left.
            departed = min(departed + segmentSize, nxt - una)
            return .nothing
        case .open:
            // RFC 6582 3.2 (1): three duplicates, and not for what an earlier recovery had sent already.
            guard duplicateAcks == 3, una >= recover else { return .nothing }
            phase = .fastRecovery
            recover = nxt
            departed = min(3 * segmentSize, max(0, nxt - una - segmentSize))
            next = una
            lostEnd = min(una + segmentSize, nxt)
            mustRetransmit = true
            return .lossDetected
        }
    }

    /// RFC 6298 (5.4) and RFC 5681 3.1: everything outstanding counts as lost.
    mutating func timedOut(una: StreamOffset, nxt: StreamOffset) {
        phase = .timeout
        recover = nxt
        markLost(una: una, nxt: nxt)
    }

    /// Everything outstanding is to be sent again although no congestion is meant: a zero window swallowed it.
    mutating func markLost(una: StreamOffset, nxt: StreamOffset) {
        duplicateAcks = 0
        departed = 0
        next = una
        lostEnd = nxt
        mustRetransmit = true
        if phase != .timeout {
            phase = .timeout
            recover = nxt
        }
    }

    mutating func retransmitted(upTo end: StreamOffset) {
        if end > next { next = end }
        mustRetransmit = false
    }

    private mutating func finish() {
        phase = .open
        departed = 0
        mustRetransmit = false
        next = recover
        lostEnd = recover
    }
}
