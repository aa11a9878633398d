// `chitcp demo`: two applications exchange a file through two daemons on this machine.
import ArgumentParser
import Chisocket
import Glibc
import Impairments
import TCPSegments

/// The project's main job, end to end: every byte checked, the connection drawn, nothing left behind.
struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "Send a file to an echo server and back through two daemons, and show how.")

    @Option(help: ArgumentHelp("The file to send; 4 MiB are generated otherwise.", valueName: "path"))
    var file: String?

    @Option(help: ArgumentHelp("Lose this share of the segments in each direction, e.g. 5%.", valueName: "share"))
    var loss: String?

    @Option(help: "Which segments are lost: the same seed decides the same.")
    var seed: UInt64 = 1

    func validate() throws {
        if let loss, Quantity.probability(loss) == nil {
            throw ValidationError("--loss \(loss): a share of the segments like 5% or 0.05")
        }
    }

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        let belongings = Belongings()
        try belongings.cleanUpOnSignals()
        defer { belongings.cleanUp() }
        let folder = try belongings.makeFolder()
        let content = try file.map { try Content(path: $0) } ?? Content.generate(4 << 20, at: "\(folder)/file")

        var options = ["-v"]
        if let loss { options += ["--loss", loss, "--seed", "\(seed)"] }
        let pair = try DaemonPair(in: folder, belongings: belongings, options: options)
        let server = try belongings.startSelf(
            ["echo", "--port", "7", "--once"],
            environment: ["CHITCPD_SOCK": pair.server.socketPath])
        try waitForListener(of: pair.server, from: server, belongings)

        let stream = try Chisockets(daemon: pair.client.socketPath).connect(to: Endpoint(pair.server.address, 7))
        let result: ExchangeResult
        do {
            defer { close(stream) }
            result = try exchange(content, over: stream)
        }
        _ = belongings.wait(for: server)
        // The daemons write their logs' last lines when they end.
        belongings.end(pair.client.pid)
        belongings.end(pair.server.pid)
        try report(content, result, pair)
    }

    private func report(_ content: Content, _ result: ExchangeResult, _ pair: DaemonPair) throws {
        let logs = try [pair.client, pair.server].map { String(decoding: try readFile($0.logPath), as: UTF8.self) }
        let events = mergeLogs(client: logs[0], server: logs[1])
        for line in SequenceDiagram.render(
            events, clientName: "client " + pair.client.addressText, serverName: "server " + pair.server.addressText)
        { print(line) }
        let counts = count(events)
        let seconds = Double(result.nanoseconds) / 1e9
        print(
            """

            \(content.name == file ? content.name : "a generated file"): \(grouped(UInt64(result.bytes))) bytes there \
            and back, every byte is right.
            \(fixed(seconds, 3)) s, \(fixed(Double(result.bytes) / seconds / 1e6, 1)) MB/s each way, \
            \(grouped(UInt64(counts.segments))) segments, \(counts.retransmissions) retransmissions, \
            \(counts.dropped) lost on purpose.
            """)
    }

    /// Returns when the server's daemon shows a listening socket.
    private func waitForListener(of node: DaemonPair.Node, from server: pid_t, _ belongings: Belongings) throws {
        let limit = monotonicNow() + 10_000_000_000
        while try !DaemonControl.sockets(of: DaemonPath(node.socketPath)).contains(where: { $0.stateName == "LISTEN" })
        {
            if belongings.hasEnded(server) { throw CommandError("the echo server ended before it was listening") }
            guard monotonicNow() < limit else { throw CommandError("the echo server was not ready within 10 seconds") }
            usleep(2_000)  // between two looks
        }
    }
}
