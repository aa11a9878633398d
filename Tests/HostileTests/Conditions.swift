// Waiting for conditions, and threads to wait on: nothing here sleeps for luck.
import CLinux
import Glibc
import Synchronization
import TCPSegments
import TestSupport

/// A sentence about what did not happen.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A stream socket that programs started meanwhile do not inherit.
let streamSocket = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
/// The same, and its calls do not wait.
let nonblockingStreamSocket = streamSocket | Int32(SOCK_NONBLOCK.rawValue)

/// CLOCK_MONOTONIC.
func monotonicNow() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
}

/// Asks again every two milliseconds until `condition` holds; false if it does not within the limit.
func holds(within limit: TimeInterval = .seconds(30), _ condition: () throws -> Bool) rethrows -> Bool {
    let end = monotonicNow() + limit
    while true {
        if try condition() { return true }
        if monotonicNow() > end { return false }
        usleep(2_000)
    }
}

/// As `holds`, but throws `sentence` if the condition does not come to hold.
func waitUntil(
    _ sentence: @autoclosure () throws -> String, within limit: TimeInterval = .seconds(30),
    _ condition: () throws -> Bool
) throws {
    guard try holds(within: limit, condition) else { throw Failure("never came about: " + (try sentence())) }
}

/// Lets a few through at a time.
actor Gate {
    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(_ width: Int) { free = width }

    /// Runs `body` on a thread of its own as soon as there is room.
    func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        if free > 0 { free -= 1 } else { await withCheckedContinuation { waiting.append($0) } }
        let result = await withCheckedContinuation { continuation in
            _ = Background { continuation.resume(returning: body()) }
        }
        if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
        return result
    }
}
