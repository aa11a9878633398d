// Unmodified programs: what they may expect of a socket holds on the kernel's TCP and on chitcpd's alike.
import Glibc
import Testing

/// The programs in Programs/.
enum SocketCases {
    /// The cases of Programs/, compiled once into the build folder.
    static let program: Result<String, any Error> = Result {
        try build("socket-cases", [])
    }

    /// The same with libchitcp's calls in the place of the C library's.
    static let chisocketProgram: Result<String, any Error> = Result {
        let include = BuildFolder.sources + "../../Sources/CChitcp/include"
        return try build(
            "chisocket-cases",
            [
                "-I", include, "-include", BuildFolder.sources + "Programs/chisocket_names.h", "-L", BuildFolder.path,
                "-lchitcp-c", "-Wl,-rpath,\(BuildFolder.path)",
            ])
    }

    private static func build(_ name: String, _ options: [String]) throws -> String {
        let binary = BuildFolder.path + "/\(name)-\(getpid())"
        let sources = ["main", "connecting", "data", "processes", "options", "tuning"].map {
            BuildFolder.sources + "Programs/\($0).c"
        }
        let built = try runProgram(
            "gcc", ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-o", binary] + sources + options)
        try #require(built.code == 0, "\(built.output)")
        // Under its own name at once: another run of the tests may be using the last one.
        try #require(rename(binary, BuildFolder.path + "/" + name) == 0)
        return BuildFolder.path + "/" + name
    }

    static let names: [String] = {
        guard let listed = try? runProgram(program.get(), []) else { return [] }
        return listed.output.split(separator: "\n").map(String.init)
    }()
}

@Suite("Programs' sockets", .timeLimit(.minutes(15)))
struct SocketCaseTests {
    @Test("there are cases")
    func cases() throws {
        _ = try SocketCases.program.get()
        #expect(SocketCases.names.count > 20)
    }

    @Test(
        "a case passes on the kernel's TCP and on chitcpd's", arguments: SocketCases.names.filter { $0 != "freed-port" }
    )
    func alike(_ name: String) throws {
        let net = freshNet()
        let address = "\(net).1"
        let kernel = try runProgram(SocketCases.program.get(), [name, address])
        try #require(kernel.code == 0, "on the kernel's TCP: \(kernel.output)")
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon(address, in: folder)
        let ours = try runProgram(
            SocketCases.program.get(), [name, address],
            environment: ["LD_PRELOAD": BuildFolder.preload, "CHITCPD_SOCK": daemon.path.path])
        #expect(ours.code == 0, "on chitcpd's TCP: \(ours.output)")
        let totals = try daemon.totals()
        #expect(totals.segmentsSent > 0 || Self.withoutSegments.contains(name), "nothing crossed chitcpd's TCP")
        daemon.stop()
        #expect(folder.files.isEmpty)
    }

    /// Cases that only set options.
    private static let withoutSegments: Set<String> = ["round-trips", "other-kinds"]

    @Test("a port is free as soon as its socket is closed, as on the kernel's TCP")
    func freedPort() throws {
        let address = "\(freshNet()).1"
        let kernel = try runProgram(SocketCases.program.get(), ["freed-port", address])
        try #require(kernel.code == 0, "on the kernel's TCP: \(kernel.output)")
        // In this process a program that another test is just starting would hold copies of the daemon's new descriptors.
        let folder = try TemporaryFolder()
        let daemon = try DaemonProcess(address, in: folder)
        let ours = try runProgram(
            SocketCases.program.get(), ["freed-port", address],
            environment: ["LD_PRELOAD": BuildFolder.preload, "CHITCPD_SOCK": daemon.path.path])
        #expect(ours.code == 0, "on chitcpd's TCP: \(ours.output)")
    }

    /// Cases about what libchitcp leaves to the C library.
    private static let kernelsOwn: Set<String> = ["requests", "other-kinds"]

    @Test("a case passes with libchitcp's calls", arguments: SocketCases.names.filter { !kernelsOwn.contains($0) })
    func byLibrary(_ name: String) throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(net).2", in: folder)
        let result = try runProgram(
            SocketCases.chisocketProgram.get(), [name, daemon.address],
            environment: ["CHITCPD_SOCK": daemon.path.path])
        #expect(result.code == 0, "\(result.output)")
    }

    @Test(
        "where the server grants cookies, the second connection's data goes with the SYN",
        arguments: ["fast-open", "fast-open-connect"])
    func withCookies(_ name: String) throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(freshNet()).1", in: folder) { $0.host.fastOpen.modes = [.client, .server] }
        for (program, environment) in [
            (try SocketCases.program.get(), ["LD_PRELOAD": BuildFolder.preload]),
            (try SocketCases.chisocketProgram.get(), [:]),
        ] {
            let all = environment.merging(["CHITCPD_SOCK": daemon.path.path, "EXPECT_SYN_DATA": "1"]) { $1 }
            let result = try runProgram(program, [name, daemon.address], environment: all)
            #expect(result.code == 0, "\(result.output)")
        }
    }

    @Test(
        "the same over IPv6",
        arguments: [
            "names", "nonblocking-connect", "refused", "errors", "flags", "ends", "resets", "executes", "inquiries",
            "fast-open",
        ])
    func overIPv6(_ name: String) throws {
        let folder = try TemporaryFolder()
        let number = try #require(SocketCases.names.firstIndex(of: name))
        // There is one ::1 only: each case has a port of its own for the frames.
        let daemon = try TestDaemon("::1", in: folder) { $0.links.port = 23_400 + UInt16(number) }
        let ours = try runProgram(
            SocketCases.program.get(), [name, "::1"],
            environment: ["LD_PRELOAD": BuildFolder.preload, "CHITCPD_SOCK": daemon.path.path])
        #expect(ours.code == 0, "on chitcpd's TCP: \(ours.output)")
    }
}
