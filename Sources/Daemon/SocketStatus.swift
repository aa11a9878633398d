// What `chitcp sockets` shows: a record per socket, and the totals.
import ControlRecords
import SocketLayer
import TCPEngine

extension ControlSession {
    /// What `chitcp sockets` shows of a socket.
    func socketStatus(_ socket: Socket) -> chitcp_socket_status {
        var s = chitcp_socket_status()
        s.number = Int32(socket.number)
        s.state = Int32(socket.state.rawValue)
        s.owner_pid = socket.ownerPID
        s.owner_uid = Int32(bitPattern: socket.ownerUID)
        s.local = controlAddress(socket.localName, isIPv6: socket.isIPv6)
        s.remote = controlAddress(socket.remoteName, isIPv6: socket.isIPv6)
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
        s.recoveries = info.recoveries
        s.timeouts = info.timeouts
        s.tail_loss_probes = info.tailLossProbes
        s.needless_retransmissions = info.needlessRetransmissions
        withUnsafeMutableBytes(of: &s.congestion_control) { name in
            for (i, byte) in info.congestionControl.utf8.prefix(15).enumerated() { name[i] = byte }
        }
        return s
    }

    /// What the daemon has done since it began.
    var totals: chitcp_totals {
        let done = daemon.layer.totals
        var t = chitcp_totals()
        t.connections_opened = done.connectionsOpened
        t.connections_accepted = done.connectionsAccepted
        t.segments_sent = done.segmentsSent
        t.segments_received = done.segmentsReceived
        t.bytes_sent = done.bytesSent
        t.bytes_received = done.bytesReceived
        t.unknown_options = daemon.unknownOptions
        t.last_unknown_level = UInt32(bitPattern: daemon.lastUnknownOption?.level ?? 0)
        t.last_unknown_name = UInt32(bitPattern: daemon.lastUnknownOption?.name ?? 0)
        return t
    }
}
