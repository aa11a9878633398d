// Programs that tests start, and what they say when they end.
import Glibc

/// Where a descriptor of a program leads.
public enum ChildDescriptor {
    /// A file, with the flags of open(2); it is made if they say so.
    case file(String, Int32)
    /// A descriptor of this process.
    case copy(Int32)
    case closed
}

/// A program that could not be started.
public struct SpawnFailure: Error, CustomStringConvertible {
    /// The program.
    public let path: String
    /// Why.
    public let errno: Int32
    /// A sentence.
    public var description: String { "\(path) did not start: \(String(cString: strerror(errno)))" }
}

/// Starts a program, found in PATH if `path` names no folder, and returns its process.
///
/// It begins as from a shell: the threads of tests block signals, which it would inherit.
/// - Parameters:
///   - added: variables besides those of this process's environment that `isInherited` lets through, and instead of them.
///   - descriptors: where its descriptors lead, in this order; others are this process's, unless they are close-on-exec.
public func spawn(
    _ path: String, _ arguments: [String] = [], environment added: [String: String] = [:],
    inheriting isInherited: (Substring) -> Bool = { _ in true }, descriptors: [(Int32, ChildDescriptor)] = []
) throws(SpawnFailure) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (number, leadsTo) in descriptors {
        switch leadsTo {
        case .file(let path, let flags): posix_spawn_file_actions_addopen(&actions, number, path, flags, 0o600)
        case .copy(let other): posix_spawn_file_actions_adddup2(&actions, other, number)
        case .closed: posix_spawn_file_actions_addclose(&actions, number)
        }
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigaddset(&signals, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    var variables: [String] = []
    var entry = environ
    while let text = entry.pointee {
        let variable = String(cString: text)
        let name = variable.prefix { $0 != "=" }
        if added[String(name)] == nil, isInherited(name) { variables.append(variable) }
        entry += 1
    }
    variables += added.map { "\($0.key)=\($0.value)" }
    let words = ([path] + arguments).map { strdup($0) } + [nil]
    let settings = variables.map { strdup($0) } + [nil]
    defer { for pointer in words + settings { free(pointer) } }
    var process: pid_t = 0
    let code = posix_spawnp(&process, path, &actions, &attributes, words, settings)
    guard code == 0 else { throw SpawnFailure(path: path, errno: code) }
    return process
}

/// Starts a shell command that has `descriptor` as its descriptor 3, and closes ours: the command has the only copy.
public func startShell(_ command: String, giving descriptor: Int32) throws(SpawnFailure) -> pid_t {
    defer { close(descriptor) }
    return try spawn("/bin/sh", ["-c", command], descriptors: [(3, .copy(descriptor))])
}

/// Waits for the end of a process: its exit code, or 128 plus the signal that ended it.
@discardableResult
public func waitForEnd(of process: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
        // Nobody else waits for it; it is over in any case.
        if errno != EINTR { return -1 }
    }
    return exitCode(status)
}

/// How a process has ended, if it has: its exit code, or 128 plus the signal. It can be asked once.
public func endIfEnded(of process: pid_t) -> Int32? {
    var status: Int32 = 0
    return waitpid(process, &status, WNOHANG) == process ? exitCode(status) : nil
}

private func exitCode(_ status: Int32) -> Int32 {
    status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
}

/// Ends a process by force and waits for its end.
public func killAndWait(_ process: pid_t) {
    kill(process, SIGKILL)
    waitForEnd(of: process)
}
