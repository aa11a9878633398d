// Programs in processes of their own, and the files they leave.
import Chisocket
import Glibc
import Synchronization
import Testing

func writeFile(_ path: String, _ text: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    try #require(write(descriptor, bytes, bytes.count) == bytes.count)
}

func readText(_ path: String) throws -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let n = read(descriptor, &buffer, buffer.count)
        if n <= 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<n]
    }
}

/// A product of this package, run with files for its output.
final class Program {
    private var pid: pid_t = 0
    private let base: String

    private static let count = Atomic(0)

    init(
        _ name: String, _ arguments: [String], daemon: DaemonPath, in folder: TemporaryFolder,
        input: String = ""
    )
        throws
    {
        base = folder.path + "/\(name)-\(Self.count.add(1, ordering: .relaxed).newValue)"
        try writeFile(base + ".in", input)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, base + ".in", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, base + ".out", O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, base + ".err", O_WRONLY | O_CREAT, 0o600)
        // The threads of the tests block most signals.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let path = BuildFolder.path + "/" + name
        var argv = ([path] + arguments).map { strdup($0) } + [nil]
        let variables = ["CHITCPD_SOCK=\(daemon.path)", "PATH=/usr/bin:/bin", "TMPDIR=\(folder.path)"]
        var environment = variables.map { strdup($0) } + [nil]
        defer { for text in argv + environment { free(text) } }
        try #require(posix_spawn(&pid, path, &actions, &attributes, &argv, &environment) == 0, "no \(path)")
    }

    func send(_ signal: Int32) { kill(pid, signal) }

    /// Waits for its end: the exit code, or 128 plus the signal.
    func end() throws -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 { try #require(errno == EINTR) }
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }

    var output: String { (try? readText(base + ".out")) ?? "" }
    var errors: String { (try? readText(base + ".err")) ?? "" }
}
