// Time as packetdrill sees it: it stands still while nobody waits, and moves from event to event.
import TCPSegments

/// The plugin's only clock.
struct VirtualClock {
    /// What gettimeofday(2) says; never goes back.
    private(set) var now = VirtualClock.begin
    /// Looks at the clock in a row, with nothing done between: main's, and the other thread's.
    private var looks = [0, 0]

    /// A round number; only differences count.
    static let begin = Instant(nanoseconds: 1_000_000_000_000_000_000)
    /// Looks that cost no time. Who looks more often spins, and waits for time to pass.
    private static let freeLooks = 4

    /// Whoever calls anything else than gettimeofday(2) does not spin.
    mutating func somethingWasDone(onMain: Bool) { looks[onMain ? 0 : 1] = 0 }

    /// Somebody looks; true if time has to pass, because that is what it waits for.
    mutating func isWatched(onMain: Bool) -> Bool {
        let thread = onMain ? 0 : 1
        looks[thread] = min(looks[thread] + 1, Self.freeLooks + 1)
        return looks[thread] > Self.freeLooks
    }

    mutating func advance(to time: Instant) { now = max(now, time) }

    static func microseconds(_ time: Instant) -> Int64 { time.nanoseconds / 1000 }
}
