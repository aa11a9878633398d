// Programs that tests start: their output through a pipe, their end awaited, and never left behind.
import Glibc
import TestSupport
import Testing

/// A program that runs, with its standard output and error in one pipe.
final class RunningProgram {
    let pid: pid_t
    private let output: Int32
    private var hasEnded = false
    /// What it has said so far.
    private(set) var text = ""

    /// Starts `path` with these arguments and, besides this process's environment, these variables.
    init(_ path: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String = "/dev/null")
        throws
    {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        // Only what the program is given is its own: other programs started meanwhile must not hold its pipe open.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[1]) }
        do throws(SpawnFailure) {
            pid = try spawn(
                path, arguments, environment: environment,
                descriptors: [
                    (STDIN_FILENO, .file(input, O_RDONLY)), (STDOUT_FILENO, .copy(ends[1])),
                    (STDERR_FILENO, .copy(ends[1])),
                ])
        } catch {
            close(ends[0])
            throw error
        }
        output = ends[0]
    }

    deinit {
        if !hasEnded {
            send(SIGKILL)
            _ = awaitEnd()
        }
        close(output)
    }

    /// Reads until `isEnough` of the text, the end of the output, or the deadline. False at the deadline.
    func read(seconds: Int, until isEnough: (String) -> Bool = { _ in false }) -> Bool {
        let end = monotonicSeconds() + Double(seconds)
        var piece = [UInt8](repeating: 0, count: 4096)
        while !isEnough(text) {
            let left = end - monotonicSeconds()
            guard left > 0 else { return false }
            var waiting = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, Int32(left * 1000) + 1) > 0 else { continue }
            let count = Glibc.read(output, &piece, piece.count)
            if count <= 0 { return true }
            text += String(decoding: piece.prefix(count), as: UTF8.self)
        }
        return true
    }

    /// Sends a signal.
    func send(_ signal: Int32) { kill(pid, signal) }

    /// Its exit status, or 128 and the signal that ended it.
    func awaitEnd() -> Int32 {
        hasEnded = true
        return waitForEnd(of: pid)
    }
}

/// How a program ended, and what it said.
struct ProgramResult: Sendable {
    let status: Int32
    let text: String
    let seconds: Double
}

/// Runs a program to its end; after `seconds` it is killed, and the text says so.
func run(
    _ path: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String = "/dev/null",
    seconds: Int = 60
) throws -> ProgramResult {
    let start = monotonicSeconds()
    let program = try RunningProgram(path, arguments, environment: environment, input: input)
    let ended = program.read(seconds: seconds)
    if !ended { program.send(SIGKILL) }
    let status = program.awaitEnd()
    let text = program.text + (ended ? "" : "\nkilled after \(seconds) s")
    return ProgramResult(status: status, text: text, seconds: monotonicSeconds() - start)
}

/// Seconds of a clock that only goes on.
func monotonicSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Runs `body`, which blocks, on a thread of its own.
func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        let hand = Unmanaged.passRetained(Hand { continuation.resume(with: Result { try body() }) })
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Hand>.fromOpaque(argument).takeRetainedValue().work() }
                return nil
            }, hand.toOpaque())
        precondition(result == 0, "a thread is wanted here")
        pthread_detach(thread)
    }
}

/// What a thread is handed.
private final class Hand {
    let work: () -> Void
    init(_ work: @escaping () -> Void) { self.work = work }
}
