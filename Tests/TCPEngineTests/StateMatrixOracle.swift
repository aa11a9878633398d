// What RFC 9293 3.10.7 and RFC 5961 say must come of one segment in one state: a pure function, written from their text.
import TCPSegments

@testable import TCPEngine

/// What the oracle knows of a connection. Numbers of the peer count from IRS, those of the host from ISS.
struct Situation {
    var state: State
    /// SYN-RECEIVED came from a passive OPEN (MUST-11).
    var isPassive = false
    /// A passive OPEN is there for the port.
    var isListening = false
    var rcvNxt = 0
    var rcvWnd = 0
    var sndUna = 0
    var sndNxt = 0
    /// MAX.SND.WND of RFC 5961 5.2.
    var maxSndWnd = 0
    /// Our FIN has been sent, as the last number before SND.NXT.
    var finSent = false
    /// The user has called CLOSE and will not read.
    var isOrphan = false
}

/// A segment in the same numbers.
struct Probe {
    var bits: ControlBits
    var seq: Int
    var ack: Int
    var text: Int

    /// SEG.LEN.
    var length: Int { text + (bits.contains(.syn) ? 1 : 0) + (bits.contains(.fin) ? 1 : 0) }
    /// Where the text begins, and where it ends.
    var textStart: Int { seq + (bits.contains(.syn) ? 1 : 0) }
    var textEnd: Int { textStart + text }
}

enum Reply: Equatable {
    case none
    /// <SEQ=seq><ACK=ack><CTL=ACK>
    case ack(seq: Int, ack: Int)
    /// <SEQ=seq><CTL=RST>, seq from ISS.
    case reset(seq: Int)
    /// <SEQ=0><ACK=ack><CTL=RST,ACK>, ack from IRS.
    case resetAcknowledging(Int)
    /// The reset of a connection that ends: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>.
    case abort(seq: Int, ack: Int)
    /// <SEQ=ISS><ACK=ack><CTL=SYN,ACK>
    case synAck(Int)
    /// What no rule asks for.
    case other(String)
}

/// How the user hears of the end.
enum Ending: Equatable {
    case orderly
    case failed(ConnectionError)
}

struct Verdict {
    /// The state afterwards; nil: there is no connection (CLOSED, or LISTEN).
    var state: State?
    var reply = Reply.none
    /// In-order bytes the user gets.
    var delivered = 0
    var ending: Ending?
    /// The 2 MSL timer starts (anew).
    var restartsTimeWait = false
    var clause: String
}

enum Oracle {
    /// SEGMENT ARRIVES (RFC 9293 3.10.7).
    static func verdict(_ s: Situation, _ g: Probe) -> Verdict {
        switch s.state {
        case .closed: return closed(g)
        case .listen: return listen(g)
        case .synSent: return synSent(s, g)
        case .synReceived, .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck, .timeWait:
            return otherStates(s, g)
        }
    }

    // MARK: 3.10.7.1

    private static func closed(_ g: Probe) -> Verdict {
        if g.bits.contains(.rst) { return Verdict(state: nil, clause: "3.10.7.1: RST is discarded") }
        if g.bits.contains(.ack) {
            return Verdict(state: nil, reply: .reset(seq: g.ack), clause: "3.10.7.1: ACK on")
        }
        return Verdict(state: nil, reply: .resetAcknowledging(g.seq + g.length), clause: "3.10.7.1: ACK off")
    }

    // MARK: 3.10.7.2

    private static func listen(_ g: Probe) -> Verdict {
        if g.bits.contains(.rst) { return Verdict(state: nil, clause: "3.10.7.2 first: RST is ignored") }
        if g.bits.contains(.ack) {
            return Verdict(state: nil, reply: .reset(seq: g.ack), clause: "3.10.7.2 second: any ACK is bad")
        }
        if g.bits.contains(.syn) {
            return Verdict(state: .synReceived, reply: .synAck(g.seq + 1), clause: "3.10.7.2 third: SYN")
        }
        return Verdict(state: nil, clause: "3.10.7.2 fourth: drop the segment")
    }

    // MARK: 3.10.7.3

