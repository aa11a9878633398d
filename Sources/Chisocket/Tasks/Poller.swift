// The one thread of this process that waits for descriptors, so that tasks need not.
import CLinux
import Glibc
import Synchronization

/// Calls back once a descriptor can be read or written. Safe from any thread.
///
/// Readiness is a hint: whoever is called tries again with MSG_DONTWAIT and, if there is still nothing, waits again. A
/// descriptor has to stay open while it is waited for.
package final class Poller: Sendable {
    /// The process's poller.
    package static let shared = Poller()

    /// What is waited for. The end of a stream, and errors, are readiness for both.
    package enum Interest: Sendable {
        case reading, writing
    }

    /// One wait.
    package struct Wait: Sendable {
        fileprivate let descriptor: Int32
        fileprivate let number: UInt64
    }

    private struct Entry {
        let number: UInt64
        let interest: Interest
        /// With nil when the descriptor is ready; with an error where the wait ends without.
        let done: @Sendable ((any Error)?) -> Void
    }

    private struct State {
        /// -1 before the first wait.
        var epoll: Int32 = -1
        var entries: [Int32: [Entry]] = [:]
    }

    private let state = Mutex(State())
    private let lastNumber = Atomic<UInt64>(0)

    /// A number for a wait that is to begin.
    package func makeWait(for descriptor: Int32) -> Wait {
        Wait(descriptor: descriptor, number: lastNumber.add(1, ordering: .relaxed).newValue)
    }

    /// Begins a wait: `done` is called once, from the poller's thread or from within `cancel`.
    package func begin(
        _ wait: Wait, for interest: Interest, _ done: @escaping @Sendable ((any Error)?) -> Void
    ) throws(ChisocketError) {
        let code = state.withLock { state -> Int32 in
            if state.epoll < 0 {
                let code = Self.start(self, &state)
                guard code == 0 else { return code }
            }
            let entry = Entry(number: wait.number, interest: interest, done: done)
            state.entries[wait.descriptor, default: []].append(entry)
            let code = Self.arm(wait.descriptor, state)
            if code != 0 { Self.remove(wait, from: &state) }
            return code
        }
        guard code == 0 else { throw ChisocketError(errno: code, call: "epoll_ctl") }
    }

    /// Ends a wait with `error`; nothing happens if it is over.
    package func cancel(_ wait: Wait, with error: any Error = CancellationError()) {
        let entry = state.withLock { Self.remove(wait, from: &$0) }
        entry?.done(error)
    }

    /// Waits until `descriptor` is ready.
    /// - Throws: `CancellationError` if the task is cancelled.
    func wait(for descriptor: Int32, _ interest: Interest) async throws {
        let wait = makeWait(for: descriptor)
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                do throws(ChisocketError) {
                    try begin(wait, for: interest) { error in
                        if let error { continuation.resume(throwing: error) } else { continuation.resume() }
                    }
                } catch {
                    continuation.resume(throwing: error)
                    return
                }
                // A cancellation that came before the wait had begun found nothing to end.
                if Task.isCancelled { cancel(wait) }
            }
        } onCancel: {
            cancel(wait)
        }
    }

    // MARK: The thread

    /// 0, or the errno of what failed.
    private static func start(_ poller: Poller, _ state: inout State) -> Int32 {
        let epoll = clinux_epoll_create()
        guard epoll >= 0 else { return errno }
        // Signals belong to the program's threads; a thread inherits the mask of who makes it.
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        var thread = pthread_t()
        let argument = Unmanaged.passUnretained(poller)
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Poller>.fromOpaque(argument).takeUnretainedValue().run()
            }, argument.toOpaque())
        guard code == 0 else {
            close(epoll)
            return code
        }
        pthread_detach(thread)
        state.epoll = epoll
        return 0
    }

    /// Tells epoll what the descriptor's entries wait for, once; 0 or an errno.
    private static func arm(_ descriptor: Int32, _ state: borrowing State) -> Int32 {
        var events = EPOLLONESHOT.rawValue
        for entry in state.entries[descriptor] ?? [] {
            switch entry.interest {
            case .reading: events |= EPOLLIN.rawValue | EPOLLRDHUP.rawValue
            case .writing: events |= EPOLLOUT.rawValue
            }
        }
        let token = UInt64(UInt32(bitPattern: descriptor))
        if clinux_epoll_modify(state.epoll, descriptor, events, token) == 0 { return 0 }
        guard errno == ENOENT else { return errno }
        return clinux_epoll_add(state.epoll, descriptor, events, token) == 0 ? 0 : errno
    }

    @discardableResult
    private static func remove(_ wait: Wait, from state: inout State) -> Entry? {
        guard let index = state.entries[wait.descriptor]?.firstIndex(where: { $0.number == wait.number }) else {
            return nil
        }
        let entry = state.entries[wait.descriptor]?.remove(at: index)
        if state.entries[wait.descriptor]?.isEmpty ?? false { state.entries[wait.descriptor] = nil }
        return entry
    }

    private func run() -> Never {
        clinux_name_thread("chisocket")
        let epoll = state.withLock { $0.epoll }
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        while true {
            // The only failures of epoll_wait on a valid descriptor are signals, which are blocked here.
            let count = epoll_wait(epoll, &events, Int32(events.count), -1)
            guard count > 0 else { continue }
            for i in 0..<Int(count) {
                let token = withUnsafePointer(to: &events[i]) { clinux_epoll_token($0) }
                ready(Int32(truncatingIfNeeded: token), events[i].events)
            }
        }
    }

    private func ready(_ descriptor: Int32, _ events: UInt32) {
        let both = events & (EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0
        let reads = both || events & (EPOLLIN.rawValue | EPOLLRDHUP.rawValue) != 0
        let writes = both || events & EPOLLOUT.rawValue != 0
        let (finished, failed, code) = state.withLock { state -> ([Entry], [Entry], Int32) in
            let all = state.entries[descriptor] ?? []
            let isReady = { (entry: Entry) in entry.interest == .reading ? reads : writes }
            let left = all.filter { !isReady($0) }
            state.entries[descriptor] = left.isEmpty ? nil : left
            guard !left.isEmpty else { return (all, [], 0) }
            let code = Self.arm(descriptor, state)
            if code != 0 { state.entries[descriptor] = nil }
            return (all.filter(isReady), code == 0 ? [] : left, code)
        }
        for entry in finished { entry.done(nil) }
        for entry in failed { entry.done(ChisocketError(errno: code, call: "epoll_ctl")) }
    }
}
