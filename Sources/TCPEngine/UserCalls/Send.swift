// SEND (RFC 9293 3.10.2).
import TCPSegments

extension Connection {
    /// Appends up to `maximum` bytes that `fill` writes into the room it is given. Returns how many were queued: 0 if the
    /// buffer is full, and `.writable` follows when it no longer is.
    public func send(
        maximum: Int, at now: Instant, _ fill: (UnsafeMutableRawBufferPointer) -> Int
    ) throws(ConnectionError) -> Int {
        switch state {
        case .closed, .listen: throw .notConnected
        case .finWait1, .finWait2, .closing, .lastAck, .timeWait: throw .closing
        case .synSent, .synReceived, .established, .closeWait: break
        }
        guard !finQueued else { throw .closing }
        let room = min(maximum, sendSpace)
        guard room > 0 else {
            wantsWritable = maximum > 0
            return 0
        }
        let space = sendBuffer.room(maximum: room)
        let target = UnsafeMutableRawBufferPointer(start: space.chunk.base + space.offset, count: space.count)
        // `fill` runs while nothing of the connection is being accessed; `space` keeps the chunk.
        let written = withExtendedLifetime(space) { min(max(fill(target), 0), space.count) }
        sendBuffer.commit(written, of: space)
        if state == .synSent, written > 0 { endDeferral() }
        return written
    }

    /// Tells the user that found no room as soon as there is enough of it to be worth a wake-up.
    func announceRoom() {
        guard wantsWritable else { return }
        guard sendSpace >= max(1, min(sendCapacity, configuration.unsentLimit) / 3) else { return }
        wantsWritable = false
        emit(.writable)
    }

    /// SEND with the urgent flag (RFC 9293 3.10.2): as `send`, and the peer hears that urgent data ends with the last of the
    /// bytes that were queued.
    public func sendUrgent(_ bytes: UnsafeRawBufferPointer, at now: Instant) throws(ConnectionError) -> Int {
        let n = try send(bytes, at: now)
        guard n > 0 else { return 0 }
        // SND.UP (RFC 9293 3.8.5).
        sendUrgent = sendBuffer.end
        // The peer is to hear of it even if its window is closed.
        if state.isSynchronized, tcb.send.windowEdge <= tcb.send.nxt { ackPolicy.demandNow() }
        return n
    }

    /// Queues as many of `bytes` as fit and returns their number.
    public func send(_ bytes: UnsafeRawBufferPointer, at now: Instant) throws(ConnectionError) -> Int {
        var sent = 0
        while sent < bytes.count {
            let n = try send(maximum: bytes.count - sent, at: now) { room in
                let count = min(room.count, bytes.count - sent)
                room.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[sent..<(sent + count)]))
                return count
            }
            if n == 0 { break }
            sent += n
        }
        return sent
    }
}
