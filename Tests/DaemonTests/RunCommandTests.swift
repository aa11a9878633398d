// `chitcp run`: what it starts, what it refuses to start, and whose TCP the program gets.
import Chisocket
import Glibc
import Testing

@Suite("chitcp run", .timeLimit(.minutes(15)))
struct RunCommandTests {
    private func run(_ arguments: [String], environment: [String: String] = [:]) throws -> ProgramResult {
        try runProgram(BuildFolder.command, ["run"] + arguments, environment: environment)
    }

    @Test("without a daemon it says so and exits with 1")
    func noDaemon() throws {
        let folder = try TemporaryFolder()
        let result = try run(["--socket", folder.path + "/none", "--", "true"])
        #expect(result.code == 1)
        #expect(result.output.contains("no daemon answers at \(folder.path)/none"))
    }

    @Test("the program's exit code is the command's")
    func exitCode() throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("127.91.1.1", in: folder)
        #expect(try run(["--socket", daemon.path.path, "--", "sh", "-c", "exit 7"]).code == 7)
        let missing = try run(["--socket", daemon.path.path, "--", "no-such-program"])
        #expect(missing.code == 1)
        #expect(missing.output.contains("cannot run no-such-program"))
    }

    @Test("--start runs a daemon as long as the program runs")
    func start() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/started"
        let result = try run(
            ["--start", "--socket", path, "--", try SocketCases.program.get(), "names", "127.91.2.1"],
            environment: ["CHITCPD_PORT": "23291"])
        #expect(result.code == 0, "\(result.output)")
        #expect(folder.files.isEmpty)
        let failed = try run(
            ["--start", "--socket", path, "--", "sh", "-c", "exit 3"], environment: ["CHITCPD_PORT": "23291"])
        #expect(failed.code == 3)
        #expect(folder.files.isEmpty)
    }

    @Test("a program that asks no C library for its sockets is not started")
    func staticProgram() throws {
        let folder = try TemporaryFolder()
        let source = folder.path + "/program.c"
        let file = open(source, O_WRONLY | O_CREAT, 0o600)
        let text = "int main(void) { return 0; }\n"
        #expect(write(file, text, text.utf8.count) == text.utf8.count)
        close(file)
        let built = try runProgram("gcc", ["-static", "-o", folder.path + "/program", source])
        try #require(built.code == 0, "\(built.output)")
        let daemon = try TestDaemon("127.91.3.1", in: folder)
        let result = try run(["--socket", daemon.path.path, "--", folder.path + "/program"])
        #expect(result.code == 1)
        #expect(result.output.contains("linked statically"))
    }

    @Test("a program that gets other privileges is not started", .enabled(if: getuid() == 0))
    func otherPrivileges() throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("127.91.4.1", in: folder)
        let program = folder.path + "/program"
        #expect(try runProgram("cp", ["/bin/true", program]).code == 0)
        #expect(chown(program, 65534, 65534) == 0 && chmod(program, 0o4755) == 0)
        let result = try run(["--socket", daemon.path.path, "--", program])
        #expect(result.code == 1)
        #expect(result.output.contains("privileges"))
    }

    @Test(
        "what --only and --except leave to the kernel is the kernel's, with the options that were set",
        arguments: [
            (["--except", "127.0.0.0/8"], false), (["--only", "10.0.0.0/8", "--only", "::1"], false),
            (["--only", "127.91.0.0/16"], true), (["--except", "127.90.0.0/16"], true),
        ])
    func exclusions(_ options: [String], _ isOurs: Bool) throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("127.91.5.\(isOurs ? 1 : 2)\(options[0].count)", in: folder)
        for name in ["names", "nonblocking-connect", "inherited", "back-pressure", "executes"] {
            let result = try run(
                options + ["--socket", daemon.path.path, "--", try SocketCases.program.get(), name, daemon.address])
            #expect(result.code == 0, "\(name): \(result.output)")
        }
        #expect(try (daemon.totals().segmentsSent > 0) == isOurs)
    }

    @Test(
        "ranges that are none, and both kinds of them, are refused",
        arguments: [
            ["--only", "127.0.0.0/33"], ["--except", "localhost"], ["--only", "::1", "--except", "10.0.0.0/8"], [],
        ])
    func badArguments(_ options: [String]) throws {
        let result = try run(options + (options.isEmpty ? [] : ["--", "true"]))
        #expect(result.code == 64)
    }

    @Test("when the daemon goes, connections are reset and new sockets fail; nothing hangs, nothing is the kernel's")
    func daemonGoes() throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("127.91.7.1", in: folder)
        let program = try startProgram(
            SocketCases.program.get(), ["child", "daemon-goes", daemon.address],
            environment: ["LD_PRELOAD": BuildFolder.preload, "CHITCPD_SOCK": daemon.path.path])
        // The program has two connected ends and waits for something to read.
        for _ in 0..<30_000 where try daemon.totals().connectionsAccepted == 0 { usleep(1000) }
        daemon.stop()
        let result = program.wait()
        #expect(result.code == 0, "\(result.output)")
    }

    @Test("other users may use the daemon only if it admits them", .enabled(if: getuid() == 0))
    func otherUsers() throws {
        let folder = try TemporaryFolder()
        chmod(folder.path, 0o755)
        // The build folder may be closed to others.
        #expect(try runProgram("cp", [SocketCases.program.get(), BuildFolder.preload, folder.path]).code == 0)
        let open = try TestDaemon("127.91.6.1", in: folder) { $0.admission.users = [65534] }
        let byGroup = try TestDaemon("127.91.6.2", in: folder) { $0.admission.groups = [65533] }
        let closed = try TestDaemon("127.91.6.3", in: folder)
        for (daemon, admits) in [(open, true), (byGroup, true), (closed, false)] {
            let result = try runProgram(
                "setpriv",
                [
                    "--reuid=65534", "--regid=65534", "--groups=65533", folder.path + "/socket-cases", "names",
                    daemon.address,
                ],
                environment: [
                    "LD_PRELOAD": folder.path + "/libchitcp-preload.so", "CHITCPD_SOCK": daemon.path.path,
                ])
            #expect((result.code == 0) == admits, "\(daemon.address): \(result.output)")
        }
    }
}
