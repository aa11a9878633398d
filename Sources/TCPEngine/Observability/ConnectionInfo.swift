// What a connection tells of itself: STATUS (RFC 9293 3.10.6), counters, and the snapshot that events carry.
import TCPSegments

/// Counters of one connection. Bytes are payload.
struct ConnectionStatistics {
    var segmentsSent: UInt64 = 0
    var segmentsReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
    var bytesReceived: UInt64 = 0
    var segmentsRetransmitted: UInt64 = 0
    var bytesRetransmitted: UInt64 = 0
    /// Segments that the peer is known to have, where segments count (`ConnectionConfiguration.countsSegments`).
    var segmentsDelivered: UInt64 = 0
    var duplicateBytesReceived: UInt64 = 0
    var droppedSegments: UInt64 = 0
    /// Those of them that were dropped for their timestamp (PAWS).
    var staleSegments: UInt64 = 0
    /// D-SACKs for retransmissions, reductions taken back, fast recoveries, timeouts, tail loss probes and those of them that
    /// repaired a loss.
    var needlessRetransmissions: UInt32 = 0
    var undoneReductions: UInt32 = 0
    var recoveries: UInt32 = 0
    var timeouts: UInt32 = 0
    var tailLossProbes: UInt32 = 0
    var probeRepairs: UInt32 = 0
}

/// The state of a connection as STATUS gives it. Sizes in bytes.
public struct ConnectionInfo: Sendable {
    /// The state.
    public let state: State
    public let iss, irs, sndUna, sndNxt, rcvNxt: SequenceNumber
    public let sndWnd, rcvWnd: UInt32
    /// The largest payload of a segment to the peer, in bytes.
    public let maximumSegmentSize: Int
    /// Larger segments that were tried, and those of them that the path did not take.
    public let sizeProbes, failedSizeProbes: UInt32
    /// The name of the congestion control.
    public let congestionControl: String
    /// The congestion window in bytes.
    public let congestionWindow: Int
    /// Int.max before the first loss.
    public let slowStartThreshold: Int
    /// Bytes believed to be in the network.
    public let inFlight: Int
    /// SRTT of RFC 6298; nil before the first sample.
    public let smoothedRTT: TimeInterval?
    /// RTTVAR of RFC 6298.
    public let rttVariation: TimeInterval
    /// The timeout that would be armed now, backoff included.
    public let retransmissionTimeout: TimeInterval
    /// The shortest round trip of the last minutes; nil before the first sample.
    public let minimumRTT: TimeInterval?
    /// Bytes per second at the last estimate; 0 before it.
    public let deliveryRate: Int
    /// The user, not the path, limited that estimate.
    public let isDeliveryRateLimitedByUser: Bool
    /// Bytes per second at which segments leave; 0: not paced.
    public let pacingRate: Int
    /// What is outstanding, in segments.
    public let segments: SegmentCounts
    /// Where loss recovery stands.
    public let recoveryState: RecoveryState
    /// Bytes that the peer is known to have.
    public let bytesDelivered: Int
    /// The same in segments, each counted whole; nil where segments do not count.
    public let segmentsDelivered: UInt64?
    /// Zero-window and keepalive probes that nobody has answered.
    public let unansweredProbes: Int
    /// Bytes outstanding that the peer has selectively acknowledged, and that count as lost.
    public let selectivelyAcknowledged, lost: Int
    /// The path has delivered segments out of order.
    public let reorderingSeen: Bool
    /// How often it has.
    public let reorderings: UInt32
    /// By how many segments at most: 3, which is taken for granted, to 300.
    public let reorderingDegree: Int
    /// How long later segments may overtake earlier ones before those count as lost (RFC 8985 6.2).
    public let reorderingWindow: TimeInterval
    /// Fast recoveries, retransmission timeouts, tail loss probes.
    public let recoveries, timeouts, tailLossProbes: UInt32
    /// Retransmissions that the peer reported as needless, and reductions of the window that were taken back.
    public let needlessRetransmissions, undoneReductions: UInt32
    public let sendQueued, receiveQueued, outOfOrderQueued: Int
    /// How much the buffers may hold now.
    public let sendBufferSize, receiveBufferSize: Int
    public let segmentsSent, segmentsReceived: UInt64
    /// Payload: sent for the first time, and received in order.
    public let bytesSent, bytesReceived: UInt64
    public let segmentsRetransmitted, bytesRetransmitted: UInt64
    /// How often in a row the retransmission timer expired: the soft error of RFC 9293 3.8.3 (R1).
    public let consecutiveTimeouts: Int
    /// Segments that were dropped as unacceptable.
    public let segmentsDropped: UInt64
    /// Those of them that carried an old timestamp (RFC 7323 5).
    public let segmentsStale: UInt64
    /// Which options both ends agreed on.
    public let usesTimestamps, usesSelectiveAcks, usesWindowScaling: Bool
    /// How the two ends tell each other of congestion marks.
    public let ecn: ECNFeedback
    /// Whether the peer's segments said that they could be marked.
    public let sawECNCapable: Bool
    /// Segments that came marked, and marks that the peer told of.
    public let marksReceived, marksReported: UInt64
    /// Reductions of the window because of marks.
    public let markReactions: UInt32
    /// How long data may stay unacknowledged; nil: the retransmission limits decide.
    public let userTimeout: TimeInterval?
    /// Data of the SYN was acknowledged with it, or taken from it (TCPI_OPT_SYN_DATA).
    public let synDataAcknowledged: Bool
    /// Why an active OPEN had to do without Fast Open.
    public let fastOpenFailure: FastOpenFailure
    /// Why nothing was sent when last asked.
    public let holdReason: HoldReason
}

