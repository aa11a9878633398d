// A chitcpd in a process of its own, seen from outside: a crash is somebody else's, and is noticed.
import Chisocket
import ControlRecords
import Glibc
import TCPSegments
import TestSupport

/// A folder under /tmp that goes with everything in it.
final class TemporaryFolder {
    let path: String

    init() throws {
        var template = Array("/tmp/chitcpd-hostile-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("mkdtemp: errno \(errno)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The names of the files in it.
    var files: [String] { names(in: path) }

    deinit {
        for name in files where unlink(path + "/" + name) < 0 { rmdir(path + "/" + name) }
        rmdir(path)
    }
}

/// The names in a folder, in order; none if it cannot be read.
func names(in path: String) -> [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
}

/// How a daemon is started.
struct Launch: Sendable {
    /// Options after `--address` and `--socket`.
    var arguments: [String] = []
    /// Variables beside the test's own, from which CHITCPD_* are taken out.
    var environment: [String: String] = [:]
    /// A shell command in front of it, such as `ulimit -Hn 64`.
    var prelude: String?
    /// Leaves `--address` or `--socket` out.
    var setsAddress = true
    var setsSocket = true

    /// Takes data with any SYN, on every listener, and waits little for the handshake's end.
    static let fastOpening = Launch(
        arguments: ["--fast-open", "1539", "--rto-initial", "20ms", "--rto-min", "20ms"])
    /// Retransmissions follow each other quickly, so that what nobody answers ends soon.
    static let impatient = Launch(arguments: ["--rto-initial", "50ms", "--rto-min", "20ms"])
}

/// How a process ended.
enum Ending: Equatable, CustomStringConvertible {
    case exit(Int32)
    case signal(Int32)

    var description: String {
        switch self {
        case .exit(let code): return "exit code \(code)"
        case .signal(let number): return "signal \(number)"
        }
    }
}

/// A running daemon.
final class DaemonProcess {
    let name: String
    let address: String
    let path: DaemonPath
    let process: pid_t
    private let errorPath: String
    private var ending: Ending?

    /// The built executable.
    static let executable = productFolder + "/chitcpd"

    /// Starts it; `waitUntilServing` says when it is there.
    init(_ name: String, at address: String, in folder: TemporaryFolder, _ launch: Launch = Launch()) throws {
        self.name = name
        self.address = address
        path = DaemonPath(folder.path + "/" + name)
        errorPath = path.path + ".err"
        var arguments = [Self.executable]
        if launch.setsAddress { arguments += ["--address", address] }
        if launch.setsSocket { arguments += ["--socket", path.path] }
        // A short TIME-WAIT, so that nothing lingers from one look to the next.
        arguments += ["--msl", "50ms"] + launch.arguments
        if let prelude = launch.prelude { arguments = ["/bin/sh", "-c", prelude + "\nexec \"$0\" \"$@\""] + arguments }
        process = try Self.spawn(arguments, launch.environment, errors: errorPath)
    }

    private static func spawn(_ arguments: [String], _ environment: [String: String], errors: String) throws -> pid_t {
        // Descriptors of other tests that lack close-on-exec are none of its business.
        let others = names(in: "/proc/self/fd").compactMap { Int32($0) }.filter { $0 > 2 }
        return try TestSupport.spawn(
            arguments[0], Array(arguments.dropFirst()), environment: environment,
            inheriting: { !$0.hasPrefix("CHITCPD_") },
            descriptors: others.map { ($0, .closed) } + [
                (0, .file("/dev/null", O_RDONLY)), (1, .file("/dev/null", O_WRONLY)),
                (2, .file(errors, O_WRONLY | O_CREAT | O_APPEND)),
            ])
    }

    // MARK: What can be seen of it

    /// What it said on standard error.
    var said: String { textOfFile(errorPath) ?? "" }

    /// How it ended, if it has.
    func pollEnding() -> Ending? {
        if ending != nil { return ending }
        var status: Int32 = 0
        guard waitpid(process, &status, Int32(WNOHANG)) == process else { return nil }
        ending = status & 0x7F == 0 ? .exit((status >> 8) & 0xFF) : .signal(status & 0x7F)
        return ending
    }

    /// Throws if it has ended: nobody asked it to.
    func requireAlive() throws {
        if let ending = pollEnding() { throw Failure("\(name) ended with \(ending); it said:\n\(said)") }
    }

    /// Returns when it answers applications.
    func waitUntilServing() throws {
        try waitUntil("\(name) serves; it said: \(said)") {
            try requireAlive()
            guard let client = try? RawControl(self) else { return false }
            guard (try? client.error(of: client.request(CHITCP_OP_HELLO))) == 0 else { return false }
            // This thread may still have a connection to a daemon that was there before: it is made anew.
            return (try? DaemonControl.sockets(of: path)) != nil
        }
    }

    /// Resident memory in bytes.
    var residentMemory: Int {
        let fields = (textOfFile("/proc/\(process)/statm") ?? "").split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
    }

    /// How many descriptors are open.
    var descriptorCount: Int { names(in: "/proc/\(process)/fd").count }

    /// The numbers of the sockets that applications hold. A connection that its application has closed, and whose end the
    /// peer has not acknowledged, is nobody's.
    func socketNumbers() throws -> [Int] {
        let ending: Set = ["FIN_WAIT_1", "FIN_WAIT_2", "CLOSING", "LAST_ACK", "TIME_WAIT"]
        return try DaemonControl.sockets(of: path)
            .filter { $0.record.socket_id != 0 || !ending.contains($0.stateName) }
            .map(\.number)
    }

    // MARK: What can be done to it

    func signal(_ number: Int32) { if pollEnding() == nil { kill(process, number) } }

    /// Waits for its end.
    func waitForEnding(within limit: TimeInterval = .seconds(30)) throws -> Ending {
        guard holds(within: limit, { pollEnding() != nil }), let ending else {
            throw Failure("\(name) did not end within \(limit); it said:\n\(said)")
        }
        return ending
    }

    /// Asks it to end, and expects that it does so in order.
    func stop() throws {
        try requireAlive()
        signal(SIGTERM)
        let ending = try waitForEnding()
        guard ending == .exit(0) else { throw Failure("\(name) stopped with \(ending); it said:\n\(said)") }
    }

    deinit {
        guard pollEnding() == nil else { return }
        killAndWait(process)
    }
}
