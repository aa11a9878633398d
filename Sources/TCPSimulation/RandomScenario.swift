// A whole network that a seed decides: hosts, paths, options, buffers and what the users do.
import Impairments
import TCPEngine
import TCPSegments

/// A run whose every detail follows from its seed: two to four hosts over bad paths, one to six connections, at most
/// 256 KiB. For sixty virtual seconds the network is as bad as the seed wants it; then it heals, and everything must come to
/// its end.
public final class RandomScenario {
    /// What came of a run.
    public struct Outcome: Sendable {
        /// The seed.
        public let seed: UInt64
        /// Sentences about what went wrong; empty in a good run.
        public let failures: [String]
        /// For a failing run: the last segments and all control blocks.
        public let report: String
        /// Segments sent, and a hash of what each was and when.
        public let segments: Int, digest: UInt64
        /// Virtual time.
        public let duration: TimeInterval

        /// A scenario that could not even begin.
        public init(failedToBegin seed: UInt64, _ reason: String) {
            self.init(
                seed: seed, failures: ["cannot begin: \(reason)"], report: "", segments: 0, digest: 0, duration: .zero)
        }

        init(
            seed: UInt64, failures: [String], report: String, segments: Int, digest: UInt64, duration: TimeInterval
        ) {
            self.seed = seed
            self.failures = failures
            self.report = report
            self.segments = segments
            self.digest = digest
            self.duration = duration
        }
    }

    private let seed: UInt64
    private let network: SimulatedNetwork
    private var flows: [Flow] = []
    private static let badTime = TimeInterval.seconds(60)
    private static let bytes = 256 << 10

    /// The scenario of this seed.
    public init(seed: UInt64) throws(ConnectionError) {
        self.seed = seed
        var random = SeededGenerator(seed: seed &* 0x9e37_79b9 &+ 17)
        let sizes: [UInt16] = [87, 536, 1460, 1460, 8960, 65_495]
        let mss = sizes[Int(random.below(Int64(sizes.count)))]
        network = SimulatedNetwork(seed: seed, path: Self.path(&random), maximumSegmentSize: mss)
        network.checksInvariants = true
        let hosts = 2 + Int(random.below(3))
        for _ in 0..<hosts { network.addHost(Self.host(&random)) }
        let count = 1 + Int(random.below(6))
        for index in 0..<count {
            let client = Int(random.below(Int64(hosts)))
            let server = (client + 1 + Int(random.below(Int64(hosts - 1)))) % hosts
            let limit = mss < 500 ? Self.bytes / 8 : Self.bytes
            let flow = Flow(
                between: [client, server], port: UInt16(100 + index), limit: limit / count, network: network,
                random: &random)
            flows.append(flow)
            let listener = try network.nodes[server].host.listen(
                on: Endpoint(network.nodes[server].address, flow.port), backlog: 4)
            let uses: [FastOpenUse] = [.none, .now, .withFirstSend]
            network.nodes[server].host.setFastOpenQueue(Int(random.below(3)), of: listener)
            flow.begin(
                try network.connect(
                    from: client, to: server, port: flow.port, fastOpen: uses[Int(random.below(3))]))
        }
        network.onIncoming = { [unowned self] index, listener in
            guard let connection = network.nodes[index].host.accept(listener) else { return }
            if flows.first(where: { $0.port == listener.local.port })?.accepted(connection) != true {
                network.nodes[index].host.abort(connection, at: network.now)
            }
        }
        network.onEvent = { [unowned self] _, connection, event in
            guard case .closed(let error) = event else { return }
            flows.first { $0.owns(connection) }?.connectionEnded(connection, error)
        }
    }

    private static func path(_ random: inout SeededGenerator) -> ImpairmentConfiguration {
        func one<T>(of choices: [T]) -> T { choices[Int(random.below(Int64(choices.count)))] }
        var path = ImpairmentConfiguration()
        path.loss = one(of: [0, 0, 1_000, 10_000, 50_000, 100_000, 300_000])
        if random.below(4) == 0 {
            path.burstBegin = 10_000
            path.burstEnd = 300_000
            path.loss = min(path.loss, 50_000)
        }
        path.reorder = one(of: [0, 0, 10_000, 100_000, 300_000])
        path.reorderDelay = .microseconds(100 + random.below(30_000))
        path.duplicate = one(of: [0, 0, 10_000, 200_000])
        path.corrupt = one(of: [0, 0, 10_000])
        path.delay = .microseconds(10 + random.below(one(of: [200, 20_000, 150_000])))
        path.jitter = .microseconds(random.below(5_000))
        if random.below(3) == 0 {
            path.rate = 100_000 * (1 + random.below(1_000))
            path.queueLimit = 20_000 + Int(random.below(200_000))
        }
        path.largestPacket = one(of: [0, 0, 0, 540 + Int(random.below(1_000))])
        path.mark = one(of: [0, 0, 10_000, 200_000])
        path.markThreshold = one(of: [0, 10_000])
        for _ in 0..<random.below(3) {
            let start = Instant(nanoseconds: 1_000_000_000) + .milliseconds(random.below(40_000))
            path.partitions.append(start..<(start + .milliseconds(100 + random.below(8_000))))
        }
        return path
    }

