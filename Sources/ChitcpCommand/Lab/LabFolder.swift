// Where a lab that is up keeps what it is, so that other commands find it and a later one can take away what is left of it.
import Chisocket
import Glibc
import TCPSegments

/// A file that is locked as long as this object, or its process, lives.
final class FileLock {
    private let descriptor: Int32

    /// Waits for the lock, or returns nil at once if somebody has it.
    init?(_ path: String, waiting: Bool, creating: Bool = true) throws {
        descriptor = open(path, O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0), 0o600)
        guard descriptor >= 0 else { throw CommandError("cannot open \(path)", errno: errno) }
        while flock(descriptor, LOCK_EX | (waiting ? 0 : LOCK_NB)) != 0 {
            if errno == EINTR { continue }
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            throw CommandError("cannot lock \(path)", errno: code)
        }
    }

    deinit { close(descriptor) }
}

/// The folder of one lab.
struct LabFolder {
    /// The lab's name.
    let name: String
    /// The folder.
    let path: String

    /// The folder of the lab with this name.
    init(_ name: String) throws {
        self.name = name
        path = try Self.root() + "/" + name
    }

    /// Where all labs of this user are: CHITCP_LABS, or a folder of the user's own under XDG_RUNTIME_DIR or /tmp.
    static func root() throws -> String {
        func variable(_ name: String) -> String? {
            getenv(name).flatMap { $0.pointee == 0 ? nil : String(cString: $0) }
        }
        let path =
            variable("CHITCP_LABS") ?? variable("XDG_RUNTIME_DIR").map { $0 + "/chitcp-labs" }
            ?? "/tmp/chitcp-labs-\(geteuid())"
        if mkdir(path, 0o700) != 0, errno != EEXIST {
            throw CommandError("cannot make the folder for labs, \(path)", errno: errno)
        }
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid() else {
            throw CommandError("\(path) is not a folder of this user: remove it, or name another with CHITCP_LABS")
        }
        return path
    }

    /// Nobody else begins or cleans labs meanwhile.
    static func lockAll() throws -> FileLock? { try FileLock(try root() + "/.lock", waiting: true) }

    /// All labs there is something of.
    static func all() throws -> [LabFolder] {
        guard let directory = opendir(try root()) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if LabReader.isName(name) { names.append(name) }
        }
        return try names.sorted().map { try LabFolder($0) }
    }

    var exists: Bool { access(path, F_OK) == 0 }

    /// The supervisor has this lock as long as it lives.
    var lockPath: String { path + "/lock" }
    var statePath: String { path + "/state" }
    var filePath: String { path + "/lab.yaml" }
    var logPath: String { path + "/supervisor.log" }
    /// The UNIX socket of a host's daemon.
    func socket(of host: String) -> String { "\(path)/\(host).socket" }
    /// The log of a host's daemon.
    func log(of host: String) -> String { "\(path)/\(host).log" }

    /// True if its supervisor lives.
    var isUp: Bool {
        do { return try FileLock(lockPath, waiting: false, creating: false) == nil } catch { return false }
    }

    /// What is written in it; nil if there is nothing that makes sense.
    func state() -> LabState? { (try? readFile(statePath)).flatMap { LabState(String(decoding: $0, as: UTF8.self)) } }

    /// Takes away what a lab has left that is not up: namespaces with their devices, and files.
    func clean() {
        for namespace in state()?.namespaces ?? [] { LabNamespaces.remove(namespace) }
        removeFolder(path)
    }
}

/// What a lab consists of, written before it is made.
struct LabState: Equatable {
    /// A host and how it is reached.
    struct Host: Equatable {
        let name: String
        /// One, or one of each family.
        let addresses: [IPAddress]
        let isKernel: Bool
        /// Its network namespace; nil: this machine's own.
        let namespace: String?

        /// Its address of a family, if it has one.
        func address(isIPv4: Bool) -> IPAddress? { addresses.first { $0.isIPv4 == isIPv4 } }
    }

    /// The file it was made of.
    let file: String
    /// The supervisor.
    let supervisor: pid_t
    let hosts: [Host]
    /// All namespaces, those of hosts included.
    let namespaces: [String]

    init(file: String, supervisor: pid_t, hosts: [Host], namespaces: [String]) {
        self.file = file
        self.supervisor = supervisor
        self.hosts = hosts
        self.namespaces = namespaces
    }

    /// What `text` says; nil if it is no state of a lab.
    init?(_ text: String) {
        var file: String?
        var supervisor: pid_t?
        var hosts: [Host] = []
        var namespaces: [String] = []
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
            switch (words[0], words.count) {
            case ("file", 2...): file = String(line.dropFirst("file ".count))
            case ("supervisor", 2): supervisor = pid_t(words[1])
            case ("host", 5):
                let addresses = words[2].split(separator: ",").map { IPAddress(String($0)) }
                guard !addresses.isEmpty, !addresses.contains(nil) else { return nil }
                hosts.append(
                    Host(
                        name: words[1], addresses: addresses.compactMap(\.self), isKernel: words[3] == "kernel",
                        namespace: words[4] == "-" ? nil : words[4]))
            case ("namespace", 2): namespaces.append(words[1])
            default: return nil
            }
        }
        guard let file, let supervisor, supervisor > 1 else { return nil }
        self.init(file: file, supervisor: supervisor, hosts: hosts, namespaces: namespaces)
    }

    /// The text from which it can be read again.
    var text: String {
        (["file \(file)", "supervisor \(supervisor)"]
            + hosts.map { host in
                let addresses = host.addresses.map { "\($0)" }.joined(separator: ",")
                return "host \(host.name) \(addresses) \(host.isKernel ? "kernel" : "daemon") \(host.namespace ?? "-")"
            }
            + namespaces.map { "namespace \($0)" }).joined(separator: "\n") + "\n"
    }

    func host(_ name: String) -> Host? { hosts.first { $0.name == name } }

    /// `word` with @HOST replaced by that host's first address, @HOST.4 and @HOST.6 by that of a family.
    func withAddresses(_ word: String) throws -> String {
        let parts = word.split(separator: "@", omittingEmptySubsequences: false)
        var result = String(parts[0])
        for part in parts.dropFirst() {
            let name = part.prefix { LabReader.isName("a\($0)") }
            guard let host = host(String(name)) else {
                result += "@" + part
                continue
            }
            let rest = part.dropFirst(name.count)
            let family = rest.prefix(2)
            // @bob.6 and @bob.6:80, not @bob.64.
            guard family == ".4" || family == ".6",
                !(rest.dropFirst(2).first.map { $0.isLetter || $0.isNumber } ?? false)
            else {
                result += "\(host.addresses[0])" + rest
                continue
            }
            guard let address = host.address(isIPv4: family == ".4") else {
                throw CommandError("@\(name)\(family): \(name) has no IPv\(family.dropFirst()) address")
            }
            result += "\(address)" + rest.dropFirst(2)
        }
        return result
    }
}
