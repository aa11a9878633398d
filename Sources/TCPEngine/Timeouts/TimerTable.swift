// A connection's timers as a small table of optional deadlines; no callbacks.
import TCPSegments

/// The timers of a connection.
enum Timer: Int, CaseIterable {
    case retransmission = 0
    case persist = 1
    case delayedAck = 2
    case finWait2 = 3
    case timeWait = 4
    case keepAlive = 5
    /// Something may soon count as lost (RFC 8985 6.2 step 5).
    case reordering = 6
    case pacing = 7
}

/// Deadlines by timer. Its methods are inlined: an access to a connection's table then holds no call, and needs no check for
/// overlap.
struct TimerTable {
    private var deadlines = InlineArray<8, Int64>(repeating: .max)
    /// The earliest deadline, kept as deadlines change.
    private(set) var nextNanoseconds: Int64 = .max

    subscript(_ timer: Timer) -> Instant? {
        let d = deadlines[timer.rawValue]
        return d == .max ? nil : Instant(nanoseconds: d)
    }

    @inline(__always) func isArmed(_ timer: Timer) -> Bool { deadlines[timer.rawValue] != .max }

    @inline(__always) mutating func arm(_ timer: Timer, at deadline: Instant) {
        deadlines[timer.rawValue] = deadline.nanoseconds
        refresh()
    }

    @inline(__always) mutating func cancel(_ timer: Timer) {
        guard deadlines[timer.rawValue] != .max else { return }
        deadlines[timer.rawValue] = .max
        refresh()
    }

    @inline(__always) mutating func cancelAll() {
        deadlines = InlineArray(repeating: .max)
        nextNanoseconds = .max
    }

    /// The earliest deadline.
    var next: Instant? { nextNanoseconds == .max ? nil : Instant(nanoseconds: nextNanoseconds) }

    /// Disarms and returns a timer that is due at `now`.
    @inline(__always) mutating func takeDue(at now: Instant) -> Timer? {
        guard nextNanoseconds <= now.nanoseconds else { return nil }
        for timer in Timer.allCases where deadlines[timer.rawValue] <= now.nanoseconds {
            cancel(timer)
            return timer
        }
        return nil
    }

    @inline(__always) private mutating func refresh() {
        var earliest = Int64.max
        for i in 0..<8 { earliest = min(earliest, deadlines[i]) }
        nextNanoseconds = earliest
    }
}
