// A chitcpd in a process of its own, for tests that kill it.
import Chisocket
import Glibc
import Testing

/// A daemon that can be killed and started again at the same place.
final class DaemonProcess {
    let address: String
    let path: DaemonPath
    private let arguments: [String]
    private var pid: pid_t = 0

    private static let program = BuildFolder.path + "/chitcpd"

    init(_ address: String, in folder: TemporaryFolder, options: [String] = []) throws {
        self.address = address
        path = DaemonPath(folder.path + "/" + address)
        arguments =
            [
                Self.program, "--address", address, "--port", "23300", "--socket", path.path, "--log",
                path.path + ".log",
            ] + options
        try start()
    }

    /// Starts it and returns when it answers.
    func start() throws {
        var argv = arguments.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        try #require(posix_spawn(&pid, Self.program, &actions, nil, &argv, environ) == 0, "no \(Self.program)")
        try waitUntil {
            var status: Int32 = 0
            try #require(waitpid(pid, &status, WNOHANG) == 0, "the daemon ended: \(arguments)")
            usleep(1_000)
            return (try? DaemonControl.sockets(of: path)) != nil
        }
    }

    /// Ends it without giving it a chance to say anything.
    func kill() throws {
        Glibc.kill(pid, SIGKILL)
        try waitForEnd(of: pid)
        pid = 0
    }

    deinit {
        guard pid > 0 else { return }
        Glibc.kill(pid, SIGTERM)
        try? waitForEnd(of: pid)
    }

    func endpoint(_ port: UInt16) throws -> ChisocketAddress { try #require(ChisocketAddress(address, port: port)) }
}