extension Connection {
    /// STATUS (RFC 9293 3.10.6).
    public var info: ConnectionInfo {
        ConnectionInfo(
            state: state, iss: tcb.send.iss, irs: tcb.receive.irs, sndUna: tcb.send.una.wrapped(from: tcb.send.iss),
            sndNxt: reportedSendNext.wrapped(from: tcb.send.iss),
            rcvNxt: tcb.receive.nxt.wrapped(from: tcb.receive.irs),
            sndWnd: tcb.send.wnd, rcvWnd: UInt32(clamping: reportedReceiveWindow), maximumSegmentSize: tcb.sendMSS,
            sizeProbes: sizeSearch?.sent ?? 0, failedSizeProbes: sizeSearch?.failed ?? 0,
            congestionControl: congestion.chosen.rawValue, congestionWindow: sendWindow,
            slowStartThreshold: congestion.slowStartThreshold, inFlight: inFlight, smoothedRTT: roundTrip.smoothed,
            rttVariation: roundTrip.variation, retransmissionTimeout: roundTrip.timeout,
            minimumRTT: minimumRoundTrip.value, deliveryRate: rate.estimate?.bytesPerSecond ?? 0,
            isDeliveryRateLimitedByUser: rate.estimate?.isApplicationLimited ?? true,
            pacingRate: paceRate, segments: segmentCounts, recoveryState: recoveryState,
            bytesDelivered: rate.delivered,
            segmentsDelivered: configuration.countsSegments ? statistics.segmentsDelivered : nil,
            unansweredProbes: self.unansweredProbes,
            selectivelyAcknowledged: retransmissionQueue.selected,
            lost: retransmissionQueue.lost, reorderingSeen: rack.reorderingSeen,
            reorderings: rack.reorderings, reorderingDegree: rack.degree, reorderingWindow: reorderingWindow,
            recoveries: statistics.recoveries, timeouts: statistics.timeouts,
            tailLossProbes: statistics.tailLossProbes, needlessRetransmissions: statistics.needlessRetransmissions,
            undoneReductions: statistics.undoneReductions, sendQueued: sendBuffer.count,
            receiveQueued: receiveBuffer.count, outOfOrderQueued: reassembly?.count ?? 0,
            sendBufferSize: sendCapacity, receiveBufferSize: receiveCapacity,
            segmentsSent: statistics.segmentsSent, segmentsReceived: statistics.segmentsReceived,
            bytesSent: statistics.bytesSent, bytesReceived: statistics.bytesReceived,
            segmentsRetransmitted: statistics.segmentsRetransmitted, bytesRetransmitted: statistics.bytesRetransmitted,
            consecutiveTimeouts: timeoutCount, segmentsDropped: statistics.droppedSegments,
            segmentsStale: statistics.staleSegments,
            usesTimestamps: timestamps.isOn, usesSelectiveAcks: selectiveAcks, usesWindowScaling: scalesWindows,
            ecn: marks?.feedback ?? .none, sawECNCapable: marks?.sawCapable ?? false,
            marksReceived: marks?.marksReceived ?? 0, marksReported: marks?.marksReported ?? 0,
            markReactions: marks?.reactions ?? 0,
            userTimeout: userTimeout, synDataAcknowledged: synDataAcknowledged,
            fastOpenFailure: fastOpenClient?.failure ?? .none,
            holdReason: holdReason)
    }

    /// RFC 9293 3.10.1 and 3.10.7.2: SND.NXT is ISS + 1 as soon as SYN-SENT or SYN-RECEIVED is entered. Here it moves when
    /// the SYN is polled, a moment later.
    private var reportedSendNext: StreamOffset {
        state == .synSent || state == .synReceived ? max(tcb.send.nxt, StreamOffset(1)) : tcb.send.nxt
    }

    /// Before the peer's SYN there is no edge yet: what the SYN announces.
    private var reportedReceiveWindow: Int {
        state == .synSent ? min(configuration.receiveBufferSize, 65_535) : tcb.receive.wnd
    }

    /// The control block and the buffers as of now.
    public var snapshot: ControlBlockSnapshot { ControlBlockSnapshot(self) }
}

/// The control block as of one instant, with the buffers' contents: what a debugger sees at an event.
public final class ControlBlockSnapshot: Sendable {
    /// Variables and counters.
    public let info: ConnectionInfo
    /// The bytes in the send buffer from SND.UNA on, and the unread received ones; `bufferLimit` of each at most.
    public let sendBuffer, receiveBuffer: [UInt8]
    /// How many bytes of a buffer a snapshot holds.
    public static let bufferLimit = 508 * 1024

    init(_ connection: Connection) {
        info = connection.info
        var bytes = [UInt8](repeating: 0, count: min(connection.sendBuffer.count, Self.bufferLimit))
        if !bytes.isEmpty {
            var payload = Payload()
            connection.sendBuffer.addPayload(from: connection.sendBuffer.start, count: bytes.count, to: &payload)
            bytes.withUnsafeMutableBytes { target in
                guard let base = target.baseAddress else { return }
                payload.copyBytes(from: 0, count: payload.count, to: base)
            }
        }
        sendBuffer = bytes
        receiveBuffer = connection.receiveBuffer.copy(limit: Self.bufferLimit)
    }
}
