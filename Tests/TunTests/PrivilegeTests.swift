// A daemon on a TUN device without privilege: it gives its own up, or never had any.
import Chisocket
import Glibc
import TCPSegments
import Testing

@Suite(
    "A TUN device without privilege", .timeLimit(.minutes(15)),
    .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct PrivilegeTests {
    /// nobody, on every machine.
    private static let user: UInt32 = 65_534

    /// A daemon of that user serves the kernel at the other end of tun7, without any capability.
    private func check(_ daemon: CommandProcess, _ folder: String, _ namespace: NetworkNamespace) throws {
        try daemon.waitUntilItSays("listening")
        #expect(!daemon.said.contains("cannot"), "\(daemon.said)")
        let status = readText("/proc/\(daemon.pid)/status").split(separator: "\n").map {
            $0.split(separator: "\t").map(String.init)
        }
        func field(_ name: String) -> [String] { status.first { $0.first == name }.map { Array($0.dropFirst()) } ?? [] }
        #expect(field("Uid:") == [String](repeating: "\(Self.user)", count: 4))
        #expect(field("CapEff:") == ["0000000000000000"] && field("CapPrm:") == ["0000000000000000"])
        let path = DaemonPath(folder + "/daemon")
        let listener = try Chisocket.listening(
            on: #require(ChisocketAddress("10.77.0.2", port: 7)), backlog: 1, daemon: path)
        let kernel = try namespace.run {
            try command("ip addr add 10.77.0.1/24 dev tun7")
            let socket = try KernelSocket(isIPv4: true)
            try socket.connect(to: Endpoint(IPAddress(10, 77, 0, 2), 7))
            return socket
        }
        let ours = try listener.accept()
        try kernel.send([42])
        #expect(try ours.receive() == [42])
        #expect(daemon.end() == 0)
    }

    @Test("--tun-user: root opens the device, and that user goes on")
    func givesPrivilegeUp() throws {
        let namespace = try NetworkNamespace()
        let folder = try OpenFolder()
        let path = folder.path
        let daemon = try namespace.run {
            Box(
                try CommandProcess([
                    "daemon", "--tun", "tun7", "--tun-user", "\(Self.user)", "--address", "10.77.0.2/24", "--socket",
                    path + "/daemon",
                ]))
        }.value
        try check(daemon, path, namespace)
        #expect(try namespace.run { if_nametoindex("tun7") == 0 }, "the device went with its daemon")
    }

    @Test("ip tuntap add … user: the daemon never needs any")
    func neverHadAny() throws {
        let namespace = try NetworkNamespace()
        let folder = try OpenFolder()
        let path = folder.path
        // /dev/net/tun is everybody's on most machines; here it is at least that user's.
        let daemon = try namespace.run {
            try command(
                "ip link set lo up; ip tuntap add tun7 mode tun user \(Self.user); ip link set tun7 mtu 1500 up")
            return Box(
                try CommandProcess(
                    script: """
                        cp \(CommandProcess.path) \(path)/chitcp
                        mknod \(path)/tun c 10 200
                        chmod 666 \(path)/tun
                        exec unshare -m sh -ec 'mount --bind \(path)/tun /dev/net/tun
                        exec setpriv --reuid \(Self.user) --regid \(Self.user) --clear-groups \
                        \(path)/chitcp daemon --tun tun7 --address 10.77.0.2/24 --socket \(path)/daemon'
                        """))
        }.value
        try check(daemon, path, namespace)
        #expect(try namespace.run { if_nametoindex("tun7") != 0 }, "the device is not the daemon's to take away")
    }

    private struct Box: @unchecked Sendable {
        // @unchecked Sendable: it is handed on, never used on two threads at once.
        let value: CommandProcess
        init(_ value: CommandProcess) { self.value = value }
    }

    /// A folder in which everybody may write; it goes with this object.
    private final class OpenFolder {
        let path: String

        init() throws {
            var template = Array("/tmp/chitcpd-tun-XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            try #require(chmod(path, 0o777) == 0)
        }

        deinit {
            for name in ["chitcp", "tun", "daemon", "daemon.control"] { unlink(path + "/" + name) }
            rmdir(path)
        }
    }
}
