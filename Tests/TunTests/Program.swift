// The command as a process, in the calling thread's namespace.
import Glibc
import Testing

/// `chitcp` with arguments, ended at the latest with this object.
final class CommandProcess {
    let pid: pid_t
    private let output: Int32
    private var hasEnded = false

    /// `chitcp` itself.
    static var path: String { folder + "/chitcp" }

    /// The folder of this build's products: where the code of these tests was loaded from.
    private static let folder: String = {
        let text = readText("/proc/self/maps")
        for line in text.split(separator: "\n") where line.hasSuffix(".xctest") {
            if let start = line.firstIndex(of: "/"), let end = line.lastIndex(of: "/") {
                return String(line[start..<end])
            }
        }
        preconditionFailure("the tests were loaded from a file")
    }()

    /// Starts the command with `arguments`, or a shell's `script`.
    convenience init(_ arguments: [String]) throws { try self.init(Self.path, ["chitcp"] + arguments) }
    convenience init(script: String) throws { try self.init("/bin/sh", ["sh", "-ec", script]) }

    private init(_ path: String, _ arguments: [String]) throws {
        var name = Array("/tmp/chitcp-test-output-XXXXXX".utf8CString)
        output = mkstemp(&name)
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
        let words = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, path, &actions, &attributes, words, environ)
        try #require(code == 0, "\(path) did not start: \(String(cString: strerror(code)))")
        self.pid = pid
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
            var status: Int32 = 0
            if waitpid(pid, &status, WNOHANG) == pid {
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
        var status: Int32 = 0
        for _ in 0..<12_000 {
            if waitpid(pid, &status, WNOHANG) == pid {
                hasEnded = true
                return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
            }
            usleep(5_000)  // between two looks
        }
        kill(pid, SIGKILL)
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        hasEnded = true
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }

    deinit {
        _ = end(SIGKILL)
        close(output)
    }
}

/// The beginning of a file of the calling thread, empty if it cannot be read.
func readText(_ path: String) -> String {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var all: [UInt8] = []
    var bytes = [UInt8](repeating: 0, count: 65_536)
    while true {
        let n = read(descriptor, &bytes, bytes.count)
        guard n > 0 else { return String(decoding: all, as: UTF8.self) }
        all += bytes[..<n]
    }
}
