// The command as a process, in the calling thread's namespace.
import Glibc
import TestSupport
import Testing

/// `chitcp` with arguments, ended at the latest with this object.
final class CommandProcess {
    let pid: pid_t
    private let output: Int32
    private var hasEnded = false

    /// `chitcp` itself.
    static var path: String { productFolder + "/chitcp" }

    /// Starts the command with `arguments`, or a shell's `script`.
    convenience init(_ arguments: [String]) throws { try self.init(Self.path, arguments) }
    convenience init(script: String) throws { try self.init("/bin/sh", ["-ec", script]) }

    private init(_ path: String, _ arguments: [String]) throws {
        output = namelessFile()
        pid = try spawn(
            path, arguments,
            descriptors: [(0, .file("/dev/null", O_RDONLY)), (1, .copy(output)), (2, .copy(output))])
    }

    /// What it has written so far.
    var said: String {
        var all: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        while case let n = pread(output, &bytes, bytes.count, off_t(all.count)), n > 0 { all += bytes[..<n] }
        return String(decoding: all, as: UTF8.self)
    }

    /// Waits until it has written `text`; fails if it ends, or after 30 s.
    func waitUntilItSays(_ text: String) throws {
        for _ in 0..<3000 {
            if said.contains(text) { return }
            if endIfEnded(of: pid) != nil {
                hasEnded = true
                try #require(said.contains(text), "it ended: \(said)")
                return
            }
            usleep(10_000)
        }
        try #require(said.contains(text), "after 30 s: \(said)")
    }

    /// Asks it to end, and returns its exit code.
    func end(_ signal: Int32 = SIGTERM) -> Int32 {
        guard !hasEnded else { return -1 }
        kill(pid, signal)
        return wait()
    }

    /// Waits for its end, at most a minute: its exit code, or 128 plus the signal that ended it.
    func wait() -> Int32 {
        guard !hasEnded else { return -1 }
        hasEnded = true
        for _ in 0..<12_000 {
            if let code = endIfEnded(of: pid) { return code }
            usleep(5_000)  // between two looks
        }
        kill(pid, SIGKILL)
        return waitForEnd(of: pid)
    }

    deinit {
        _ = end(SIGKILL)
        close(output)
    }
}

/// What a file of the calling thread holds, empty if it cannot be read.
func readText(_ path: String) -> String { textOfFile(path) ?? "" }
