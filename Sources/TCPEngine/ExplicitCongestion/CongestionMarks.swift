// What a connection remembers of congestion marks: those that came, and those that the peer tells of.
import TCPSegments

/// The state of ECN where it was agreed on. Allocated only then.
final class CongestionMarks {
    let feedback: ECNFeedback
    /// The codepoint with which the peer's SYN came.
    let synCodepoint: ECNField
    /// False: segments do not say that they may be marked, because the path changes the codepoints (RFC 9768 3.2.2.3).
    @exclusivity(unchecked) var mayBeMarked = true

    // As a receiver.
    /// RFC 3168 6.1.3: every ACK says so until the peer has reduced its window.
    @exclusivity(unchecked) private(set) var isEchoing = false
    /// r.cep: marked segments received; the peer gets the lowest three bits (RFC 9768 3.2.1).
    @exclusivity(unchecked) private(set) var marked = 5
    /// Bytes received with ECT(0), with CE and with ECT(1): r.e0b, r.ceb, r.e1b.
    @exclusivity(unchecked) private(set) var bytes = (capable0: 1, marked: 0, capable1: 1)
    /// The last segment with data was marked.
    @exclusivity(unchecked) private var lastWasMarked = false
    /// Marked segments since the last ACK.
    @exclusivity(unchecked) var unreported = 0
    /// The next ACK tells how the SYN-ACK came (RFC 9768 3.2.2.1).
    @exclusivity(unchecked) var handshakeAnswer: ControlBits?

    // As a sender.
    /// The ACK that is being handled must not make the window grow.
    @exclusivity(unchecked) var holdsWindow = false
    /// The window was reduced, and the peer is to hear of it (RFC 3168 6.1.2, CWR).
    @exclusivity(unchecked) var owesAnswer = false
    /// No further reduction until this is acknowledged: one for each window of data.
    @exclusivity(unchecked) private var reactionEnd = StreamOffset.zero
    @exclusivity(unchecked) private var lastReactionWasToMark = false
    /// s.cep: marked segments that the peer has told of.
    @exclusivity(unchecked) private(set) var reported = 5
    /// s.ceb: marked bytes that it has told of, as the 24 bits of the option; nil: it has sent no option.
    @exclusivity(unchecked) private var reportedBytes: Int?

    // For reports.
    /// Segments that came with CE, and any that could be marked; marks that the peer told of; reductions because of them.
    @exclusivity(unchecked) private(set) var marksReceived: UInt64 = 0
    @exclusivity(unchecked) private(set) var sawCapable = false
    @exclusivity(unchecked) var marksReported: UInt64 = 0
    @exclusivity(unchecked) private(set) var reactions: UInt32 = 0

    init(_ feedback: ECNFeedback, synCameWith codepoint: ECNField) {
        self.feedback = feedback
        synCodepoint = codepoint
    }

    // MARK: Receiving

    /// A segment of the peer's came with `codepoint`; `segments` of them, if the link has joined several. True if the peer
    /// should hear of it at once.
    func arrived(_ codepoint: ECNField, segments: Int, payload: Int) -> Bool {
        if codepoint != .notCapable { sawCapable = true }
        let isMarked = codepoint == .congestionExperienced
        if isMarked { marksReceived += UInt64(segments) }
        switch feedback {
        case .none: return false
        case .classic:
            // RFC 3168 6.1.4 and 6.1.5: pure ACKs and retransmissions are never capable; a mark on what has no data is nobody's.
            guard isMarked, payload > 0 else { return false }
            defer { isEchoing = true }
            return !isEchoing
        case .accurate:
            switch codepoint {
            case .notCapable: break
            case .capable0: bytes.capable0 += payload
            case .capable1: bytes.capable1 += payload
            case .congestionExperienced:
                bytes.marked += payload
                marked += segments
                unreported += segments
            }
            guard payload > 0 else { return false }
            // RFC 9768 3.2.2.5.1: the first mark, and every second one; seven could not be told from none.
            let hasChanged = isMarked != lastWasMarked
            lastWasMarked = isMarked
            return isMarked && hasChanged || unreported >= 2
        }
    }

    /// RFC 3168 6.1.3: the peer has reduced its window. What this segment itself carries counts afterwards.
    func peerHasReacted() { isEchoing = false }

    /// The bits of ECN in a segment that leaves. `isPureAck`: it carries neither data nor SACK blocks.
    @inline(__always) func bits(isPureAck: Bool) -> ControlBits {
        guard feedback == .accurate else { return isEchoing ? .ece : [] }
        unreported = 0
        if let answer = handshakeAnswer {
            handshakeAnswer = nil
            if isPureAck { return answer }
        }
        return ControlBits(ace: marked)
    }

    /// RFC 9768 table 4: the SYN-ACK came with `codepoint`, and the next ACK tells of it.
    func synAckCame(with codepoint: ECNField) {
        handshakeAnswer = ECNNegotiation.handshakeEncoding(of: codepoint)
        if codepoint == .congestionExperienced {
            marked = 6
            marksReceived += 1
        }
    }

    // MARK: Sending

    /// The peer tells that our SYN, or SYN-ACK, came with `codepoint`.
    func handshakeArrived(with codepoint: ECNField) {
        // It left without a codepoint: whoever gave it one is not to be trusted with others.
        if codepoint != .notCapable { mayBeMarked = false }
        if codepoint == .congestionExperienced { reported = 6 }
    }

    /// How many more segments were marked, by the three bits of an ACK that covers `segments` segments of `bytes` bytes, and
    /// by its option (RFC 9768 3.2.2.5.2 and appendix A).
    func take(ace: Int, option: AccurateECNOption?, segments: Int, bytes: Int) -> Int {
        let delta = (ace - reported) & 7
        var markedBytes: Int?
        if let counter = option?.marked {
            markedBytes = (counter - (reportedBytes ?? 0)) & 0xFF_FFFF
            reportedBytes = counter
        }
        var count = delta
        if segments > 7, let markedBytes {
            // The counter may have gone round, once or more. How often is told by the bytes.
            let most = segments - ((segments - delta) & 7)
            let estimate = proportion(markedBytes, segments, max(bytes, 1))
            count = min(most, delta + (max(0, estimate - delta) + 4) / 8 * 8)
        }
        // Deviation: without the option the smallest number counts, not the largest. The reaction depends on whether there
        // were marks, not on how many; an ACK for many segments is the rule here, and would be taken for marks each time.
        reported += count
        marksReported += UInt64(count)
        return count
    }

    /// True if a mark that came with an ACK of `ack` calls for a reduction: none was made for this window of data yet.
    func mayReact(to ack: StreamOffset) -> Bool { ack > reactionEnd }

    /// True if a mark has reduced the window, and some of what was outstanding then (SND.UNA is `una`) still is.
    func hasJustReacted(una: StreamOffset) -> Bool { lastReactionWasToMark && una < reactionEnd }

    /// The window was reduced, for whatever reason: once for all that is outstanding (RFC 3168 6.1.2).
    func windowWasReduced(nxt: StreamOffset, byMark: Bool = false) {
        if byMark { reactions += 1 }
        lastReactionWasToMark = byMark
        reactionEnd = nxt
        owesAnswer = feedback == .classic
    }
}
