// A thread with a result, for what must go on while a test waits for something else.
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