    private static func synSent(_ s: Situation, _ g: Probe) -> Verdict {
        let isAcceptable = g.ack > s.sndUna && g.ack <= s.sndNxt
        if g.bits.contains(.ack), !isAcceptable {
            return Verdict(
                state: .synSent, reply: g.bits.contains(.rst) ? .none : .reset(seq: g.ack),
                clause: "3.10.7.3 first: SEG.ACK =< ISS or SEG.ACK > SND.NXT")
        }
        if g.bits.contains(.rst) {
            guard g.bits.contains(.ack) else {
                return Verdict(state: .synSent, clause: "3.10.7.3 second: RST without ACK")
            }
            return Verdict(state: nil, ending: .failed(.refused), clause: "3.10.7.3 second: RST with a good ACK")
        }
        guard g.bits.contains(.syn) else {
            return Verdict(state: .synSent, clause: "3.10.7.3 fifth: neither SYN nor RST")
        }
        guard g.bits.contains(.ack) else {
            return Verdict(state: .synReceived, reply: .synAck(g.seq + 1), clause: "3.10.7.3 fourth: simultaneous open")
        }
        // The SYN-ACK's text and FIN go on at the sixth step; the window of our SYN is larger than any of them.
        let hasFin = g.bits.contains(.fin)
        return Verdict(
            state: hasFin ? .closeWait : .established,
            reply: .ack(seq: s.sndNxt, ack: g.textEnd + (hasFin ? 1 : 0)), delivered: g.text,
            clause: "3.10.7.3 fourth: our SYN is acknowledged")
    }

    // MARK: 3.10.7.4

    private static func otherStates(_ s: Situation, _ g: Probe) -> Verdict {
        let ourAck = Reply.ack(seq: s.sndNxt, ack: s.rcvNxt)
        let edge = s.rcvNxt + s.rcvWnd
        func isInWindow(_ number: Int) -> Bool { number >= s.rcvNxt && number < edge }
        let bits = g.bits
        var now = Verdict(state: s.state, clause: "")

        // What stands beside the sequence check.
        if s.state == .synReceived, bits.contains(.syn), !bits.contains(.rst), g.seq < s.rcvNxt {
            return synAgain(s, g)
        }
        if s.state == .timeWait, bits.contains(.syn), !bits.contains(.ack), !bits.contains(.rst), s.isListening,
            g.seq > s.rcvNxt
        {
            return Verdict(
                state: .synReceived, reply: .synAck(g.seq + 1), clause: "3.6.1 MAY-2: a new SYN reopens from TIME-WAIT")
        }

        // First: the sequence number.
        let last = g.seq + g.length - 1
        let isAcceptable: Bool
        switch (g.length, s.rcvWnd) {
        case (0, 0): isAcceptable = g.seq == s.rcvNxt
        case (0, _):
            // Deviation: an ACK at the right edge, where it lies behind a window of data that was lost.
            let isAtEdge =
                g.seq == edge && !bits.contains(.rst) && s.state != .synReceived && s.state != .timeWait
            isAcceptable = isInWindow(g.seq) || isAtEdge
        case (_, 0):
            // "special allowance should be made to accept valid ACKs, URGs, and RSTs"
            isAcceptable = g.seq <= s.rcvNxt && last >= s.rcvNxt
        default:
            // Deviation: one that covers the whole window is trimmed rather than refused.
            isAcceptable = isInWindow(g.seq) || isInWindow(last) || (g.seq < s.rcvNxt && last >= edge)
        }
        guard isAcceptable else {
            now.clause = "3.10.7.4 first: not acceptable"
            if bits.contains(.rst) { return now }
            now.reply = ourAck
            // "The only thing that can arrive in this state is a retransmission of the remote FIN."
            now.restartsTimeWait = s.state == .timeWait && bits.contains(.fin) && last + 1 == s.rcvNxt
            return now
        }

        // Second: RST (RFC 5961 3.2).
        if bits.contains(.rst) { return reset(s, g, inWindow: isInWindow(g.seq)) }

        // Fourth: SYN (RFC 5961 4.2).
        if bits.contains(.syn) {
            if s.state == .synReceived, s.isPassive {
                return Verdict(state: nil, clause: "3.10.7.4 fourth: SYN-RECEIVED returns to LISTEN")
            }
            return Verdict(state: s.state, reply: ourAck, clause: "3.10.7.4 fourth: SYN is challenged")
        }
        return fromTheAck(s, g)
    }

    /// A SYN left of the window in SYN-RECEIVED. Deviation: the SYN itself again is answered by the SYN-ACK again, and a
    /// SYN-ACK completes a simultaneous open (3.5, figure 8).
    private static func synAgain(_ s: Situation, _ g: Probe) -> Verdict {
        guard g.seq == s.rcvNxt - 1 else {
            return Verdict(
                state: .synReceived, reply: .ack(seq: s.sndNxt, ack: s.rcvNxt), clause: "3.10.7.4 first: an old SYN")
        }
        if !g.bits.contains(.ack) {
            return Verdict(state: .synReceived, reply: .synAck(s.rcvNxt), clause: "the SYN again: the SYN-ACK again")
        }
        guard !s.isPassive else {
            return Verdict(
                state: .synReceived, reply: .ack(seq: s.sndNxt, ack: s.rcvNxt), clause: "3.10.7.4 first: an old SYN")
        }
        return fromTheAck(s, g)
    }