    private static func host(_ random: inout SeededGenerator) -> HostConfiguration {
        func one<T>(of choices: [T]) -> T { choices[Int(random.below(Int64(choices.count)))] }
        var c = HostConfiguration()
        if random.below(2) == 0 {
            c.initialSequenceNumber = SequenceNumber(
                one(of: [0, .max, .max &- 5_000, .max &- 40_000, 1 << 31, (1 << 31) - 5_000]))
        }
        // With cookies, and without any, so that data leaves with the first SYN.
        c.fastOpen.modes = FastOpenModes(rawValue: one(of: [0, 1, 3, 0x207, 0x207, 0x605]))
        c.synCookies = one(of: [.never, .whenFull, .always])
        c.connection.keepsTextOfSyn = random.below(2) == 0
        c.connection.receiveBufferSize = one(of: [500, 4096, 65_535, 1 << 20])
        c.connection.sendBufferSize = one(of: [1000, 4096, 1 << 16, 1 << 20])
        c.connection.maximumReceiveBuffer = one(of: [0, 65_536, 6 << 20])
        c.connection.maximumSendBuffer = one(of: [0, 65_536, 4 << 20])
        c.bufferBudget = one(of: [0, 100_000, 256 << 20])
        if random.below(3) == 0 {
            c.connection.userTimeoutRules = UserTimeoutRules(
                announced: .seconds(1 + random.below(2000)), limits: .seconds(600) ... .seconds(3600))
        }
        c.connection.deferredAccepts = one(of: [0, 0, 3])
        c.connection.maximumPacingRate = one(of: [.max, .max, 200_000])
        c.connection.windowClamp = one(of: [nil, nil, 3000])
        c.connection.noDelay = random.below(2) == 0
        c.connection.windowScaling = random.below(4) != 0
        c.connection.timestamps = random.below(3) != 0
        c.connection.selectiveAcks = random.below(4) != 0
        c.connection.answerDelay = one(of: [.zero, .milliseconds(1)])
        c.connection.congestionControl = one(of: CongestionControlAlgorithm.allCases)
        if random.below(3) == 0 { c.connection.recovery = RecoveryFeatures(rawValue: UInt8(random.below(32))) }
        c.connection.pacing = random.below(3) == 0
        c.connection.ecn = one(of: ECNUse.allCases)
        c.connection.segmentSizeProbing = one(of: SegmentSizeProbing.allCases)
        c.connection.segmentSizeProbeInterval = one(of: [.seconds(5), .seconds(600)])
        c.connection.clockResolution = one(of: [.zero, .zero, .milliseconds(1), .milliseconds(10)])
        c.connection.maximumRTO = .seconds(8)
        // Nobody gives up on a network that will heal; whoever was left alone by a reset that got lost finds out.
        c.connection.dataRetries = 60
        c.connection.synRetries = 60
        c.connection.synAckRetries = 60
        c.connection.keepAlive = true
        c.connection.keepAliveIdle = .seconds(10)
        c.connection.keepAliveInterval = .seconds(2)
        c.connection.keepAliveProbes = 60
        return c
    }

    /// Runs to the end.
    public func run() -> Outcome {
        let start = network.now
        run(for: Self.badTime)
        if !isComplete {
            network.heal()
            run(for: .seconds(600))
        }
        if !isComplete { fail("not everything came to its end") }
        // What was closed is gone, on all hosts.
        network.run(for: .seconds(600)) { network.nodes.allSatisfy { $0.host.connectionCount == 0 } }
        let left = network.nodes.map(\.host.connectionCount)
        if left.contains(where: { $0 > 0 }), failures.isEmpty { fail("\(left) connections are left") }
        let all = failures + network.violations + flows.flatMap(\.failures)
        return Outcome(
            seed: seed, failures: all, report: all.isEmpty ? "" : network.report, segments: network.segmentsSent,
            digest: network.digest, duration: network.now - start)
    }

    private var failures: [String] = []
    private var isComplete: Bool { flows.allSatisfy(\.isComplete) }

    private func fail(_ sentence: String) {
        failures.append(([sentence] + flows.map(\.progress)).joined(separator: "\n  "))
    }

    private func run(for duration: TimeInterval) {
        for flow in flows { flow.pump() }
        network.run(for: duration) {
            for flow in flows { flow.pump() }
            return isComplete || flows.contains { !$0.failures.isEmpty }
        }
    }
}
