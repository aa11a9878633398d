// `chitcp lab`: hosts, links and their impairments from a file, made and taken away again.
import ArgumentParser
import Chisocket
import ControlRecords
import Glibc

/// Networks to try things on.
struct LabCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lab", abstract: "Hosts and bad links from a file, on this machine.",
        discussion: """
            Without privilege a host is a daemon at a loopback address of its own; with --namespaces, as root, it has a \
            network of its own with IPv4 and IPv6, and may be the Linux kernel. Samples/Labs has files to begin with.
            """,
        subcommands: [
            LabUpCommand.self, LabDownCommand.self, LabStatusCommand.self, LabExecCommand.self,
            LabSuperviseCommand.self,
        ])
}

/// `chitcp lab up FILE`.
struct LabUpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "up", abstract: "Make the lab that a file describes.")

    @Argument(help: "The file.")
    var file: String
    @Flag(help: "A network namespace for each host, joined by a bridge; needs root.")
    var namespaces = false

    func run() throws {
        let description = try read(file)
        if !namespaces, let kernel = description.hosts.first(where: \.isKernel) {
            throw LabFileError(file, kernel.line, "\(kernel.name) is the Linux kernel: chitcp lab up --namespaces")
        }
        if namespaces, let obstacle = LabNamespaces.obstacle { throw CommandError(obstacle) }
        let folder = try LabFolder(description.name)
        let everything = try LabFolder.lockAll()
        defer { withExtendedLifetime(everything) {} }
        guard !folder.isUp else {
            throw CommandError("the lab \(folder.name) is up already (chitcp lab down \(folder.name))")
        }
        for left in try LabFolder.all() where !left.isUp { left.clean() }
        guard mkdir(folder.path, 0o700) == 0 else {
            throw CommandError("cannot make \(folder.path)", errno: errno)
        }
        let text: [UInt8]
        do {
            text = try readFile(file)
            try write(String(decoding: text, as: UTF8.self), to: folder.filePath)
            try startSupervisor(of: folder)
        } catch {
            folder.clean()
            throw error
        }
        for line in try LabStatus(folder).hosts { print(line) }
    }

    private func read(_ file: String) throws -> LabDescription {
        let name = file.split(separator: "/").last.map(String.init) ?? file
        return try LabDescription(
            String(decoding: try readFile(file), as: UTF8.self), file: file,
            defaultName: name.firstIndex(of: ".").map { String(name[..<$0]) } ?? name)
    }

    /// Starts the process that keeps the lab, apart from this one, and waits until it says that all is ready.
    private func startSupervisor(of folder: LabFolder) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw CommandError("cannot make a pipe", errno: errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, folder.logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A session of its own: nothing that happens at this terminal reaches it.
        posix_spawnattr_setflags(&attributes, 0x80)  // POSIX_SPAWN_SETSID
        let arguments = ["chitcp", "lab", "supervise", folder.name, file] + (namespaces ? ["--namespaces"] : [])
        let words = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, words, environ)
        close(ends[1])
        guard code == 0 else { throw CommandError("cannot start the lab's supervisor", errno: code) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
        defer { buffer.deallocate() }
        var said = ""
        while case let n = readSome(ends[0], buffer), n > 0 {
            said += String(decoding: buffer[..<n], as: UTF8.self)
            if said.hasSuffix(LabSuperviseCommand.readiness) { return }
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        throw CommandError(said.isEmpty ? "the lab's supervisor ended with status \(status)" : said)
    }
}

/// `chitcp lab supervise`, which `up` starts.
struct LabSuperviseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "supervise", abstract: "Keep a lab (up starts this).", shouldDisplay: false)

    /// What it writes to standard output, and nothing else, when the lab is ready.
    static let readiness = "ready\n"

    @Argument var name: String
    @Argument var file: String
    @Flag var namespaces = false

    func run() throws {
        let folder = try LabFolder(name)
        let said = dup(STDOUT_FILENO)
        _ = fcntl(said, F_SETFD, FD_CLOEXEC)
        // Nobody else keeps the pipe open.
        let nothing = open("/dev/null", O_WRONLY)
        dup2(nothing, STDOUT_FILENO)
        do {
            let text = String(decoding: try readFile(folder.filePath), as: UTF8.self)
            let description = try LabDescription(text, file: file, defaultName: name)
            let supervisor = LabSupervisor(folder: folder, description: description, usesNamespaces: namespaces)
            try supervisor.run(file: file) {
                tell(Self.readiness, said)
                close(said)
            }
        } catch {
            tell("\(error)", said)
            throw ExitCode(1)
        }
    }

    private func tell(_ text: String, _ descriptor: Int32) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { writeAll(descriptor, $0) }
    }
}

