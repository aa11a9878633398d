// Paths that swallow what is larger than they take, without a word: transfers come through, with the largest segments that do.
import Impairments
import TCPEngine
import TCPSegments
import TCPSimulation
import Testing

@Suite struct PathMTUTests {
    struct Case: Sendable, CustomStringConvertible {
        let largest: Int
        let probing: SegmentSizeProbing
        let algorithm: CongestionControlAlgorithm
        var selectiveAcks = true
        var description: String { "\(largest) \(probing.rawValue) \(algorithm.rawValue) \(selectiveAcks)" }
    }

    private static func hosts(_ c: Case, interval: TimeInterval = .seconds(600)) -> HostConfiguration {
        var host = HostConfiguration()
        host.connection.segmentSizeProbing = c.probing
        host.connection.segmentSizeProbeInterval = interval
        host.connection.congestionControl = c.algorithm
        host.connection.selectiveAcks = c.selectiveAcks
        return host
    }

    private static func path(_ largest: Int) -> ImpairmentConfiguration {
        var path = ImpairmentConfiguration()
        path.delay = .milliseconds(5)
        path.rate = 100_000_000
        path.queueLimit = 4 << 20
        path.largestPacket = largest
        return path
    }

    static let cases: [Case] = [560, 900, 1400].flatMap { largest in
        [SegmentSizeProbing.always, .afterBlackHole].flatMap { probing in
            CongestionControlAlgorithm.allCases.map { Case(largest: largest, probing: probing, algorithm: $0) }
                + [Case(largest: largest, probing: probing, algorithm: .cubic, selectiveAcks: false)]
        }
    }

    @Test("the largest segment that passes is found, to within eight bytes", arguments: cases)
    func found(c: Case) throws {
        let network = SimulatedNetwork(seed: 1, path: Self.path(c.largest))
        network.checksInvariants = false
        let host = Self.hosts(c)
        let exchange = try Exchange(
            network: network, toListener: 2 << 20, toConnector: 0, readSize: 1 << 20, configurations: (host, host))
        var last: ConnectionInfo?
        let isRight = exchange.run(limit: .seconds(60)) {
            if let connection = network.nodes[0].host.connections.first { last = connection.info }
        }
        #expect(isRight, "\(exchange.progress)")
        let info = try #require(last)
        // 20 bytes of header; timestamps are options, which count.
        let size = info.maximumSegmentSize + 12
        #expect(size <= c.largest - 20 && size > c.largest - 20 - 8, "\(size) of \(c.largest - 20)")
        #expect(info.sizeProbes > 0 && info.failedSizeProbes > 0)
        if c.probing == .always, c.largest > 1044 {
            // Each failed probe was lost, and none of them was taken for congestion.
            #expect(info.recoveries == 0 && info.timeouts == 0, "\(info)")
            #expect(info.slowStartThreshold == .max)
        }
    }

    @Test("without a search nothing large comes through")
    func off() throws {
        let c = Case(largest: 1200, probing: .off, algorithm: .cubic)
        let network = SimulatedNetwork(seed: 1, path: Self.path(c.largest))
        let host = Self.hosts(c)
        let exchange = try Exchange(
            network: network, toListener: 100_000, toConnector: 0, configurations: (host, host))
        #expect(!exchange.run(limit: .seconds(60)))
    }

    @Test(
        "a path that takes everything is left alone, unless segments are to grow from the base",
        arguments: [
            SegmentSizeProbing.off, .afterBlackHole, .always,
        ])
    func healthy(probing: SegmentSizeProbing) throws {
        let c = Case(largest: 0, probing: probing, algorithm: .cubic)
        let network = SimulatedNetwork(seed: 1, path: Self.path(0))
        let host = Self.hosts(c)
        let exchange = try Exchange(
            network: network, toListener: 2 << 20, toConnector: 0, readSize: 1 << 20, configurations: (host, host))
        var last: ConnectionInfo?
        let isRight = exchange.run(limit: .seconds(60)) {
            if let connection = network.nodes[0].host.connections.first { last = connection.info }
        }
        #expect(isRight, "\(exchange.progress)")
        let info = try #require(last)
        #expect(info.segmentsRetransmitted == 0 && info.failedSizeProbes == 0)
        #expect((info.sizeProbes > 0) == (probing == .always))
        #expect(info.maximumSegmentSize > 1448 - 8)
    }

    @Test("a path that gets better is found out about after the interval (RFC 4821 7.3)")
    func better() throws {
        let c = Case(largest: 800, probing: .afterBlackHole, algorithm: .cubic)
        let network = SimulatedNetwork(seed: 1, path: Self.path(c.largest))
        let host = Self.hosts(c, interval: .milliseconds(20))
        let exchange = try Exchange(
            network: network, toListener: 8 << 20, toConnector: 0, readSize: 1 << 20, configurations: (host, host))
        var sizes: [Int] = []
        var isHealed = false
        network.checksInvariants = false
        let isRight = exchange.run(limit: .seconds(60)) {
            guard let info = network.nodes[0].host.connections.first?.info else { return }
            if sizes.last != info.maximumSegmentSize { sizes.append(info.maximumSegmentSize) }
            if !isHealed, info.bytesSent > 4 << 20 {
                isHealed = true
                network.heal()
            }
        }
        #expect(isRight, "\(exchange.progress)")
        #expect(sizes.contains { $0 <= 768 && $0 > 760 }, "\(sizes)")
        #expect(try #require(sizes.last) > 1448 - 8, "\(sizes)")
    }
}
