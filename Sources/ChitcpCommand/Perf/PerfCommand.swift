// `chitcp perf`: how fast, how many, how large; beside the kernel's sockets if wanted.
import ArgumentParser
import Chisocket
import Glibc
import TCPSegments

/// What can be measured.
enum PerfTest: String, CaseIterable, ExpressibleByArgument {
    case idle
    case bulk
    case pingPong = "ping-pong"
    case rate
}

/// Measures between two daemons that it starts, or between daemons that run already.
struct PerfCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perf", abstract: "Measure throughput, round trips, connections a second and memory.",
        discussion: """
            Without HOST it starts two daemons and a server on this machine, measures between them and takes them away \
            again. With HOST it is the client of a "chitcp perf --server" there, through the daemon that CHITCPD_SOCK \
            names. Measured are: idle (memory of each daemon per idle connection), bulk, ping-pong, and rate (connect, \
            one byte there and back, close; one after another). Figures are medians of the runs. Compare only within one \
            call: machines are noisy.
            """)

    @Argument(help: "The host on which chitcp perf --server runs.")
    var host: String?

    @Flag(help: "Serve measurements, until interrupted.")
    var server = false

    @Flag(help: "Measure the kernel's TCP (cubic) as well; with --server: serve over the kernel's TCP instead.")
    var kernel = false

    @Option(name: .shortAndLong, help: "The server's TCP port.")
    var port: UInt16 = 5201

    @Option(help: "With --server: the address to listen on.")
    var address = "0.0.0.0"

    @Option(name: .shortAndLong, help: "Measure only this: idle, bulk, ping-pong or rate; may be repeated.")
    var test: [PerfTest] = []

    @Option(name: .shortAndLong, help: "How long each run takes.")
    var seconds = 3.0

    @Option(name: .shortAndLong, help: "Runs of bulk and ping-pong; the median counts.")
    var runs = 3

    @Option(name: .shortAndLong, help: "How many idle connections.")
    var connections = 8_000

    @Option(help: "Bytes of a ping-pong message.")
    var messageSize = 1

    @Option(help: "Bytes of a write in bulk.")
    var writeSize = 131_072

    @Flag(help: "One JSON object a line instead of a table.")
    var json = false

    func validate() throws {
        if server, host != nil { throw ValidationError("--server and HOST are the two ends: say one of them") }
        if port == 0 { throw ValidationError("--port 0: a port from 1 to 65535") }
        guard seconds.isFinite, (0.01...3_600).contains(seconds) else {
            throw ValidationError("--seconds \(seconds): from 0.01 to 3600")
        }
        guard (1...1_000).contains(runs) else { throw ValidationError("--runs \(runs): from 1 to 1000") }
        guard (1...1_000_000).contains(connections) else {
            throw ValidationError("--connections \(connections): from 1 to 1000000")
        }
        for (name, size) in [("--message-size", messageSize), ("--write-size", writeSize)] {
            guard (1...16 << 20).contains(size) else { throw ValidationError("\(name) \(size): from 1 to 16777216") }
        }
        if host != nil, test.contains(.idle) {
            throw ValidationError("idle needs daemons of its own, whose memory it can see: leave HOST away")
        }
    }

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        raiseDescriptorLimit()
        if server {
            let sockets: any StreamSockets = kernel ? KernelSockets(congestionControl: "cubic") : Chisockets()
            let listener = try sockets.listen(on: try resolve(address, port: port), backlog: 1024)
            defer { close(listener) }
            try PerfServer(sockets: sockets, listener: listener).run()
        } else if let host {
            let endpoint = try resolve(host, port: port)
            do {
                try measure(
                    PerfTarget(sockets: Chisockets(), server: endpoint),
                    kernel: kernel
                        ? PerfTarget(sockets: KernelSockets(congestionControl: "cubic"), server: endpoint) : nil,
                    daemons: nil)
            } catch let error as ChisocketError where error.errno == ECONNREFUSED && !error.isDaemonMissing {
                throw CommandError("\(error); is chitcp perf --server running there?")
            }
        } else {
            try measureOwnPair()
        }
    }

    /// Two daemons and servers of our own, which are gone afterwards.
    private func measureOwnPair() throws {
        let belongings = Belongings()
        try belongings.cleanUpOnSignals()
        defer { belongings.cleanUp() }
        let pair = try DaemonPair(in: try belongings.makeFolder(), belongings: belongings, options: [])
        let ours = try startServer(
            Chisockets(daemon: pair.client.socketPath), at: Endpoint(pair.server.address, port), [], belongings,
            daemon: pair.server.socketPath)
        let kernels =
            try kernel
            ? startServer(
                KernelSockets(congestionControl: "cubic"), at: Endpoint(pair.server.address, try freePort()),
                ["--kernel"],
                belongings) : nil
        try measure(
            PerfTarget(
                sockets: ours.sockets, server: ours.server,
                processes: ours.processes + [pair.client.pid, pair.server.pid]),
            kernel: kernels, daemons: pair)
    }

    private func startServer(
        _ sockets: any StreamSockets, at endpoint: Endpoint, _ options: [String], _ belongings: Belongings,
        daemon: String? = nil
    ) throws -> PerfTarget {
        let pid = try belongings.startSelf(
            ["perf", "--server", "--port", "\(endpoint.port)", "--address", addressText(of: endpoint)] + options,
            environment: daemon.map { ["CHITCPD_SOCK": $0] } ?? [:])
        let limit = monotonicNow() + 10_000_000_000
        while true {
            do {
                close(try sockets.connect(to: endpoint, noDelay: false))
                return PerfTarget(sockets: sockets, server: endpoint, processes: [pid])
            } catch {
                if belongings.hasEnded(pid) { throw CommandError("the server of the measurement ended: \(error)") }
                guard monotonicNow() < limit else {
                    throw CommandError("the server of the measurement was not ready within 10 seconds: \(error)")
                }
                usleep(2_000)  // between two attempts to connect
            }
        }
    }

    // MARK: Measuring

    private func measure(_ ours: PerfTarget, kernel: PerfTarget?, daemons: DaemonPair?) throws {
        var progress = Progress()
        defer { progress.clear() }
        #if DEBUG
            note("chitcp perf: a debug build; its figures mean little (swift run -c release chitcp perf)\n")
        #endif
        var report = PerfReport(kernelName: kernel == nil ? nil : "cubic")
        let us = PerfClient(target: ours, seconds: seconds)
        let them = kernel.map { PerfClient(target: $0, seconds: seconds) }
        let wanted = PerfTest.allCases.filter { test.isEmpty ? daemons != nil || $0 != .idle : test.contains($0) }
        for test in wanted {
            switch test {
            case .idle: if let daemons { report.figures += try idle(us, daemons, &progress) }
            case .bulk: report.figures.append(try bulk(us, them, &progress))
            case .pingPong:
                report.figures += try pingPong(us, them, .free, &progress)
                // Only processes of this machine can be placed.
                if daemons != nil { report.figures += try pingPong(us, them, .oneCore, &progress) }
            case .rate:
                report.figures += try rate(us, them, .free, &progress)
                if daemons != nil { report.figures += try rate(us, them, .oneCore, &progress) }
            }
        }
        progress.clear()
        for line in json ? report.json : report.table { print(line) }
    }

    private func idle(_ client: PerfClient, _ daemons: DaemonPair, _ progress: inout Progress) throws -> [PerfFigure] {
        let pids = [daemons.client.pid, daemons.server.pid]
        let before = try pids.map { try residentBytes(of: $0) }
        let during = try client.whileIdle(connections, progress: &progress) {
            try pids.map { try residentBytes(of: $0) }
        }
        return zip(["connecting", "accepting"], zip(before, during)).map { end, memory in
            PerfFigure(
                name: "idle connection, \(end) daemon (\(grouped(UInt64(connections))))", unit: .bytes,
                value: (memory.1 - memory.0) / Double(connections), budget: .atMost(3_000))
        }
    }

    private func bulk(_ us: PerfClient, _ them: PerfClient?, _ progress: inout Progress) throws -> PerfFigure {
        var rates: (us: [Double], them: [Double]) = ([], [])
        for _ in 0..<runs {
            rates.us.append(try us.bulk(writeSize: writeSize, progress: &progress))
            if let them { rates.them.append(try them.bulk(writeSize: writeSize, progress: &progress)) }
        }
        return PerfFigure(
            name: "bulk", unit: .bytesPerSecond, value: median(rates.us),
            kernel: them == nil ? nil : median(rates.them),
            budget: .ratioAtLeast(0.25))
    }

    private func pingPong(
        _ us: PerfClient, _ them: PerfClient?, _ placement: Placement, _ progress: inout Progress
    ) throws -> [PerfFigure] {
        var trips: (us: [RoundTrips], them: [RoundTrips]) = ([], [])
        for _ in 0..<runs {
            trips.us.append(try us.pingPong(size: messageSize, placement: placement, progress: &progress))
            if let them {
                trips.them.append(try them.pingPong(size: messageSize, placement: placement, progress: &progress))
            }
        }
        return [(0.5, "p50"), (0.99, "p99")].map { share, label in
            PerfFigure(
                name: "\(messageSize) B there and back, \(placement.rawValue), \(label)", unit: .nanoseconds,
                value: median(trips.us.map { $0.percentile(share) }),
                kernel: them == nil ? nil : median(trips.them.map { $0.percentile(share) }),
                budget: share == 0.5 ? .ratioAtMost(3.5) : nil)
        }
    }

    private func rate(
        _ us: PerfClient, _ them: PerfClient?, _ placement: Placement, _ progress: inout Progress
    ) throws -> [PerfFigure] {
        let ours = try us.connectionRate(placement: placement, progress: &progress)
        let theirs = try them?.connectionRate(placement: placement, progress: &progress)
        return [
            PerfFigure(
                name: "connect, 1 B there and back, close, \(placement.rawValue)", unit: .perSecond,
                value: ours.average,
                kernel: theirs?.average, budget: .atLeast(4_000)),
            PerfFigure(
                name: "the same in the slowest second", unit: .perSecond, value: ours.slowestSecond,
                kernel: theirs?.slowestSecond),
        ]
    }
}
