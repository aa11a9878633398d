// Programs in processes of their own, and the files they leave.
import Chisocket
import Glibc
import Synchronization
import TestSupport
import Testing

func writeFile(_ path: String, _ text: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    try #require(write(descriptor, bytes, bytes.count) == bytes.count)
}

func readText(_ path: String) throws -> String { try #require(textOfFile(path), "no \(path)") }

/// A product of this package, run with files for its output.
final class Program {
    private let pid: pid_t
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
        pid = try spawn(
            BuildFolder.path + "/" + name, arguments,
            environment: ["CHITCPD_SOCK": "\(daemon.path)", "PATH": "/usr/bin:/bin", "TMPDIR": folder.path],
            inheriting: { _ in false },
            descriptors: [
                (0, .file(base + ".in", O_RDONLY)), (1, .file(base + ".out", O_WRONLY | O_CREAT)),
                (2, .file(base + ".err", O_WRONLY | O_CREAT)),
            ])
    }

    func send(_ signal: Int32) { kill(pid, signal) }

    /// Waits for its end: the exit code, or 128 plus the signal.
    func end() -> Int32 { waitForEnd(of: pid) }

    var output: String { (try? readText(base + ".out")) ?? "" }
    var errors: String { (try? readText(base + ".err")) ?? "" }
}
