// Child processes of a command: two daemons in a temporary folder, and whatever talks to them. Nothing outlives it.
import CLinux
import Glibc
import Synchronization
import TCPSegments

/// The environment variable by which a child knows that it is to end with its parent (the parent's pid).
private let parentVariable = "CHITCP_PARENT"

/// In a process that a command started: has it end with that command, however the command ends. Elsewhere nothing.
public func endWithParent() {
    guard let value = getenv(parentVariable), let parent = pid_t(String(cString: value)) else { return }
    unsetenv(parentVariable)
    _ = clinux_signal_at_parents_end(SIGTERM)
    // It may have ended before the kernel knew that this process cares.
    if getppid() != parent { exit(1) }
}

/// The processes and the folder that a command has to take away with it, also when a signal ends it.
final class Belongings: Sendable {
    private struct State {
        var children: [pid_t] = []
        var folder: String?
        /// A signal ends the process: its thread takes everything away, and nobody else has anything left to do or to say.
        var isInterrupted = false
    }
    private let state = Mutex(State())

    /// From now on SIGINT and SIGTERM end the children, remove the folder and exit with 128 plus the signal. To be
    /// called while the process has one thread.
    func cleanUpOnSignals() throws {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGINT)
        sigaddset(&set, SIGTERM)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        try inThread { [self, set] in
            var set = set
            var signal: Int32 = 0
            sigwait(&set, &signal)
            state.withLock { $0.isInterrupted = true }
            takeAway()
            exit(128 + signal)
        }
    }

    /// Makes the temporary folder.
    func makeFolder() throws -> String {
        var template = Array("\(temporaryFolder())/chitcp-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw CommandError("cannot make a folder in \(temporaryFolder())", errno: errno)
        }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        state.withLock { $0.folder = path }
        return path
    }

    /// Starts this program with `arguments` and additional environment; its standard error goes to the file `errors` if given.
    func startSelf(_ arguments: [String], environment: [String: String], errors: String? = nil) throws -> pid_t {
        try start("/proc/self/exe", ["chitcp"] + arguments, environment: environment, errors: errors, group: 0)
    }

    /// Starts the program at `path` with `argv` and additional environment. Group 0 is a process group of its own: Ctrl-C then
    /// reaches this process alone, which ends its children in order. nil: this process's, which a program at a terminal needs.
    func start(
        _ path: String, _ argv: [String], environment: [String: String], errors: String? = nil, group: pid_t? = nil
    ) throws -> pid_t {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        if let group { posix_spawnattr_setpgroup(&attributes, group) }
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | (group == nil ? 0 : Int16(POSIX_SPAWN_SETPGROUP)))
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let errors { posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600) }

        var variables: [String] = []
        var entry = environ
        while let text = entry.pointee {
            let variable = String(cString: text)
            let name = variable.prefix { $0 != "=" }
            if environment[String(name)] == nil && name != parentVariable { variables.append(variable) }
            entry += 1
        }
        variables += environment.map { "\($0.key)=\($0.value)" } + ["\(parentVariable)=\(getpid())"]
        let words = argv.map { strdup($0) } + [nil]
        let envp = variables.map { strdup($0) } + [nil]
        defer { for pointer in words + envp { free(pointer) } }

        // Under the lock, so that a signal finds either no child or one it knows; and none is started after it.
        return try state.withLock { state in
            guard !state.isInterrupted else { throw CommandError("interrupted") }
            var pid: pid_t = 0
            let code = posix_spawn(&pid, path, &actions, &attributes, words, envp)
            guard code == 0 else {
                throw CommandError("cannot start \(argv.prefix(2).joined(separator: " "))", errno: code)
            }
            state.children.append(pid)
            return pid
        }
    }

    /// Waits for a child to end by itself: its exit code, or 128 plus the signal that ended it.
    func wait(for pid: pid_t) -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        state.withLock { $0.children.removeAll { $0 == pid } }
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }

    /// True if the child has ended; it is then no longer ours to wait for.
    func hasEnded(_ pid: pid_t) -> Bool {
        var status: Int32 = 0
        guard waitpid(pid, &status, Int32(WNOHANG)) != 0 else { return false }
        state.withLock { $0.children.removeAll { $0 == pid } }
        return true
    }

    /// Asks a child to end, and waits for it; ends it by force after three seconds.
    func end(_ pid: pid_t) {
        kill(pid, SIGTERM)
        let limit = monotonicNow() + 3_000_000_000
        while !hasEnded(pid) {
            if monotonicNow() > limit { kill(pid, SIGKILL) }
            usleep(2_000)
        }
    }

    /// Ends the children and removes the folder. Does not return if a signal ends the process: what fails now fails because
    /// of that.
    func cleanUp() {
        while state.withLock({ $0.isInterrupted }) { sleep(1) }
        takeAway()
    }

    private func takeAway() {
        let (children, folder) = state.withLock { state in
            defer { state.folder = nil }
            return (state.children, state.folder)
        }
        for pid in children.reversed() { end(pid) }
        if let folder { removeFolder(folder) }
    }
}