    private static func reset(_ s: Situation, _ g: Probe, inWindow: Bool) -> Verdict {
        let ourAck = Reply.ack(seq: s.sndNxt, ack: s.rcvNxt)
        // Deviation: RFC 1337.
        if s.state == .timeWait { return Verdict(state: .timeWait, clause: "RFC 1337: RST in TIME-WAIT is ignored") }
        guard inWindow || g.seq == s.rcvNxt else {
            return Verdict(state: s.state, clause: "3.10.7.4 second, 1): RST outside of the window")
        }
        guard g.seq == s.rcvNxt else {
            return Verdict(
                state: s.state, reply: ourAck, clause: "3.10.7.4 second, 3): RST in the window is challenged")
        }
        let clause = "3.10.7.4 second, 2): RST at RCV.NXT"
        switch s.state {
        case .synReceived where s.isPassive: return Verdict(state: nil, clause: clause)
        case .synReceived: return Verdict(state: nil, ending: .failed(.refused), clause: clause)
        case .closing, .lastAck: return Verdict(state: nil, ending: .orderly, clause: clause)
        case .established, .finWait1, .finWait2, .closeWait, .closed, .listen, .synSent, .timeWait:
            return Verdict(state: nil, ending: .failed(.reset), clause: clause)
        }
    }

    /// Fifth to eighth.
    private static func fromTheAck(_ s: Situation, _ g: Probe) -> Verdict {
        var now = Verdict(state: s.state, clause: "")
        let ourAck = Reply.ack(seq: s.sndNxt, ack: s.rcvNxt)
        guard g.bits.contains(.ack) else {
            now.clause = "3.10.7.4 fifth: ACK off"
            return now
        }
        let finIsAcknowledged = s.finSent && g.ack == s.sndNxt
        if s.state == .synReceived {
            guard g.ack > s.sndUna, g.ack <= s.sndNxt else {
                now.reply = .reset(seq: g.ack)
                now.clause = "3.10.7.4 fifth: SYN-RECEIVED, ACK not acceptable"
                return now
            }
            now.state = .established
        } else {
            guard g.ack <= s.sndNxt else {
                now.reply = ourAck
                now.clause = "3.10.7.4 fifth: ACK of something not yet sent"
                return now
            }
            guard g.ack >= s.sndUna - s.maxSndWnd else {
                now.reply = ourAck
                now.clause = "RFC 5961 5.2: ACK older than MAX.SND.WND"
                return now
            }
            switch s.state {
            case .finWait1 where finIsAcknowledged: now.state = .finWait2
            case .closing:
                now.clause = "3.10.7.4 fifth: CLOSING, otherwise ignore the segment"
                guard finIsAcknowledged else { return now }
                now.state = .timeWait
                now.restartsTimeWait = true
            case .lastAck where finIsAcknowledged:
                return Verdict(
                    state: nil, ending: .orderly, clause: "3.10.7.4 fifth: LAST-ACK, our FIN is acknowledged")
            case .finWait1, .lastAck, .established, .finWait2, .closeWait, .timeWait, .closed, .listen, .synSent,
                .synReceived:
                break
            }
        }
        return text(s, g, now)
    }

    private static func text(_ s: Situation, _ g: Probe, _ before: Verdict) -> Verdict {
        var now = before
        let edge = s.rcvNxt + s.rcvWnd
        let hasFin = g.bits.contains(.fin)
        var next = s.rcvNxt
        func ack() -> Reply { .ack(seq: s.sndNxt, ack: next) }
        switch now.state {
        case .established, .finWait1, .finWait2:
            guard g.text > 0 || hasFin else {
                now.clause = "3.10.7.4 fifth: an ACK"
                return now
            }
            now.clause = "3.10.7.4 seventh, eighth: text and FIN"
            let start = max(g.textStart, next)
            let end = min(g.textEnd, edge)
            if s.isOrphan, end > start {
                return Verdict(
                    state: nil, reply: .reset(seq: g.ack), ending: .failed(.reset),
                    clause: "3.6.1 SHLD-3: data after CLOSE")
            }
            if start == next, end > start {
                now.delivered = end - start
                next = end
            }
            // The FIN takes no room in the buffer. Deviation: it may lie at the window's right edge.
            if hasFin, g.textEnd == next {
                next += 1
                switch now.state {
                case .established: now.state = .closeWait
                case .finWait1: now.state = .closing
                default:
                    now.state = .timeWait
                    now.restartsTimeWait = true
                }
            }
            now.reply = ack()
        case .timeWait, .closeWait, .closing, .lastAck:
            // "This should not occur since a FIN has been received": the text is ignored, a FIN acknowledged.
            if now.clause.isEmpty { now.clause = "3.10.7.4 seventh, eighth: after the peer's FIN" }
            if hasFin {
                now.reply = ack()
                if now.state == .timeWait { now.restartsTimeWait = true }
            }
        case .closed, .listen, .synSent, .synReceived, nil:
            break
        }
        return now
    }
}
