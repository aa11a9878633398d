// TCP_INFO: what a connection tells of itself, in the layout of Linux's struct tcp_info.
import Glibc
import TCPEngine
import TCPSegments

/// Bytes of struct tcp_info (linux/tcp.h), as far as there is something to say.
private let tcpInfoSize = 248

/// The bytes of struct tcp_info for a socket. Times are in microseconds where Linux has them so, else in milliseconds.
func tcpInformation(of socket: Socket) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: tcpInfoSize)
    func put<T: FixedWidthInteger>(_ value: T, at place: Int) {
        // Bounds: the places below end within the 248 bytes.
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: place, as: T.self) }
    }
    func put32(_ value: Int, at place: Int) { put(UInt32(clamping: value), at: place) }
    put(linuxState(socket.state), at: 0)
    if let listener = socket.listener {
        // Linux: the queue of a listener stands in tcpi_unacked, its limit in tcpi_sacked.
        put32(listener.acceptQueueCount, at: 24)
        put32(listener.backlog, at: 28)
        return bytes
    }
    guard let info = socket.connection?.info else { return bytes }
    func microseconds(_ time: TimeInterval) -> Int { Int(time.nanoseconds / 1000) }
    let mss = max(1, info.maximumSegmentSize)
    var options: UInt8 = 0
    if info.usesTimestamps { options |= 1 }
    if info.usesSelectiveAcks { options |= 2 }
    if info.usesWindowScaling { options |= 4 }
    if info.ecn != .none { options |= 8 }
    if info.sawECNCapable { options |= 16 }
    if info.synDataAcknowledged { options |= 32 }
    put(options, at: 5)
    // tcpi_delivery_rate_app_limited, and tcpi_fastopen_client_fail in two bits above it.
    put((info.isDeliveryRateLimitedByUser ? 1 : 0) | info.fastOpenFailure.rawValue << 1, at: 7)
    put32(microseconds(info.retransmissionTimeout), at: 8)
    put32(mss, at: 16)
    put32(mss, at: 20)
    put(info.recoveryState.rawValue, at: 1)
    put(UInt8(clamping: info.consecutiveTimeouts), at: 2)
    put(UInt8(clamping: info.unansweredProbes), at: 3)
    put(UInt8(clamping: info.consecutiveTimeouts), at: 4)
    put32(info.segments.outstanding, at: 24)
    put32(info.segments.selected, at: 28)
    put32(info.segments.lost, at: 32)
    put32(info.segments.retransmitted, at: 36)
    put32(mss + 40, at: 60)
    put32(microseconds(info.smoothedRTT ?? .zero), at: 68)
    put32(microseconds(info.rttVariation), at: 72)
    put32(info.slowStartThreshold == .max ? Int(Int32.max) : info.slowStartThreshold / mss, at: 76)
    put32(max(1, info.congestionWindow / mss), at: 80)
    // tcpi_advmss.
    put32(socket.connection?.announcedSegmentSize ?? mss, at: 84)
    put32(info.reorderingDegree, at: 88)
    put(UInt32(clamping: info.segmentsRetransmitted), at: 100)
    put(info.pacingRate > 0 ? UInt64(info.pacingRate) : UInt64.max, at: 104)
    let limit = socket.settings.maximumPacingRate ?? .max
    put(limit == .max ? UInt64.max : UInt64(limit), at: 112)
    let unacknowledged = UInt64(clamping: info.inFlight)
    put(info.bytesSent >= unacknowledged ? info.bytesSent - unacknowledged : 0, at: 120)
    put(info.bytesReceived, at: 128)
    put(UInt32(truncatingIfNeeded: info.segmentsSent), at: 136)
    put(UInt32(truncatingIfNeeded: info.segmentsReceived), at: 140)
    put32(socket.connection?.unsentBytes ?? 0, at: 144)
    // Linux: all ones before there is a sample.
    put32(info.minimumRTT.map(microseconds) ?? Int(UInt32.max), at: 148)
    // Linux counts the SYN.
    let delivered = info.segmentsDelivered.map(Int.init(clamping:)) ?? (info.bytesDelivered + mss - 1) / mss
    put32(delivered + (socket.wasEstablished && info.state != .synReceived ? 1 : 0), at: 192)
    put(UInt32(truncatingIfNeeded: info.marksReported), at: 196)
    put(info.reorderings, at: 220)
    put(info.bytesSent + info.bytesRetransmitted, at: 200)
    put(info.bytesRetransmitted, at: 208)
    put(info.sndWnd, at: 228)
    put(info.rcvWnd, at: 232)
    return bytes
}

/// The number Linux has for a state (include/net/tcp_states.h).
private func linuxState(_ state: State) -> UInt8 {
    switch state {
    case .established: return 1
    case .synSent: return 2
    case .synReceived: return 3
    case .finWait1: return 4
    case .finWait2: return 5
    case .timeWait: return 6
    case .closed: return 7
    case .closeWait: return 8
    case .lastAck: return 9
    case .listen: return 10
    case .closing: return 11
    }
}
