// The eleven states of RFC 9293 3.3.2, without payload: data lives in the control block.

/// The state of a connection (RFC 9293 3.3.2). The raw values are chiTCP's numbers.
public enum State: UInt8, Sendable, CaseIterable {
    case closed = 0
    case listen = 1
    case synReceived = 2
    case synSent = 3
    case established = 4
    case finWait1 = 5
    case finWait2 = 6
    case closeWait = 7
    case closing = 8
    case timeWait = 9
    case lastAck = 10

    /// True once both sides have synchronised sequence numbers (RFC 9293 3.5.1).
    public var isSynchronized: Bool {
        switch self {
        case .closed, .listen, .synSent, .synReceived: return false
        case .established, .finWait1, .finWait2, .closeWait, .closing, .timeWait, .lastAck: return true
        }
    }

    /// True while the user may queue data (RFC 9293 3.10.2: before the connection is up, too).
    public var maySend: Bool {
        switch self {
        case .synSent, .synReceived, .established, .closeWait: return true
        case .closed, .listen, .finWait1, .finWait2, .closing, .timeWait, .lastAck: return false
        }
    }

    /// True while the peer may still send data.
    public var mayReceive: Bool {
        switch self {
        case .established, .finWait1, .finWait2: return true
        case .closed, .listen, .synSent, .synReceived, .closeWait, .closing, .timeWait, .lastAck: return false
        }
    }
}

extension State: CustomStringConvertible {
    /// The state's name as RFC 9293 and chiTCP write it, with underscores.
    public var description: String {
        switch self {
        case .closed: return "CLOSED"
        case .listen: return "LISTEN"
        case .synReceived: return "SYN_RCVD"
        case .synSent: return "SYN_SENT"
        case .established: return "ESTABLISHED"
        case .finWait1: return "FIN_WAIT_1"
        case .finWait2: return "FIN_WAIT_2"
        case .closeWait: return "CLOSE_WAIT"
        case .closing: return "CLOSING"
        case .timeWait: return "TIME_WAIT"
        case .lastAck: return "LAST_ACK"
        }
    }
}
