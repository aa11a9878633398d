// Where the build has put what tests run: the command and the library for unmodified programs.
import Glibc
import TestSupport
import Testing

/// The folder of the products of this build.
enum BuildFolder {
    static let path = productFolder

    /// `chitcp`.
    static var command: String { path + "/chitcp" }
    /// libchitcp-preload.so.
    static var preload: String { path + "/libchitcp-preload.so" }
    /// The folder of these tests' sources.
    static let sources = String(#filePath.prefix(#filePath.count - "BuildFolder.swift".count))
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
    try startProgram(path, arguments, environment: environment).wait()
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
    func wait() -> ProgramResult {
        hasEnded = true
        let code = waitForEnd(of: pid)
        lseek(output, 0, SEEK_SET)
        return ProgramResult(code: code, output: readText(from: output))
    }

    deinit {
        if !hasEnded { killAndWait(pid) }
        close(output)
    }
}

/// Starts a program; its output is read by `wait`.
func startProgram(
    _ path: String, _ arguments: [String], environment: [String: String] = [:]
) throws -> RunningProgram {
    let output = namelessFile()
    do throws(SpawnFailure) {
        let pid = try spawn(
            path, arguments, environment: environment,
            descriptors: [(0, .file("/dev/null", O_RDONLY)), (1, .copy(output)), (2, .copy(output))])
        return RunningProgram(pid: pid, output: output)
    } catch {
        close(output)
        throw error
    }
}
