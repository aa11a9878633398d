// getsockopt and setsockopt: what the daemon answers, and what it only keeps.
import CLinux
import ControlRecords
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

extension ControlSession {
    private var layer: SocketLayer { daemon.layer }

    /// Options that are kept and given back, without effect yet.
    private static let recorded: Set<UInt64> = [
        key(SOL_SOCKET, SO_KEEPALIVE), key(SOL_SOCKET, SO_OOBINLINE), key(SOL_SOCKET, SO_REUSEPORT),
        key(Int32(IPPROTO_TCP), TCP_KEEPIDLE), key(Int32(IPPROTO_TCP), TCP_KEEPINTVL),
        key(Int32(IPPROTO_TCP), TCP_KEEPCNT),
    ]

    private static func key(_ level: Int32, _ name: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: level)) << 32 | UInt64(UInt32(bitPattern: name))
    }

    func setOption(_ socket: Socket, _ request: chitcp_request, at now: Instant) throws(SocketError) {
        let (level, name) = (request.argument.0, request.argument.1)
        let values = withUnsafeBytes(of: request.data) { bytes in
            (0..<Int(request.data_length) / 4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Int32.self) }
        }
        guard let first = values.first else { throw .invalidArgument }
        switch (level, name) {
        case (Int32(IPPROTO_TCP), TCP_NODELAY): layer.setNoDelay(socket, first != 0, at: now)
        case (SOL_SOCKET, SO_REUSEADDR): socket.reuseAddress = first != 0
        case (SOL_SOCKET, SO_LINGER):
            guard values.count >= 2 else { throw .invalidArgument }
            socket.linger = first != 0 ? max(0, values[1]) : nil
        default:
            guard Self.recorded.contains(Self.key(level, name)) else { throw .unknownOption }
            socket.recordedOptions[Self.key(level, name)] = first
        }
    }

    func option(_ socket: Socket, _ request: chitcp_request) throws(SocketError) -> (Int32, Int32, isPair: Bool) {
        let (level, name) = (request.argument.0, request.argument.1)
        switch (level, name) {
        case (Int32(IPPROTO_TCP), TCP_NODELAY): return (socket.noDelay ? 1 : 0, 0, false)
        case (Int32(IPPROTO_TCP), TCP_MAXSEG):
            return (Int32(clamping: socket.connection?.info.maximumSegmentSize ?? 536), 0, false)
        case (SOL_SOCKET, SO_REUSEADDR): return (socket.reuseAddress ? 1 : 0, 0, false)
        case (SOL_SOCKET, SO_LINGER): return (socket.linger == nil ? 0 : 1, socket.linger ?? 0, true)
        case (SOL_SOCKET, SO_TYPE): return (Int32(SOCK_STREAM.rawValue), 0, false)
        case (SOL_SOCKET, SO_ACCEPTCONN): return (socket.listener == nil ? 0 : 1, 0, false)
        case (SOL_SOCKET, SO_DOMAIN): return (socket.isIPv6 ? AF_INET6 : AF_INET, 0, false)
        case (SOL_SOCKET, SO_PROTOCOL): return (Int32(IPPROTO_TCP), 0, false)
        case (SOL_SOCKET, SO_ERROR):
            let error = socket.pendingError
            socket.pendingError = 0
            return (error, 0, false)
        default:
            guard Self.recorded.contains(Self.key(level, name)) else { throw .unknownOption }
            return (socket.recordedOptions[Self.key(level, name)] ?? 0, 0, false)
        }
    }

    /// What `chitcp sockets` shows of a socket.
    func socketStatus(_ socket: Socket) -> chitcp_socket_status {
        var s = chitcp_socket_status()
        s.number = Int32(socket.number)
        s.state = Int32(socket.state.rawValue)
        s.owner_pid = socket.ownerPID
        s.owner_uid = Int32(bitPattern: socket.ownerUID)
        s.local = controlAddress(socket.localName)
        s.remote = controlAddress(socket.remoteName)
        if let listener = socket.listener {
            s.accept_queue = UInt32(listener.acceptQueueCount)
            s.backlog = UInt32(listener.backlog)
        }
        guard let info = socket.connection?.info else { return s }
        s.send_queued = UInt32(clamping: info.sendQueued)
        s.receive_queued = UInt32(clamping: info.receiveQueued)
        s.iss = info.iss.value
        s.irs = info.irs.value
        s.snd_una = info.sndUna.value
        s.snd_nxt = info.sndNxt.value
        s.snd_wnd = info.sndWnd
        s.rcv_nxt = info.rcvNxt.value
        s.rcv_wnd = info.rcvWnd
        s.maximum_segment_size = UInt32(clamping: info.maximumSegmentSize)
        s.congestion_window = UInt32(clamping: info.congestionWindow)
        s.slow_start_threshold = UInt32(clamping: info.slowStartThreshold)
        s.smoothed_rtt = UInt64(info.smoothedRTT?.nanoseconds ?? 0)
        s.rtt_variation = UInt64(info.rttVariation.nanoseconds)
        s.retransmission_timeout = UInt64(info.retransmissionTimeout.nanoseconds)
        s.segments_sent = info.segmentsSent
        s.segments_received = info.segmentsReceived
        s.bytes_sent = info.bytesSent
        s.bytes_received = info.bytesReceived
        s.segments_retransmitted = info.segmentsRetransmitted
        s.bytes_retransmitted = info.bytesRetransmitted
        withUnsafeMutableBytes(of: &s.congestion_control) { name in
            for (i, byte) in info.congestionControl.utf8.prefix(15).enumerated() { name[i] = byte }
        }
        return s
    }
}

extension chitcp_response {
    /// Puts an option's value into the data field: an int, or the two of SO_LINGER.
    mutating func setData(_ value: (Int32, Int32, isPair: Bool)) {
        withUnsafeMutableBytes(of: &data) {
            $0.storeBytes(of: value.0, as: Int32.self)
            $0.storeBytes(of: value.1, toByteOffset: 4, as: Int32.self)
        }
        data_length = value.isPair ? 8 : 4
    }
}
