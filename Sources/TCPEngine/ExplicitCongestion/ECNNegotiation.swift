// What two SYNs agree on about congestion marks (RFC 3168 6.1.1, RFC 9768 3.1): pure functions over their control bits.
import TCPSegments

/// How much a connection wants to do with explicit congestion notification. It needs a link that carries the marks.
public enum ECNUse: String, Sendable, Hashable, CaseIterable {
    /// Nothing: peers that ask are told no.
    case off
    /// Peers that ask get it, in the form they ask for; nobody is asked (Linux's tcp_ecn=2, and 5).
    case accept
    /// Peers are asked for RFC 3168's feedback, and get it (Linux's tcp_ecn=1).
    case classic
    /// Peers are asked for accurate feedback (RFC 9768), and get what they ask for (Linux's tcp_ecn=3).
    case accurate
}

/// How a connection's two ends tell each other of congestion marks.
public enum ECNFeedback: UInt8, Sendable, Hashable {
    /// Not at all.
    case none
    /// One bit, repeated until it is answered (RFC 3168).
    case classic
    /// A counter of marked segments in three bits (RFC 9768).
    case accurate
}

/// The three bits of the control bits, as one number: AE, CWR, ECE (RFC 9768 3.1).
extension ControlBits {
    static var ecn: ControlBits { [.ae, .cwr, .ece] }

    init(ace: Int) {
        self = ControlBits(rawValue: UInt16(truncatingIfNeeded: ace & 7) << 6)
    }

    /// ACE, 0 to 7.
    var ace: Int { Int(rawValue >> 6) & 7 }
}

enum ECNNegotiation {
    /// What a SYN asks for with these bits.
    static func request(_ use: ECNUse) -> ControlBits {
        switch use {
        case .off, .accept: return []
        case .classic: return [.ece, .cwr]
        case .accurate: return .ecn
        }
    }

    /// The feedback that the answer to a SYN agrees to.
    static func answer(to syn: ControlBits, _ use: ECNUse) -> ECNFeedback {
        guard use != .off else { return .none }
        switch syn.ace {
        case 0b000: return .none
        case 0b011: return .classic
        default:
            // RFC 9768 3.1.2: what is not used yet asks for accurate feedback as 111 does. To a host that wants RFC 3168's
            // form only, such bits mean nothing, or that form (RFC 9768 table 2: "AccECN, ECN").
            if use == .classic { return syn.contains([.ece, .cwr]) ? .classic : .none }
            return .accurate
        }
    }

    /// The bits of a SYN-ACK that agrees to `feedback`, for a SYN that came with `codepoint` (RFC 9768 table 2).
    static func agreement(_ feedback: ECNFeedback, synCameWith codepoint: ECNField) -> ControlBits {
        switch feedback {
        case .none: return []
        case .classic: return .ece
        case .accurate: return handshakeEncoding(of: codepoint)
        }
    }

    /// How SYN-ACK and the ACK of it tell with which codepoint the SYN, or SYN-ACK, came (RFC 9768 tables 2 and 4).
    static func handshakeEncoding(of codepoint: ECNField) -> ControlBits {
        switch codepoint {
        case .notCapable: return ControlBits(ace: 0b010)
        case .capable1: return ControlBits(ace: 0b011)
        case .capable0: return ControlBits(ace: 0b100)
        case .congestionExperienced: return ControlBits(ace: 0b110)
        }
    }

    /// The codepoint that such bits tell of; nil if they tell of none.
    static func codepoint(from bits: ControlBits) -> ECNField? {
        switch bits.ace {
        case 0b010: return .notCapable
        case 0b011: return .capable1
        case 0b100: return .capable0
        case 0b110: return .congestionExperienced
        default: return nil
        }
    }

    /// What the SYN-ACK of a peer agreed to that was asked as `use` asks.
    static func agreed(by synAck: ControlBits, _ use: ECNUse) -> ECNFeedback {
        switch use {
        case .off, .accept: return .none
        case .classic:
            // RFC 3168 6.1.1: ECE without CWR. Both bits come from peers that send back whatever they get.
            return synAck.contains(.ece) && !synAck.contains(.cwr) ? .classic : .none
        case .accurate:
            switch synAck.ace {
            case 0b000, 0b111: return .none
            case 0b001: return .classic
            // RFC 9768 3.1.2: 101 is reserved and counts as agreement.
            default: return .accurate
            }
        }
    }
}
