// A thread with a result, for what must go on while a test waits for something else.
import Chisocket
import Glibc
import Synchronization

/// Runs `body` on a thread of its own.
final class Background: Sendable {
    private final class Job: Sendable {
        let body: @Sendable () throws -> Void
        let failure = Mutex<(any Error)?>(nil)
        init(_ body: @escaping @Sendable () throws -> Void) { self.body = body }
    }

    private let job: Job
    private let thread: pthread_t

    init(_ body: @escaping @Sendable () throws -> Void) {
        let job = Job(body)
        self.job = job
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let job = Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
                do { try job.body() } catch { job.failure.withLock { $0 = error } }
                return nil
            }, Unmanaged.passRetained(job).toOpaque())
        precondition(result == 0, "no thread for a test")
        self.thread = thread
    }

    /// Waits for its end and returns its error.
    func join() -> (any Error)? {
        pthread_join(thread, nil)
        return job.failure.withLock { $0 }
    }
}

extension Chisocket {
    /// Calls `body` whenever the chisocket can be written, until it was not for `milliseconds` or `body` returns false.
    func withPoll(for milliseconds: Int32, _ body: () -> Bool) {
        while true {
            var ready: Int32 = 0
            try? withDescriptor { descriptor throws(ChisocketError) in
                var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                ready = poll(&entry, 1, milliseconds)
            }
            guard ready > 0, body() else { return }
        }
    }
}

/// Counts from 0.
final class Counter: Sendable {
    private let value = Mutex(0)

    func next() -> Int {
        value.withLock { value in
            defer { value += 1 }
            return value
        }
    }
}

/// Numbers from 0 to 1 that follow from a seed.
final class SeededChoice: Sendable {
    private let state: Mutex<UInt64>

    init(_ seed: UInt64) { state = Mutex(seed) }

    func next() -> Double {
        state.withLock { state in
            // SplitMix64 (Steele, Lea, Flood, 2014).
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return Double((z ^ z >> 31) >> 11) / Double(1 << 53)
        }
    }
}
