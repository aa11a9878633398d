// A drill: one host under test, a peer whose segments the script writes by hand, and virtual time.
import TCPEngine
import TCPSegments

/// A parsed script.
public struct DrillScript: Sendable {
    /// Where it came from, for messages.
    public let name: String
    /// How the host and its link are set up.
    public internal(set) var settings = DrillSettings()
    /// What happens, in order of time.
    public internal(set) var steps: [DrillStep] = []
}

/// What a script's `set` lines say, with their defaults.
public struct DrillSettings: Sendable {
    /// The host under test.
    public var host = HostConfiguration()
    /// What the link takes: the MSS that is announced.
    public var maximumSegmentSize: UInt16 = 1460
    /// The first sequence number of the host under test, and of the peer.
    public var iss = SequenceNumber(0), irs = SequenceNumber(0)
    /// How far from its scripted time a segment may leave.
    public var tolerance = TimeInterval.milliseconds(1)
    /// Whether the link carries congestion marks.
    public var carriesECN = true
    /// Whether packets that are too large for the path may vanish.
    public var hidesMTU = false
    /// Whether the two speak IPv6.
    public var isIPv6 = false
}

/// One line of a script.
public struct DrillStep: Sendable {
    /// The line's number, from 1, and its text.
    public let line: Int
    /// The line as written.
    public let text: String
    /// When it happens, from the script's beginning.
    public let time: TimeInterval
    /// What happens.
    public let action: DrillAction
}

/// What a line does.
public enum DrillAction: Sendable {
    /// The peer sends this segment.
    case inject(DrillSegment)
    /// This segment is the next that leaves.
    case expect(DrillSegment)
    /// A router reports what became of the segment of ours at this position.
    case pathError(PathError, position: Int)
    /// The user calls; `expected` bytes or an error must come out of it, if given.
    case call(DrillCall, expected: DrillResult?)
    /// The connection is in this state.
    case state(State)
    /// A value of the connection.
    case check(DrillValue, DrillComparison, Int)
    /// This event has happened since the last one that was asked for.
    case event(DrillEvent)
    /// Nothing has left that was not expected before.
    case quiet
}

/// What a user call is to return.
public enum DrillResult: Hashable, Sendable {
    case count(Int)
    case failure(ConnectionError)
}

/// The user calls of RFC 9293 3.10.1 to 3.10.5, and what goes with them.
public enum DrillCall: Sendable {
    case listen(backlog: Int)
    case connect
    /// TCP_FASTOPEN_CONNECT and connect(2): deferred if there is a cookie.
    case connectDeferred
    /// sendto(2) with MSG_FASTOPEN: opens, and sends as much as the SYN takes along.
    case sendTo(Int)
    /// TCP_FASTOPEN of the listener.
    case fastOpenQueue(Int)
    case accept
    case send(Int, urgent: Bool)
    /// MSG_MORE: more follows.
    case sendMore(Int)
    case cork(Bool)
    case quickAck(Bool)
    case receive(Int)
    case shutdownSending
    case shutdownReceiving
    case close
    case closeListener
    case abort
    case noDelay(Bool)
    case keepAlive(idle: TimeInterval, interval: TimeInterval, probes: Int)
    case userTimeout(TimeInterval?)
}

/// The values that `check` knows, by the names they have in a script.
public enum DrillValue: String, CaseIterable, Sendable {
    case congestionWindow = "cwnd"
    case slowStartThreshold = "ssthresh"
    case inFlight = "inflight"
    case sendWindow = "sndwnd"
    case receiveWindow = "rcvwnd"
    case segmentSize = "mss"
    case sendQueued = "queued"
    case receiveQueued = "unread"
    case outOfOrder = "outoforder"
    case retransmitted = "retransmitted"
    case dropped = "dropped"
    /// In milliseconds.
    case timeout = "rto"
    /// In milliseconds.
    case roundTrip = "rtt"
    /// Connections, half-open ones and TIME-WAIT records of the host.
    case connections
    /// Connections that wait to be accepted.
    case acceptQueue = "acceptqueue"
    /// 1 if the SYN's data was acknowledged, or taken, with the SYN.
    case synData = "syndata"
    /// How long data may stay unacknowledged, in seconds; 0: no limit but that of retransmissions.
    case userTimeout = "user-timeout"
    /// SYN cookies that were sent, and that came back.
    case cookiesSent = "cookies-sent"
    case cookiesAccepted = "cookies-accepted"
}

/// How a value is compared.
public enum DrillComparison: String, Sendable {
    case equal = "="
    case atLeast = ">="
    case atMost = "<="
}

/// What a user hears of.
public enum DrillEvent: Hashable, Sendable {
    case established, readable, writable, urgent, peerClosed
    case closed(ConnectionError?)
}

/// A segment as a script writes it. Positions count from the sender's initial sequence number, whose SYN has position 0.
public struct DrillSegment: Sendable {
    /// The control bits.
    public var bits: ControlBits = []
    /// SEG.SEQ, and the bytes of data.
    public var start = 0, count = 0
    /// SEG.ACK.
    public var ack: Int?
    /// The window field, unscaled.
    public var window: UInt16?
    /// The urgent pointer.
    public var urgent: UInt16?
    /// The MSS option.
    public var mss: UInt16?
    /// The window scale option.
    public var windowScale: UInt8?
    /// SACK permitted.
    public var sackPermitted = false
    /// The timestamps option: TSval and TSecr. Of the host's own TSval a script says how many milliseconds have passed since
    /// its first one.
    public var timestamps: (value: Int, echo: Int)?
    /// What its IP header says of ECN; nil: not compared, or not capable.
    public var ecn: ECNField?
    /// The User Timeout option.
    public var userTimeout: TimeInterval?
    /// The Fast Open option.
    public var fastOpen: FastOpenOption?
    /// SACK blocks.
    public var blocks: [Range<Int>] = []
    /// Options that must not be there, by the names a script gives them.
    public var absent: Set<String> = []
}

/// What is wrong with a script, or how the host departed from it: a sentence that names the line.
public struct DrillFailure: Error, CustomStringConvertible {
    /// The script's name and the line's number; 0: the file as a whole.
    public let script: String, line: Int
    /// What is wrong.
    public let sentence: String
    /// The last things that happened, oldest first; empty for what is wrong with the script itself.
    public let trace: [String]

    /// Line and sentence, then the trace.
    public var description: String {
        ([line > 0 ? "\(script):\(line): \(sentence)" : "\(script): \(sentence)"] + trace.map { "    \($0)" }).joined(
            separator: "\n")
    }
}
