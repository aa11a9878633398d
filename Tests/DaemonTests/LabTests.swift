// `chitcp lab` without privilege: made, used and taken away, also after a kill.
import Glibc
import Testing

/// Labs of one test, apart from all others; whatever it left is taken away at its end.
private final class Labs {
    let folder: TemporaryFolder
    let root: String

    init() throws {
        folder = try TemporaryFolder()
        root = folder.path + "/labs"
    }

    private var environment: [String: String] {
        ["CHITCP_LABS": root, "PATH": BuildFolder.path + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]
    }

    func lab(_ arguments: String...) throws -> ProgramResult {
        try runProgram(BuildFolder.command, ["lab"] + arguments, environment: environment)
    }

    func start(_ arguments: String...) throws -> RunningProgram {
        try startProgram(BuildFolder.command, ["lab"] + arguments, environment: environment)
    }

    /// Writes a lab file whose lab's name no other test has.
    func file(_ name: String, _ text: String) throws -> String {
        let path = "\(folder.path)/\(name).yaml"
        let file = try #require(fopen(path, "w"))
        fputs(text, file)
        fclose(file)
        return path
    }

    /// The supervisor's process, by what the lab says of itself.
    func supervisor(of lab: String) throws -> pid_t {
        let text = try readText("\(root)/\(lab)/state")
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("supervisor ") })
        return try #require(pid_t(line.dropFirst("supervisor ".count)))
    }

    /// Names in the root, but for its lock.
    var left: [String] {
        guard let directory = opendir(root) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }

    deinit {
        _ = try? lab("down")
        unlink(root + "/.lock")
        rmdir(root)
    }
}

/// Processes whose command line contains `text`.
private func processes(with text: String) -> [pid_t] {
    guard let directory = opendir("/proc") else { return [] }
    defer { closedir(directory) }
    var found: [pid_t] = []
    while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        guard let pid = pid_t(name) else { continue }
        // It may have ended meanwhile.
        let descriptor = open("/proc/\(name)/cmdline", O_RDONLY)
        guard descriptor >= 0 else { continue }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let n = read(descriptor, &bytes, bytes.count)
        if String(decoding: bytes.prefix(max(n, 0)), as: UTF8.self).contains(text) { found.append(pid) }
    }
    return found
}

@Suite("chitcp lab", .timeLimit(.minutes(15)))
struct LabTests {
    private static let pair = """
        hosts:
          alice:
          bob:
        links:
          - between: [alice, bob]
            impair: loss=2%,delay=2ms,seed=3

        """

    @Test("up, status, exec with chitcp's own programs and with others, down: and nothing is left")
    func wholeLife() throws {
        let labs = try Labs()
        let file = try labs.file("pair", Self.pair)
        var result = try labs.lab("up", file)
        #expect(result.code == 0, "\(result.output)")
        #expect(result.output.contains("alice  127.") && result.output.contains("bob  127."), "\(result.output)")
        #expect(processes(with: labs.root).count == 2)
        result = try labs.lab("up", file)
        #expect(result.code == 1 && result.output.contains("is up already"), "\(result.output)")

        // An echo through the bad link, by chitcp's own programs.
        let echo = try labs.start("exec", "bob", "--", "chitcp", "echo", "--port", "7", "--once")
        try waitUntil {
            usleep(10_000)
            return try labs.lab("exec", "bob", "--", "chitcp", "sockets").output.contains("LISTEN")
        }
        result = try labs.lab("exec", "alice", "--", "sh", "-c", "echo through the link | chitcp cat @bob 7")
        try #require(result.code == 0 && result.output == "through the link\n", "\(result.output)")
        #expect(echo.wait().code == 0)

        result = try labs.lab("status")
        #expect(
            result.output.contains("loss=2% delay=2ms seed=3") && result.output.contains("delayed"), "\(result.output)")
        #expect(result.output.contains("seed=4"), "\(result.output)")
        for (arguments, sentence) in [
            (["exec", "carol", "--", "true"], "carol is no host of the lab pair: alice, bob"),
            (["exec", "alice", "--", "no-such-program"], "not in PATH"),
            (["exec", "--lab", "other", "alice", "--", "true"], "the lab other is not up"),
            (["down", "other"], "there is no lab other"),
        ] {
            result = try runProgram(
                BuildFolder.command, ["lab"] + arguments, environment: ["CHITCP_LABS": labs.root])
            #expect(result.code == 1 && result.output.contains(sentence), "\(result.output)")
        }