/// `chitcp lab down`.
struct LabDownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down", abstract: "Take a lab away, and what killed ones have left.")

    @Argument(help: "The lab's name, or its file; all of them otherwise.")
    var lab: String?

    func run() throws {
        let everything = try LabFolder.lockAll()
        defer { withExtendedLifetime(everything) {} }
        let all = try LabFolder.all()
        if let lab {
            guard let folder = try all.first(where: { try $0.answers(to: lab) }) else {
                throw CommandError("there is no lab \(lab) (chitcp lab status shows all)")
            }
            try end(folder)
        } else {
            if all.isEmpty { print("no lab is up") }
            for folder in all { try end(folder) }
        }
        for left in try LabFolder.all() where !left.isUp { left.clean() }
    }

    private func end(_ folder: LabFolder) throws {
        if folder.isUp, let supervisor = folder.state()?.supervisor {
            // It has the lock, so the number is still its own.
            kill(supervisor, SIGTERM)
            let limit = monotonicNow() + 60_000_000_000
            while folder.isUp {
                guard monotonicNow() < limit else {
                    throw CommandError("the lab \(folder.name) does not end (process \(supervisor))")
                }
                usleep(5_000)  // between two looks
            }
        }
        folder.clean()
        print("\(folder.name) is down")
    }
}

/// `chitcp lab status`.
struct LabStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the labs that are up, their hosts, and what happens on their links.")

    func run() throws {
        let all = try LabFolder.all()
        if all.isEmpty { print("no lab is up") }
        for folder in all {
            let status = try LabStatus(folder)
            for line in [status.title] + status.hosts + status.impairments { print(line) }
        }
    }
}

/// What there is to say about a lab.
struct LabStatus {
    let title: String
    var hosts: [String] = []
    var impairments: [String] = []

    init(_ folder: LabFolder) throws {
        guard let state = folder.state(), folder.isUp else {
            title = "\(folder.name): what a killed lab has left (chitcp lab down)"
            return
        }
        title = "\(folder.name) (\(state.file), process \(state.supervisor))"
        for host in state.hosts {
            let place = host.namespace.map { ", namespace \($0)" } ?? ""
            let title = "  \(host.name)  \(host.addresses.map { "\($0)" }.joined(separator: " "))  "
            if host.isKernel {
                hosts.append("\(title)the Linux kernel\(place)")
                continue
            }
            let daemon = DaemonPath(folder.socket(of: host.name))
            do throws(ChisocketError) {
                let sockets = try DaemonControl.sockets(of: daemon).count
                hosts.append("\(title)CHITCPD_SOCK=\(daemon), \(sockets) socket\(sockets == 1 ? "" : "s")\(place)")
                for status in try DaemonControl.impairments(of: daemon) {
                    impairments += describe(status).map { "  \(host.name): \($0)" }
                }
            } catch {
                hosts.append("\(title)its daemon has ended: see \(folder.log(of: host.name))")
            }
        }
    }
}

extension LabFolder {
    /// True if `text` is its name or the file it was made of.
    func answers(to text: String) throws -> Bool { text == name || state()?.file == text }
}

/// `chitcp lab exec HOST -- CMD`.
struct LabExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec", abstract: "Run a program on a host of a lab.",
        discussion: """
            Its TCP is the host's: chitcp itself finds the daemon by CHITCPD_SOCK, other programs are started as by chitcp \
            run. @HOST in an argument is that host's (first) address, @HOST.4 and @HOST.6 its IPv4 and its IPv6 address.
            """)

    @Option(help: "The lab, if there is more than one.")
    var lab: String?
    @Argument(help: "The host.")
    var host: String
    @Argument(parsing: .postTerminator, help: ArgumentHelp("The program and its arguments.", valueName: "PROGRAM"))
    var command: [String] = []

    func validate() throws {
        guard !command.isEmpty else {
            throw ValidationError("say which program to run: chitcp lab exec HOST -- PROGRAM ARGS")
        }
    }

    func run() throws {
        let folder = try chosen()
        guard let state = folder.state() else { throw CommandError("the lab \(folder.name) is not up") }
        guard let here = state.host(host) else {
            throw CommandError(
                "\(host) is no host of the lab \(folder.name): \(state.hosts.map(\.name).joined(separator: ", "))")
        }
        let words = try command.map { try state.withAddresses($0) }
        let program = try ProgramFile.find(words[0])
        if let namespace = here.namespace { try LabNamespaces.enter(namespace) }
        setenv("CHITCP_LAB", folder.name, 1)
        guard !here.isKernel else {
            unsetenv("CHITCPD_SOCK")
            try execute(program.path, words)
        }
        let socket = folder.socket(of: host)
        setenv("CHITCPD_SOCK", socket, 1)
        if program.path.split(separator: "/").last == "chitcp" { try execute(program.path, words) }
        try execute("/proc/self/exe", ["chitcp", "run", "--socket", socket, "--"] + words)
    }

    private func chosen() throws -> LabFolder {
        let all = try LabFolder.all().filter(\.isUp)
        if let lab {
            guard let folder = try all.first(where: { try $0.answers(to: lab) }) else {
                throw CommandError("the lab \(lab) is not up (chitcp lab status shows all)")
            }
            return folder
        }
        guard all.count <= 1 else {
            throw CommandError("which lab? --lab \(all.map(\.name).joined(separator: ", or --lab "))")
        }
        guard let only = all.first else { throw CommandError("no lab is up: chitcp lab up FILE") }
        return only
    }

    private func execute(_ path: String, _ words: [String]) throws -> Never {
        var arguments = words.map { strdup($0) } + [nil]
        execv(path, &arguments)
        throw CommandError("cannot run \(path)", errno: errno)
    }
}
