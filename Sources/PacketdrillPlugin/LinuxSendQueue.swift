// How much a write takes on Linux: bytes wait in socket buffers of up to half a window, a buffer that was begun is filled, and
// what counts against SO_SNDBUF is memory, not bytes.
import TCPEngine

/// The buffers behind one socket, as far as they decide how much is taken.
struct LinuxSendQueue {
    /// Bytes in the last buffer of what was never sent.
    private var tail = 0
    /// Bytes since the last one that is to leave with PSH.
    private var sincePush = 0
    /// The last buffer is to leave with PSH.
    private var isPushed = false

    /// The most that a connection holds beyond its limit: the buffer that was begun.
    static let headroom = 1 << 17
    /// What a buffer costs besides its bytes.
    private static let overhead = 960
    /// The largest buffer, before it is cut down to whole segments.
    private static let largest = 65_536 - 1 - 320

    /// Linux's size_goal: whole segments, no more than half of the largest window that the peer ever had.
    private func goal(of connection: Connection) -> Int {
        let size = connection.sendSegmentSize
        let window = connection.largestSendWindow
        let cutoff = window > 536 ? window / 2 : window
        return max(min(Self.largest, cutoff) / size, 1) * size
    }

    /// Memory in use: sk_wmem_queued.
    private func memory(of connection: Connection) -> Int {
        let unsent = connection.unsentBytes
        let goal = goal(of: connection)
        let pieces = connection.sentPieces + (unsent + goal - 1) / goal
        return connection.sendQueued + pieces * Self.overhead
    }

    private func limit(of connection: Connection) -> Int { connection.sendLimits.buffer - Self.headroom }

    private func unsentLimit(of connection: Connection) -> Int {
        let limit = connection.sendLimits.unsent
        return limit == .max ? .max : limit - Self.headroom
    }

    /// sk_stream_memory_free: another buffer may be begun.
    private func hasRoom(_ connection: Connection) -> Bool {
        memory(of: connection) < limit(of: connection) && connection.unsentBytes < unsentLimit(of: connection)
    }

    /// sk_stream_is_writeable: a third of the memory is free. `wake`: whoever sleeps is woken only when half of the limit of
    /// unsent bytes is free.
    func isWritable(_ connection: Connection, wake: Bool) -> Bool {
        let used = memory(of: connection)
        let unsent = connection.unsentBytes
        return limit(of: connection) - used >= used / 2 && used < limit(of: connection)
            && (wake ? 2 * unsent : unsent) < unsentLimit(of: connection)
    }

    /// How many bytes may be added now, before what can leave has left; 0: none. `begins`: bytes of another record do not share a
    /// buffer with those before them. `isFirst`: nothing of this write was added yet.
    mutating func room(for connection: Connection, begins: Bool, isFirst: Bool) -> Int {
        let goal = goal(of: connection)
        tail = begins ? 0 : min(tail, connection.unsentBytes)
        if tail > 0, tail < goal {
            // A write that goes on in a buffer takes its PSH away.
            if isFirst { isPushed = false }
            return goal - tail
        }
        guard hasRoom(connection) else { return 0 }
        if connection.unsentBytes > 0 { connection.noteFullBuffer(isPushed: isPushed) }
        isPushed = false
        tail = 0
        return goal
    }

    mutating func added(_ count: Int) {
        tail += count
        sincePush += count
    }

    /// A buffer is full, and more follows. True if everything is to leave that may, with PSH (forced_push): half of the peer's
    /// largest window has come since the last PSH. Else one batch leaves if nothing is before it (tcp_push_one), and makes room.
    mutating func isForced(by connection: Connection) -> Bool {
        if sincePush > connection.largestSendWindow / 2 {
            push()
            return true
        }
        if connection.unsentBytes <= tail { tail -= min(tail, connection.nextBatch) }
        return false
    }

    /// The last buffer leaves with PSH.
    mutating func push() {
        sincePush = 0
        isPushed = true
    }
}
