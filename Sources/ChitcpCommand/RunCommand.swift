// `chitcp run`: an unmodified program whose TCP connections are chitcpd's.
import ArgumentParser
import Chisocket
import ControlRecords
import Glibc

/// Runs a program with libchitcp-preload.so in front of its C library.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run a program on chitcpd's TCP instead of the kernel's.",
        discussion: """
            Every TCP connection of the program over IPv4 or IPv6 goes through the daemon; all else is left to the kernel. \
            Programs that do not ask the C library (static ones, Go) or that run with other privileges (set-uid) cannot be \
            reached and are not started.
            """)

    @Option(help: ArgumentHelp("Only connections to these addresses; may be repeated.", valueName: "CIDR"))
    var only: [String] = []
    @Option(
        help: ArgumentHelp("Leave connections to these addresses to the kernel; may be repeated.", valueName: "CIDR"))
    var except: [String] = []
    @Option(help: "The daemon's UNIX socket; CHITCPD_SOCK or the usual one otherwise.")
    var socket: String?
    @Flag(help: "If no daemon answers, start one for this run.")
    var start = false
    @Argument(parsing: .postTerminator, help: ArgumentHelp("The program and its arguments.", valueName: "PROGRAM"))
    var command: [String] = []

    func validate() throws {
        guard !command.isEmpty else { throw ValidationError("say which program to run: chitcp run -- PROGRAM ARGS") }
        guard only.isEmpty || except.isEmpty else { throw ValidationError("--only and --except exclude each other") }
        for text in only + except {
            guard AddressRange(text) != nil else {
                throw ValidationError("\(text): not a range of addresses like 10.0.0.0/8 or ::1")
            }
        }
        guard (only + except).count <= 64 else { throw ValidationError("at most 64 ranges of addresses") }
    }

    func run() throws {
        let program = try ProgramFile.find(command[0])
        try program.checkIsReachable()
        let daemon = socket.map { DaemonPath($0) } ?? .standard
        let environment = try makeEnvironment(daemon)
        do throws(ChisocketError) {
            try DaemonControl.check(daemon)
        } catch {
            guard start, error.errno == ENOENT || error.errno == ECONNREFUSED else { throw CommandError("\(error)") }
            try runWithDaemon(program, daemon, environment)
        }
        for (name, value) in environment { setenv(name, value, 1) }
        var arguments = command.map { strdup($0) } + [nil]
        execv(program.path, &arguments)
        throw CommandError("cannot run \(program.path)", errno: errno)
    }

    private func makeEnvironment(_ daemon: DaemonPath) throws -> [String: String] {
        var preload = try Preload.path()
        // What stands there already comes after ours.
        if let others = getenv("LD_PRELOAD"), others.pointee != 0 { preload += ":" + String(cString: others) }
        return [
            "LD_PRELOAD": preload, "CHITCPD_SOCK": daemon.path,
            CHITCP_ENVIRONMENT_ONLY: only.joined(separator: ","),
            CHITCP_ENVIRONMENT_EXCEPT: except.joined(separator: ","),
        ]
    }

    /// Starts a daemon, runs the program beside it, ends the daemon, and exits as the program did.
    private func runWithDaemon(_ program: ProgramFile, _ daemon: DaemonPath, _ environment: [String: String]) throws {
        let belongings = Belongings()
        try belongings.cleanUpOnSignals()
        defer { belongings.cleanUp() }
        let folder = try belongings.makeFolder()
        let node = try belongings.startDaemon(socket: daemon.path, errors: "\(folder)/errors")
        let child = try belongings.start(program.path, command, environment: environment)
        let code = belongings.wait(for: child)
        belongings.end(node)
        belongings.cleanUp()
        throw ExitCode(code)
    }
}

extension Belongings {
    /// A daemon with the usual addresses at `socket`, once it answers.
    fileprivate func startDaemon(socket: String, errors: String) throws -> pid_t {
        let pid = try startSelf(["daemon", "--socket", socket], environment: [:], errors: errors)
        let limit = monotonicNow() + 10_000_000_000
        while true {
            do throws(ChisocketError) {
                try DaemonControl.check(DaemonPath(socket))
                return pid
            } catch {
                if hasEnded(pid) {
                    let words = (try? readFile(errors)).map { String(decoding: $0, as: UTF8.self) } ?? ""
                    throw CommandError(words.isEmpty ? "the daemon ended before it was ready" : words)
                }
                guard monotonicNow() < limit else {
                    throw CommandError("the daemon was not ready within 10 seconds: \(error)")
                }
            }
            usleep(2_000)  // between two attempts to connect
        }
    }
}

/// Where the library lies that is put in front of programs.
public enum Preload {
    private static let name = "libchitcp-preload.so"

    /// In a process that has it in front (a shell under `chitcp run` has started it): begins again without. This command
    /// speaks with the daemon itself, and must see its sockets as they are.
    public static func leave() {
        guard let value = getenv("LD_PRELOAD") else { return }
        let all = String(cString: value).split { $0 == ":" || $0 == " " }
        let others = all.filter { !$0.hasSuffix("/" + name) }
        guard others.count < all.count else { return }
        if others.isEmpty { unsetenv("LD_PRELOAD") } else { setenv("LD_PRELOAD", others.joined(separator: ":"), 1) }
        execv("/proc/self/exe", CommandLine.unsafeArgv)
    }

    /// Beside this executable (a build folder), or in ../lib (installed).
    static func path() throws -> String {
        guard let executable = ownPath() else { throw CommandError("cannot find where chitcp lies", errno: errno) }
        let folder = executable[..<(executable.lastIndex(of: "/") ?? executable.startIndex)]
        for candidate in ["\(folder)/\(name)", "\(folder)/../lib/\(name)"] where access(candidate, R_OK) == 0 {
            // The loader splits LD_PRELOAD at these.
            guard !candidate.contains(where: { $0 == " " || $0 == ":" }) else {
                throw CommandError("\(candidate) cannot be preloaded: no blanks or colons in its path, please")
            }
            return candidate
        }
        throw CommandError(
            "\(name) is neither in \(folder) nor in \(folder)/../lib (swift build, or scripts/install.sh PREFIX)")
    }
}
