// Buffers that grow with what the path and the user make of them (tcp_rmem, tcp_wmem, tcp_moderate_rcvbuf of Linux).
import TCPSegments

extension Connection {
    /// The connection is up: the first look at what is read comes a round trip from now, if the buffer may grow.
    func beginAutotuning(at now: Instant) {
        tuneAt = mayGrowReceiveBuffer ? (now + tuningInterval).nanoseconds : .max
    }

    private var mayGrowReceiveBuffer: Bool { receiveCapacity < largestReceiveBuffer }

    /// No more than the window field can tell of.
    private var largestReceiveBuffer: Int {
        min(configuration.maximumReceiveBuffer, 0xFFFF << Int(tcb.receive.scale.shift))
    }

    /// The shortest round trip: what is read in one is what the window has to hold. A longer one may be of the reader's or
    /// the queue's making, and a larger buffer would only make it longer still.
    private var tuningInterval: TimeInterval {
        max(minimumRoundTrip.value ?? roundTrip.smoothed ?? .milliseconds(100), .microseconds(50))
    }

    /// The user has read, and the time for a look has come.
    func tuneReceiveBuffer(at now: Instant) {
        guard mayGrowReceiveBuffer else {
            tuneAt = .max
            return
        }
        let interval = tuningInterval
        tuneAt = (now + interval).nanoseconds
        let position = tcb.receive.nxt - receiveBuffer.count
        guard let tuning else {
            // Most connections never carry as much as they begin with.
            if statistics.bytesReceived >= UInt64(receiveCapacity / 4) {
                tuning = BufferTuning(receiveBuffer.pool.budget, position: position, at: now)
            }
            return
        }
        guard
            let wanted = tuning.wantedSize(
                readTo: position, interval: interval, segmentSize: tcb.receiveMSS, at: now)
        else { return }
        let size = min(wanted, largestReceiveBuffer)
        if size > receiveCapacity { receiveCapacity += tuning.grantReceive(size - receiveCapacity) }
    }

    /// All that was queued is in flight, the user wants to queue more, and both windows have room: the buffer is what limits
    /// the rate. Linux's tcp_sndbuf_expand: twice the congestion window.
    func growSendBuffer(at now: Instant) {
        guard sendCapacity < configuration.maximumSendBuffer else { return }
        let size = min(2 * min(congestion.window, Int(tcb.send.wnd)), configuration.maximumSendBuffer)
        guard size > sendCapacity else { return }
        let tuning =
            self.tuning
            ?? BufferTuning(receiveBuffer.pool.budget, position: tcb.receive.nxt - receiveBuffer.count, at: now)
        self.tuning = tuning
        sendCapacity += tuning.grantSend(size - sendCapacity)
        announceRoom()
    }

    /// The user has chosen sizes, or which ones the buffers may grow to.
    func bufferSizesChanged(from before: ConnectionConfiguration, at now: Instant) {
        let after = configuration
        if (before.receiveBufferSize, before.maximumReceiveBuffer)
            != (after.receiveBufferSize, after.maximumReceiveBuffer)
        {
            tuning?.withdrawReceive()
            receiveCapacity = after.receiveBufferSize
            beginAutotuning(at: now)
            considerWindowUpdate()
        }
        if (before.sendBufferSize, before.maximumSendBuffer) != (after.sendBufferSize, after.maximumSendBuffer) {
            tuning?.withdrawSend()
            sendCapacity = after.sendBufferSize
        }
    }
}
