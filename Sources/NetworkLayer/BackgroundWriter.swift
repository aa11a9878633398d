// A thread that writes to a descriptor behind a bounded queue, for logs and captures.
import CLinux
import Glibc
import Synchronization

/// Writes pieces of bytes in order. The caller never waits: past 4 MiB of waiting bytes a piece is dropped and counted.
public final class BackgroundWriter: Sendable {
    private struct State {
        var descriptor: Int32
        var queue: [[UInt8]] = []
        var waiting = 0
        var dropped = 0
        var failed = false
        var closing = false
        var closed = false
        /// Waiting for an answer to `reopen`.
        var replacement: Int32?
    }

    private let state: Mutex<State>
    // Woken by a byte in a pipe: simple, and the waiting thread costs nothing.
    private let wakeRead: Int32
    private let wakeWrite: Int32
    private static let limit = 4 << 20

    /// Writes to `descriptor`, which it closes at its end unless that is standard error.
    public init(descriptor: Int32, name: String) {
        state = Mutex(State(descriptor: descriptor))
        var ends: [Int32] = [-1, -1]
        _ = clinux_pipe(&ends)
        wakeRead = ends[0]
        wakeWrite = ends[1]
        var thread = pthread_t()
        let unmanaged = Unmanaged.passRetained(self)
        // Without a thread the queue fills and everything is dropped and counted: the daemon goes on.
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<BackgroundWriter>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, unmanaged.toOpaque())
        if result == 0 { pthread_detach(thread) } else { unmanaged.release() }
    }

    /// Queues `bytes`; false if they were dropped. `always`: also if the queue is full.
    @discardableResult
    public func write(_ bytes: [UInt8], always: Bool = false) -> Bool {
        let (isQueued, wake) = state.withLock { s -> (Bool, Bool) in
            guard !s.failed, !s.closing, always || s.waiting + bytes.count <= Self.limit else {
                s.dropped += 1
                return (false, false)
            }
            s.queue.append(bytes)
            s.waiting += bytes.count
            return (true, s.queue.count == 1)
        }
        if wake { poke() }
        return isQueued
    }

    /// Pieces that were dropped.
    public var dropped: Int { state.withLock { $0.dropped } }

    /// True once the descriptor has refused.
    public var hasFailed: Bool { state.withLock { $0.failed } }

    /// Goes on with another descriptor, after what is queued; the old one is closed.
    public func replaceDescriptor(_ descriptor: Int32) {
        let unused = state.withLock { s -> Int32? in
            defer { s.replacement = descriptor }
            s.failed = false
            return s.replacement
        }
        if let unused { _ = Glibc.close(unused) }
        poke()
    }

    /// Ends after what is queued, without waiting for that.
    public func finish() {
        state.withLock { $0.closing = true }
        poke()
    }

    /// Returns when everything queued was written (or could not be), at most two seconds later.
    public func close() {
        finish()
        for _ in 0..<2000 {
            if state.withLock({ $0.closed }) { return }
            usleep(1000)
        }
    }

    private func poke() {
        var byte: UInt8 = 0
        _ = Glibc.write(wakeWrite, &byte, 1)
    }

    private func run() {
        // A reader that goes away is an error of write(2), and no signal.
        var signals = sigset_t()
        sigfillset(&signals)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        while true {
            let (pieces, descriptor, closing) = state.withLock { s in
                let p = s.queue
                s.queue = []
                return (p, s.descriptor, s.closing)
            }
            for piece in pieces {
                let ok = writeAll(piece, to: descriptor)
                state.withLock { s in
                    s.waiting -= piece.count
                    if !ok {
                        s.failed = true
                        s.dropped += 1
                    }
                }
            }
            let old = state.withLock { s -> Int32? in
                guard let new = s.replacement else { return nil }
                let old = s.descriptor
                s.descriptor = new
                s.replacement = nil
                return old
            }
            if let old, old != STDERR_FILENO { _ = Glibc.close(old) }
            if closing && state.withLock({ $0.queue.isEmpty }) { break }
            if !pieces.isEmpty { continue }
            var p = pollfd(fd: wakeRead, events: Int16(POLLIN), revents: 0)
            poll(&p, 1, -1)
            var drain = [UInt8](repeating: 0, count: 64)
            while read(wakeRead, &drain, 64) > 0 {}
        }
        state.withLock { s in
            if s.descriptor != STDERR_FILENO { _ = Glibc.close(s.descriptor) }
            s.closed = true
        }
    }

    /// False if the descriptor refuses (a full disk): nothing is retried, the rest is dropped.
    private func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count, let base = buffer.baseAddress {
                let n = Glibc.write(descriptor, base + done, buffer.count - done)
                if n < 0 {
                    if errno == EINTR { continue }
                    if errno == EAGAIN {
                        var p = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                        // At the end a reader that does not read is given a second, and no more.
                        if poll(&p, 1, 1000) == 0, state.withLock({ $0.closing }) { return false }
                        continue
                    }
                    return false
                }
                done += n
            }
            return true
        }
    }

    deinit {
        _ = Glibc.close(wakeRead)
        _ = Glibc.close(wakeWrite)
    }
}
