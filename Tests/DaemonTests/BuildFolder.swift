// Where the build has put what tests run: the command and the library for unmodified programs.
import Glibc
import Testing

/// The folder of the products of this build.
enum BuildFolder {
    /// The folder the code of these tests was loaded from.
    static let path: String = {
        let maps = open("/proc/self/maps", O_RDONLY)
        defer { close(maps) }
        for line in readAll(maps).split(separator: "\n") where line.hasSuffix(".xctest") {
            if let start = line.firstIndex(of: "/"), let end = line.lastIndex(of: "/") {
                return String(line[start..<end])
            }
        }
        preconditionFailure("the tests were loaded from a file")
    }()

    /// `chitcp`.
    static var command: String { path + "/chitcp" }
    /// libchitcp-preload.so.
    static var preload: String { path + "/libchitcp-preload.so" }
    /// The folder of these tests' sources.
    static let sources = String(#filePath.prefix(#filePath.count - "BuildFolder.swift".count))
}

/// Everything that can be read from a descriptor.
private func readAll(_ descriptor: Int32) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let n = read(descriptor, &buffer, buffer.count)
        if n < 0, errno == EINTR { continue }
        if n <= 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<n]
    }
}

/// How a program ended, and what it wrote.
struct ProgramResult {
    /// Its exit code, or 128 plus the signal that ended it.
    let code: Int32
    /// Standard output and standard error together.
    let output: String
}

/// Runs a program to its end with `environment` added to this process's.
func runProgram(_ path: String, _ arguments: [String], environment: [String: String] = [:]) throws -> ProgramResult {
    let process = try startProgram(path, arguments, environment: environment)
    return try process.wait()
}

/// A program that runs.
final class RunningProgram {
    let pid: pid_t
    private let output: Int32
    private var hasEnded = false

    init(pid: pid_t, output: Int32) {
        self.pid = pid
        self.output = output
    }

    /// Waits for its end.
    func wait() throws -> ProgramResult {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 { try #require(errno == EINTR) }
        hasEnded = true
        let code = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
        lseek(output, 0, SEEK_SET)
        return ProgramResult(code: code, output: readAll(output))
    }

    deinit {
        if !hasEnded {
            kill(pid, SIGKILL)
            var status: Int32 = 0
            waitpid(pid, &status, 0)
        }
        close(output)
    }
}

/// Starts a program; its output is read by `wait`.
func startProgram(
    _ path: String, _ arguments: [String], environment: [String: String] = [:]
) throws -> RunningProgram {
    // A file and not a pipe: whoever inherits it by accident keeps nobody waiting.
    var name = Array("/tmp/chitcpd-test-output-XXXXXX".utf8CString)
    let output = mkstemp(&name)
    try #require(output >= 0)
    unlink(name)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    // The threads of tests block signals that programs count on.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var variables: [String] = []
    var entry = environ
    while let text = entry.pointee {
        let variable = String(cString: text)
        if environment[String(variable.prefix { $0 != "=" })] == nil { variables.append(variable) }
        entry += 1
    }
    variables += environment.map { "\($0.key)=\($0.value)" }
    let words = ([path] + arguments).map { strdup($0) } + [nil]
    let settings = variables.map { strdup($0) } + [nil]
    defer { for pointer in words + settings { free(pointer) } }
    var pid: pid_t = 0
    let code = posix_spawnp(&pid, path, &actions, &attributes, words, settings)
    guard code == 0 else {
        close(output)
        throw ProgramMissing(name: path, errno: code)
    }
    return RunningProgram(pid: pid, output: output)
}

/// A program that could not be started.
struct ProgramMissing: Error {
    let name: String
    let errno: Int32
}
