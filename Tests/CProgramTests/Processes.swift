// Programs that tests start: their output through a pipe, their end awaited, and never left behind.
import Glibc
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
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input, O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO)
        // The threads of a test block signals, which a program would inherit.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
        var variables = Self.inherited.filter { variable in
            !environment.keys.contains { variable.hasPrefix($0 + "=") }
        }
        variables += environment.map { "\($0.key)=\($0.value)" }
        var settings: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
        defer { for word in words + settings { free(word) } }
        var started: pid_t = 0
        let result = posix_spawnp(&started, path, &actions, &attributes, &words, &settings)
        if result != 0 { close(ends[0]) }
        try #require(result == 0, "\(path): \(String(cString: strerror(result)))")
        pid = started
        output = ends[0]
    }

    private static let inherited: [String] = {
        var all: [String] = []
        var next = environ
        while let variable = next.pointee {
            all.append(String(cString: variable))
            next += 1
        }
        return all
    }()

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
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        hasEnded = true
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
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
