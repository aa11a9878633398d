// How many connections of a listener may be open before their handshakes have ended (RFC 7413 5.1).
import DequeModule
import TCPSegments

/// Counts a listener's fast-opened connections whose peers have not proved yet that they are where they say. Whoever can
/// make cookies for foreign addresses must not make the server work for more than this many.
final class FastOpenQueue {
    /// How many there may be; 0: Fast Open is off.
    var limit: Int
    /// How many there are, those in `reset` included.
    private(set) var count = 0
    /// Until when the places are kept of those that the peer reset. A host that knows nothing of a connection resets it:
    /// its address was abused, and the place is not free at once for the next one.
    private var reset = Deque<Instant>()

    private static var resetHold: TimeInterval { .seconds(60) }
    /// Linux: somaxconn.
    static var largestLimit: Int { 4096 }

    init(limit: Int) { self.limit = limit }

    /// True if one more is allowed.
    func hasRoom(at now: Instant) -> Bool {
        guard limit > 0 else { return false }
        guard count >= limit else { return true }
        guard let first = reset.first, first <= now else { return false }
        reset.removeFirst()
        count -= 1
        return count < limit
    }

    func enter() { count += 1 }

    /// The handshake has ended, or the connection has.
    func leave() { count -= 1 }

    /// The peer reset a connection that the application had accepted.
    func leaveByReset(at now: Instant) { reset.append(now + Self.resetHold) }
}
