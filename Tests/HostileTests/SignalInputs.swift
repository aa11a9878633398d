// Signals in every phase of a daemon's life.
import Chisocket
import Glibc
import TCPSegments

extension Siege {
    /// Starts one more daemon that is not expected to serve, and returns how it ended and what it said. It must not have
    /// been ended by a signal of its own making.
    func refused(_ launch: Launch, within limit: TimeInterval = .seconds(30)) throws -> String {
        let twin = try DaemonProcess("twin", at: twinAddress, in: folder, launch)
        let ending = try twin.waitForEnding(within: limit)
        guard case .exit(let code) = ending, code != 0 else { throw Failure("it ended with \(ending): \(twin.said)") }
        let said = twin.said
        guard !said.isEmpty else { throw Failure("it said nothing") }
        try requireNothingLeft(of: twin)
        return said
    }

    /// The files of a daemon that has ended.
    func requireNothingLeft(of twin: DaemonProcess) throws {
        let left = folder.files.filter { $0 == twin.name || $0 == twin.name + ".control" }
        guard left.isEmpty else { throw Failure("it left \(left) behind") }
        unlink(twin.path.path + ".err")
    }

    /// Starts one more daemon, expects that it serves the neighbour, and ends it.
    func served(_ launch: Launch) throws {
        let twin = try twin(launch)
        let server = try EchoServer([twin])
        defer { server.stop() }
        try checkedTransfer(neighbour.path, to: twin.address)
        try checkedTransfer(twin.path, to: neighbour.address)
        try twin.stop()
        try requireNothingLeft(of: twin)
    }
}

extension HostileInput {
    static let signals: [HostileInput] = whileServing + whileStarting + whileEnding

    private static let whileServing: [HostileInput] =
        [(SIGHUP, "SIGHUP"), (SIGPIPE, "SIGPIPE"), (SIGCHLD, "SIGCHLD"), (SIGWINCH, "SIGWINCH"), (SIGXFSZ, "SIGXFSZ")]
        .map { number, name in
            HostileInput(.signals, "\(name), a thousand times") { siege in
                for _ in 0..<1000 { siege.victim.signal(number) }
                try siege.waitForBlocks(5)
            }
        } + [
            HostileInput(.signals, "SIGSTOP and SIGCONT, again and again") { siege in
                for _ in 0..<20 {
                    siege.victim.signal(SIGSTOP)
                    siege.victim.signal(SIGCONT)
                    try siege.waitForBlocks(1)
                }
            },
            HostileInput(
                .signals, "SIGHUP with a log, again and again",
                launch: Launch(arguments: ["--log", "/dev/null", "-v"])
            ) { siege in
                for _ in 0..<200 { siege.victim.signal(SIGHUP) }
                try siege.waitForBlocks(5)
            },
        ]

    private static let whileStarting: [HostileInput] =
        [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT"), (SIGHUP, "SIGHUP")].map { number, name in
            HostileInput(.signals, "\(name) at any moment of the start") { siege in
                for delay in stride(from: UInt32(0), to: 30_000, by: 1_500) {
                    let twin = try DaemonProcess("twin", at: siege.twinAddress, in: siege.folder)
                    usleep(delay)
                    twin.signal(number)
                    // A SIGHUP that comes late only reopens the log.
                    if number == SIGHUP { twin.signal(SIGTERM) }
                    let ending = try twin.waitForEnding()
                    guard ending == .exit(0) || ending == .signal(number) || ending == .signal(SIGTERM) else {
                        throw Failure("after \(delay) us it ended with \(ending): \(twin.said)")
                    }
                    try siege.requireNothingLeft(of: twin)
                }
            }
        }

    private static let whileEnding: [HostileInput] = [
        HostileInput(.signals, "SIGTERM in the middle of a transfer") { siege in
            let twin = try siege.twin()
            let server = try EchoServer([twin])
            defer { server.stop() }
            let socket = try connected(siege.victim.path, to: twin.address)
            try socket.send(pattern(200_000))
            try twin.stop()
            try siege.requireNothingLeft(of: twin)
            // The peer is told: a reset, not silence.
            do { while try !socket.receive().isEmpty {} } catch let error as ChisocketError {
                guard error.errno == ECONNRESET else { throw error }
            }
        },
        HostileInput(.signals, "a hundred SIGTERMs, SIGINTs and SIGHUPs at once") { siege in
            let twin = try siege.twin()
            for _ in 0..<100 { for number in [SIGTERM, SIGINT, SIGHUP] { twin.signal(number) } }
            let ending = try twin.waitForEnding()
            guard ending == .exit(0) else { throw Failure("it ended with \(ending)") }
            try siege.requireNothingLeft(of: twin)
        },
        HostileInput(.signals, "SIGTERM while applications and peers wait") { siege in
            let twin = try siege.twin()
            let peer = try Impostor(at: siege.spareAddress(1))
            let attempts = try (0..<10).map { _ in try Attempt(twin.path, to: siege.spareAddress(1)) }
            let clients = try (0..<50).map { _ in try RawControl(twin) }
            let links = try (0..<20).map { _ in try RawLink(from: siege.attackerAddress, to: twin.address) }
            try waitUntil("it dials") { peer.accept() }
            try twin.stop()
            try siege.requireNothingLeft(of: twin)
            _ = (attempts, clients, links)
        },
        HostileInput(.signals, "SIGKILL, and a new start on what is left") { siege in
            for _ in 0..<5 {
                let twin = try siege.twin()
                twin.signal(SIGKILL)
                _ = try twin.waitForEnding()
            }
            try siege.served(Launch())
        },
    ]
}
