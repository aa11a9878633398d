// RECEIVE (RFC 9293 3.10.3).
import TCPSegments

extension Connection {
    /// Copies in-order bytes into `buffer` and returns their number: 0 if there are none now, or ever (`isAtEndOfStream`).
    public func receive(into buffer: UnsafeMutableRawBufferPointer, at now: Instant) -> Int {
        var copied = 0
        while copied < buffer.count {
            let n = withReceivedBytes(at: now) { bytes in
                let n = min(bytes.count, buffer.count - copied)
                if n > 0, let source = bytes.baseAddress, let target = buffer.baseAddress {
                    (target + copied).copyMemory(from: source, byteCount: n)
                }
                return n
            }
            if n == 0 { break }
            copied += n
        }
        return copied
    }

    /// A copy of the first `limit` in-order bytes, which stay unread (MSG_PEEK).
    public func unreadBytes(limit: Int) -> [UInt8] { receiveBuffer.copy(limit: max(0, limit)) }

    /// Lends the first contiguous run of in-order bytes (empty if there are none) to `body`, which returns how many of
    /// them it has consumed.
    public func withReceivedBytes(at now: Instant, _ body: (UnsafeRawBufferPointer) -> Int) -> Int {
        // `body` runs while nothing of the connection is being accessed, and the chunk outlives it.
        let first = receiveBuffer.firstRange()
        let bytes = first?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
        let wanted = withExtendedLifetime(first) { body(bytes) }
        // A chunk that somebody still holds is freed instead of reused.
        _ = consume first
        let consumed = min(max(wanted, 0), bytes.count)
        if consumed > 0 {
            receiveBuffer.consume(consumed)
            if now.nanoseconds >= tuneAt { tuneReceiveBuffer(at: now) }
            considerWindowUpdate()
        }
        return consumed
    }
}