/// Two daemons on 127.0.0.1 and 127.0.0.2: two hosts on one machine.
struct DaemonPair {
    struct Node {
        let address: IPAddress
        let addressText: String
        let socketPath: String
        let logPath: String
        let pid: pid_t
    }

    let server: Node
    let client: Node

    /// Starts both in `folder` with `options`, and returns when both answer.
    init(in folder: String, belongings: Belongings, options: [String]) throws {
        let port = try freePort()
        func start(_ name: String, _ last: UInt8) throws -> Node {
            let address = "127.0.0.\(last)"
            let socketPath = "\(folder)/\(name)"
            let logPath = "\(folder)/\(name).log"
            let pid = try belongings.startSelf(
                ["daemon", "--address", address, "--port", "\(port)", "--socket", socketPath, "--log", logPath]
                    + options,
                environment: ["CHITCPD_PORT": "\(port)"], errors: "\(logPath).errors")
            return Node(
                address: IPAddress(127, 0, 0, last), addressText: address, socketPath: socketPath, logPath: logPath,
                pid: pid)
        }
        server = try start("server", 1)
        client = try start("client", 2)
        for node in [server, client] { try node.waitUntilReady(belongings) }
    }
}

extension DaemonPair.Node {
    /// Returns when the daemon accepts connections on its control socket.
    fileprivate func waitUntilReady(_ belongings: Belongings) throws {
        let limit = monotonicNow() + 10_000_000_000
        while !answers() {
            if belongings.hasEnded(pid) {
                throw CommandError("the daemon on \(addressText) ended before it was ready (\(lastWords()))")
            }
            guard monotonicNow() < limit else {
                throw CommandError("the daemon on \(addressText) was not ready within 10 seconds")
            }
            usleep(2_000)  // between two attempts to connect
        }
    }

    private func lastWords() -> String {
        guard let bytes = try? readFile("\(logPath).errors") else { return "it said nothing" }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").last.map(String.init) ?? "it said nothing"
    }

    private func answers() -> Bool {
        let path = Array("\(socketPath).control".utf8)
        var address = sockaddr_un()
        guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { return false }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let fd = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { return false }
        defer { close(fd) }
        return withUnsafeBytes(of: &address) {
            connect(fd, $0.assumingMemoryBound(to: sockaddr.self).baseAddress!, socklen_t($0.count)) == 0
        }
    }
}

/// A port that is free on both addresses of a pair, found by binding it.
func freePort() throws -> UInt16 {
    for _ in 0..<50 {
        let candidate = UInt16.random(in: 20_000..<32_000)
        let sockets = KernelSockets()
        guard let a = try? sockets.listen(on: Endpoint(IPAddress(127, 0, 0, 1), candidate), backlog: 1) else {
            continue
        }
        defer { close(a) }
        guard let b = try? sockets.listen(on: Endpoint(IPAddress(127, 0, 0, 2), candidate), backlog: 1) else {
            continue
        }
        close(b)
        return candidate
    }
    throw CommandError("no free port between 20000 and 32000 on 127.0.0.1 and 127.0.0.2")
}

/// TMPDIR, or /tmp.
private func temporaryFolder() -> String {
    guard let value = getenv("TMPDIR"), value.pointee != 0 else { return "/tmp" }
    return String(cString: value)
}

/// All bytes of a file.
func readFile(_ path: String) throws -> [UInt8] {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { throw CommandError("cannot read \(path)", errno: errno) }
    defer { close(fd) }
    var bytes: [UInt8] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
    defer { buffer.deallocate() }
    while true {
        let n = readSome(fd, buffer)
        guard n >= 0 else { throw CommandError("cannot read \(path)", errno: errno) }
        if n == 0 { return bytes }
        bytes.append(contentsOf: buffer[..<n])
    }
}

/// Runs `body` in a thread of its own.
func inThread(_ body: @escaping @Sendable () -> Void) throws {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(body))
    let code = pthread_create(
        &thread, nil,
        { argument in
            Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue().body()
            return nil
        }, box.toOpaque())
    guard code == 0 else {
        box.release()
        throw CommandError("cannot start a thread", errno: code)
    }
    pthread_detach(thread)
}
