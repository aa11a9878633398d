// Two hosts in virtual time over seeded bad networks: every byte arrives, whatever happens to the segments.
import Foundation
import Impairments
import TCPEngine
import TCPSegments
import TCPSimulation
import Testing

/// How many seeds: 200, or what the environment variable CHITCP_SEEDS says.
private let seedCount = UInt64(ProcessInfo.processInfo.environment["CHITCP_SEEDS"] ?? "") ?? 200
/// Where they begin: CHITCP_FIRST_SEED reproduces a failure.
private let firstSeed = UInt64(ProcessInfo.processInfo.environment["CHITCP_FIRST_SEED"] ?? "") ?? 0

/// A network and two hosts that the seed alone decides.
private func makeExchange(seed: UInt64) throws -> Exchange {
    var random = SeededGenerator(seed: seed)
    func below(_ n: Int64) -> Int { Int(random.below(n)) }
    var path = ImpairmentConfiguration()
    path.loss = [0, 1_000, 10_000, 50_000, 100_000, 200_000, 300_000][below(7)]
    if below(4) == 0 {
        path.burstBegin = 10_000
        path.burstEnd = 300_000
        path.loss = min(path.loss, 50_000)
    }
    path.reorder = [0, 10_000, 100_000, 300_000][below(4)]
    path.reorderDelay = .microseconds(Int64(100 + below(30_000)))
    path.duplicate = [0, 10_000, 200_000][below(3)]
    path.corrupt = [0, 0, 10_000][below(3)]
    path.delay = .microseconds(Int64(10 + below(80_000)))
    path.jitter = .microseconds(Int64(below(5_000)))
    if below(3) == 0 {
        path.rate = Int64(100_000 * (1 + below(1_000)))
        path.queueLimit = 20_000 + below(200_000)
    }
    // Nothing gets through for a while, once or twice. By a generator of its own: the other seeds stay what they were.
    if seed % 4 == 3 {
        var others = SeededGenerator(seed: ~seed)
        var start = Instant(nanoseconds: 1_000_000_000) + .milliseconds(others.below(500))
        for _ in 0...others.below(2) {
            let end = start + .milliseconds(10 + others.below(5_000))
            path.partitions.append(start..<end)
            start = end + .milliseconds(1 + others.below(3_000))
        }
    }
    // Drawn apart, so that the rest of a seed's run stays what it was.
    var choices = SeededGenerator(seed: seed ^ 0xC0FFEE)
    let mss = UInt16([1, 87, 536, 1460, 8960, 65_495][below(6)])
    func configuration() -> HostConfiguration {
        var c = HostConfiguration()
        // 2^32 - k or 2^31 - k throughout: streams cross the wrap or the sign, or come close.
        let start: [UInt32] = [
            .max &- 599, .max, .max &- 1, .max &- 5_000, .max &- 40_000, (1 << 31) - 1, (1 << 31) - 5_000,
        ]
        c.initialSequenceNumber = SequenceNumber(start[below(Int64(start.count))])
        c.connection.receiveBufferSize = [500, 4096, 65_535, 1 << 20][below(4)]
        c.connection.sendBufferSize = [1000, 4096, 1 << 16, 1 << 20][below(4)]
        c.connection.noDelay = below(2) == 0
        c.connection.windowScaling = below(4) != 0
        c.connection.dataRetries = 60
        c.connection.synRetries = 60
        c.connection.synAckRetries = 60
        c.connection.maximumRTO = .seconds(10)
        c.connection.congestionControl = CongestionControlAlgorithm.allCases[Int(choices.below(3))]
        if choices.below(4) == 0 {
            c.connection.recovery = RecoveryFeatures(rawValue: UInt8(choices.below(32)))
            c.connection.selectiveAcks = choices.below(2) == 0
            c.connection.timestamps = choices.below(2) == 0
            c.connection.pacing = choices.below(2) == 0
        }
        return c
    }
    let size = mss == 1 ? 300 : 40_000
    let network = SimulatedNetwork(seed: seed, path: path, maximumSegmentSize: mss)
    return try Exchange(
        network: network, toListener: below(Int64(size)), toConnector: below(Int64(size)),
        readSize: 1 + below(20_000), configurations: (configuration(), configuration()))
}

@Suite struct SeedTests {
    @Test(
        "every byte arrives over seeded networks with loss, reordering, duplication, corruption and partitions",
        arguments: 0..<8)
    func seeds(slice: UInt64) throws {
        for seed in stride(from: firstSeed + slice, to: firstSeed + seedCount, by: 8) {
            let exchange = try makeExchange(seed: seed)
            let ok = exchange.run(limit: .seconds(36_000))
            #expect(
                ok,
                "\(exchange.progress), wrong byte at \(String(describing: exchange.firstWrongByte))\n\(exchange.network.report)"
            )
            // What was closed is gone, on both hosts.
            exchange.network.run(for: .seconds(3_600))
            let left = exchange.network.nodes.map(\.host.connectionCount)
            #expect(!ok || left == [0, 0], "seed \(seed): \(left) connections are left\n\(exchange.network.report)")
        }
    }

    @Test("two hosts that find each other's ACKs out of their windows do not answer each other for ever")
    func noAckStorm() throws {
        // Found by this seed: with duplication every needless answer begot more of them.
        let exchange = try makeExchange(seed: 2717)
        #expect(exchange.run(limit: .seconds(36_000)), "\(exchange.progress)")
        #expect(exchange.network.segmentsSent < 20_000, "\(exchange.network.segmentsSent) segments")
    }

    @Test("the same seed gives the same run")
    func reproducible() throws {
        let runs = try (0..<2).map { _ in
            let exchange = try makeExchange(seed: 7)
            _ = exchange.run(limit: .seconds(36_000))
            return exchange.network.report
        }
        #expect(runs[0] == runs[1])
    }
}