        result = try labs.lab("down", "pair")
        #expect(result.code == 0 && result.output == "pair is down\n", "\(result.output)")
        #expect(labs.left.isEmpty && processes(with: labs.root).isEmpty)
        result = try labs.lab("status")
        #expect(result.output == "no lab is up\n")
        result = try labs.lab("exec", "alice", "--", "true")
        #expect(result.code == 1 && result.output.contains("no lab is up"), "\(result.output)")
    }

    /// True if this machine has IPv6's loopback address.
    private static var hasIPv6Loopback: Bool {
        let probe = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        guard probe >= 0 else { return false }
        defer { close(probe) }
        var name = sockaddr_in6()
        name.sin6_family = sa_family_t(AF_INET6)
        name.sin6_addr = in6addr_loopback
        return withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(probe, $0, socklen_t(MemoryLayout<sockaddr_in6>.size)) == 0
            }
        }
    }

    @Test(
        "a host may have ::1 and an IPv4 address, and is reached at both",
        .enabled(if: hasIPv6Loopback, "this machine has no ::1"))
    func ownAddresses() throws {
        let labs = try Labs()
        let result = try labs.lab(
            "up", labs.file("own", "hosts:\n  alice: {address: ['::1', 127.98.1.1]}\n  bob:\n  carol:\n"))
        try #require(result.code == 0, "\(result.output)")
        #expect(result.output.contains("alice  ::1 127.98.1.1  CHITCPD_SOCK"), "\(result.output)")
        for (client, address) in [("alice", "@alice"), ("bob", "@alice.4")] {
            let echo = try labs.start(
                "exec", "alice", "--", "chitcp", "echo", "--port", "7", "--address", address, "--once")
            try waitUntil {
                usleep(10_000)
                return try labs.lab("exec", "alice", "--", "chitcp", "sockets").output.contains("LISTEN")
            }
            let said = try labs.lab("exec", client, "--", "sh", "-c", "echo hello | chitcp cat \(address) 7")
            try #require(said.code == 0 && said.output == "hello\n", "\(said.output)")
            #expect(echo.wait().code == 0)
        }
    }

    @Test("a program that knows nothing of chiTCP has its host's TCP")
    func unmodifiedProgram() throws {
        let labs = try Labs()
        #expect(try labs.lab("up", labs.file("plain", Self.pair)).code == 0)
        let listener = try labs.start("exec", "bob", "--", "chitcp", "echo", "--port", "7", "--once")
        try waitUntil {
            usleep(10_000)
            return try labs.lab("exec", "bob", "--", "chitcp", "sockets").output.contains("LISTEN")
        }
        // On the kernel's TCP nobody listens there.
        let result = try labs.lab(
            "exec", "alice", "--", "bash", "-c", "exec 3<>/dev/tcp/@bob/7; echo hello >&3; head -n 1 <&3")
        try #require(result.code == 0 && result.output == "hello\n", "\(result.output)")
        _ = listener.wait()
    }

    @Test("daemons end with a killed supervisor, and the next lab takes away what it left", arguments: ["up", "down"])
    func killed(next: String) throws {
        let labs = try Labs()
        let file = try labs.file("killed-\(next)", Self.pair)
        #expect(try labs.lab("up", file).code == 0)
        let supervisor = try labs.supervisor(of: "killed-\(next)")
        #expect(processes(with: labs.root).count == 2)
        #expect(kill(supervisor, SIGKILL) == 0)
        try waitUntil { processes(with: labs.root).isEmpty }
        #expect(try labs.lab("status").output.contains("what a killed lab has left"))
        #expect(labs.left == ["killed-\(next)"])
        if next == "up" {
            let result = try labs.lab("up", labs.file("another", Self.pair))
            #expect(result.code == 0, "\(result.output)")
            #expect(labs.left == ["another"])
        } else {
            #expect(try labs.lab("down").code == 0)
            #expect(labs.left.isEmpty)
        }
    }

    @Test("a lab that cannot be made leaves nothing, and says why")
    func failure() throws {
        let labs = try Labs()
        let wrong = try labs.file("wrong", "hosts:\n  alice:\n  bob:\n    options: --congestion vegas\n")
        var result = try labs.lab("up", wrong)
        #expect(result.code == 1 && result.output.contains("the daemon of bob did not start"), "\(result.output)")
        #expect(result.output.contains("vegas"), "\(result.output)")
        #expect(labs.left.isEmpty && processes(with: labs.root).isEmpty)
        result = try labs.lab("up", labs.file("typo", "hosts:\n  alice:\n    impair: loss=1\n  bob\n"))
        #expect(result.code == 1 && result.output.contains("typo.yaml:4: "), "\(result.output)")
        result = try labs.lab("up", labs.file("kernel", "hosts:\n  linux: {kernel: true}\n"))
        #expect(
            result.code == 1 && result.output.contains("kernel.yaml:2: linux is the Linux kernel"), "\(result.output)")
        // 2001:db8::/32 is nobody's (RFC 3849).
        result = try labs.lab("up", labs.file("six", "hosts:\n  alice:\n    address: 2001:db8::7\n"))
        #expect(
            result.code == 1
                && result.output.contains("six.yaml:3: alice cannot have 2001:db8::7 without --namespaces"),
            "\(result.output)")
        result = try labs.lab("up", labs.folder.path + "/none.yaml")
        #expect(result.code == 1 && result.output.contains("none.yaml"), "\(result.output)")
        #expect(labs.left.isEmpty)
    }

    @Test("labs side by side have hosts of their own")
    func sideBySide() throws {
        let labs = try Labs()
        let names = ["first", "second", "third"]
        for name in names { #expect(try labs.lab("up", labs.file(name, Self.pair)).code == 0) }
        let addresses = try names.flatMap { name in
            try readText("\(labs.root)/\(name)/state").split(separator: "\n").filter { $0.hasPrefix("host ") }
                .map { $0.split(separator: " ")[2] }
        }
        #expect(addresses.count == 6 && Set(addresses).count == 6)
        let result = try labs.lab("exec", "alice", "--", "true")
        #expect(
            result.code == 1 && result.output.contains("which lab? --lab first, or --lab second"), "\(result.output)")
        #expect(try labs.lab("exec", "--lab", "second", "alice", "--", "true").code == 0)
        #expect(try labs.lab("down").code == 0)
        #expect(labs.left.isEmpty && processes(with: labs.root).isEmpty)
    }
}
