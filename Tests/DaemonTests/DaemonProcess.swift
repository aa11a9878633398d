// A chitcpd in a process of its own, for tests that kill it.
import Chisocket
import Glibc
import TestSupport
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
                "--address", address, "--port", "23300", "--socket", path.path, "--log",
                path.path + ".log",
            ] + options
        try start()
    }

    /// Starts it and returns when it answers.
    func start() throws {
        pid = try spawn(Self.program, arguments, descriptors: [(2, .file("/dev/null", O_WRONLY))])
        try waitUntil {
            try #require(endIfEnded(of: pid) == nil, "the daemon ended: \(arguments)")
            usleep(1_000)
            return (try? DaemonControl.sockets(of: path)) != nil
        }
    }

    /// Ends it without giving it a chance to say anything.
    func kill() {
        killAndWait(pid)
        pid = 0
    }

    deinit {
        guard pid > 0 else { return }
        Glibc.kill(pid, SIGTERM)
        waitForEnd(of: pid)
    }

    func endpoint(_ port: UInt16) throws -> ChisocketAddress { try #require(ChisocketAddress(address, port: port)) }
}
