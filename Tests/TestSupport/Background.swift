// A thread with a result, for what must go on while a test waits for something else.
import Glibc
import Synchronization

/// Runs `body` on a thread of its own, whose thread-specific connections go with it.
public final class Background: Sendable {
    private final class Job: Sendable {
        let body: @Sendable () throws -> Void
        let failure = Mutex<(any Error)?>(nil)
        init(_ body: @escaping @Sendable () throws -> Void) { self.body = body }
    }

    private let job: Job
    /// Until it is joined.
    private let thread: Mutex<pthread_t?>

    /// Begins.
    public init(_ body: @escaping @Sendable () throws -> Void) {
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
        self.thread = Mutex(thread)
    }

    private func take() -> pthread_t? {
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
    }

    /// Waits for its end and returns its error.
    public func join() -> (any Error)? {
        if let thread = take() { pthread_join(thread, nil) }
        return job.failure.withLock { $0 }
    }

    deinit { if let thread = take() { pthread_detach(thread) } }
}
