// Bulk transfers through a bottleneck that marks instead of dropping: the sender keeps its queue short, and nothing is lost.
import Impairments
import TCPEngine
import TCPSegments
import TCPSimulation
import Testing

@Suite struct ECNTransferTests {
    struct Case: Sendable, CustomStringConvertible {
        let asks: ECNUse
        let algorithm: CongestionControlAlgorithm
        let feedback: ECNFeedback
        var description: String { "\(asks.rawValue) \(algorithm.rawValue)" }
    }

    static let cases: [Case] = CongestionControlAlgorithm.allCases.flatMap { algorithm in
        [
            Case(asks: .classic, algorithm: algorithm, feedback: .classic),
            Case(asks: .accurate, algorithm: algorithm, feedback: .accurate),
            Case(asks: .off, algorithm: algorithm, feedback: .none),
        ]
    }

    @Test("marks keep the queue short without loss; who does not know them fills the queue", arguments: cases)
    func bottleneck(c: Case) throws {
        var path = ImpairmentConfiguration()
        path.delay = .milliseconds(10)
        path.rate = 10_000_000
        path.queueLimit = 1 << 20
        path.markThreshold = 15_000
        let network = SimulatedNetwork(seed: 1, path: path)
        var client = HostConfiguration()
        client.connection.ecn = c.asks
        client.connection.congestionControl = c.algorithm
        let total = 4 << 20
        let exchange = try Exchange(
            network: network, toListener: total, toConnector: 0, readSize: 1 << 20,
            configurations: (client, HostConfiguration()))
        var info: ConnectionInfo?
        var longest = TimeInterval.zero
        let start = network.now
        network.onEvent = { index, connection, _ in
            guard index == 0 else { return }
            info = connection.info
            longest = max(longest, connection.info.smoothedRTT ?? .zero)
        }
        var ticks = network.now
        let isRight = exchange.run(limit: .seconds(60)) {
            guard network.now >= ticks, let connection = network.nodes[0].host.connections.first else { return }
            ticks = network.now + .milliseconds(100)
            info = connection.info
            // Slow start overshoots, whoever asks.
            if network.now - start > .seconds(1) { longest = max(longest, connection.info.smoothedRTT ?? .zero) }
        }
        #expect(isRight, "\(exchange.progress)")
        let seen = try #require(info)
        #expect(seen.ecn == c.feedback)
        let counters = try #require(network.counters(from: 0, to: 1))
        if c.feedback == .none {
            #expect(counters.marked == 0 && seen.markReactions == 0)
            if c.algorithm != .bbr { #expect(longest > .milliseconds(60)) }
        } else {
            #expect(counters.marked > 0 && seen.marksReported > 0 && seen.markReactions > 0)
            #expect(counters.queueDropped == 0 && seen.segmentsRetransmitted == 0)
            #expect(longest < .milliseconds(60), "\(longest)")
            // 4 MiB at 10 Mbit/s take 3.5 s.
            #expect(network.now - start < .seconds(5), "\(network.now - start)")
            if c.feedback == .accurate {
                // Every mark is counted but those of the last moments.
                #expect(seen.marksReported <= UInt64(counters.marked))
                #expect(
                    seen.marksReported * 10 >= UInt64(counters.marked) * 9,
                    "\(seen.marksReported) of \(counters.marked)")
            }
        }
    }
}
