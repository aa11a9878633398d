// Buffers that begin small and grow: a long fat path is filled with them, and only with them.
import Impairments
import TCPEngine
import TCPSegments
import TCPSimulation
import Testing

@Suite struct AutotuningTests {
    struct Case: Sendable {
        /// What the receiver's and the sender's buffers may grow to; 0: they stay at 64 KiB.
        let receive, send: Int
        let algorithm: CongestionControlAlgorithm
        var fills: Bool { receive > 0 && send > 0 }
    }

    static let cases: [Case] = CongestionControlAlgorithm.allCases.flatMap {
        [
            Case(receive: 6 << 20, send: 4 << 20, algorithm: $0), Case(receive: 6 << 20, send: 0, algorithm: $0),
            Case(receive: 0, send: 4 << 20, algorithm: $0), Case(receive: 0, send: 0, algorithm: $0),
        ]
    }

    /// Runs until `total` bytes have arrived. Returns how long the second half took, and what the ends ended with.
    private func transfer(
        _ c: Case, total: Int, sender: HostConfiguration, receiver: HostConfiguration
    ) throws -> (half: TimeInterval, send: Int, receive: Int) {
        var path = ImpairmentConfiguration()
        path.delay = .milliseconds(75)
        path.rate = 100_000_000
        // BBR's startup has two products and what ACKs deliver in bunches on their way: it should find room.
        path.queueLimit = 3 << 20
        let network = SimulatedNetwork(seed: 1, path: path)
        network.checksInvariants = false
        let exchange = try Exchange(
            network: network, toListener: total, toConnector: 0, readSize: 1 << 20, configurations: (sender, receiver))
        var middle: Instant?
        var sizes = (send: 0, receive: 0)
        let isRight = exchange.run(limit: .seconds(120)) {
            if let info = network.nodes[0].host.connections.first?.info { sizes.send = info.sendBufferSize }
            guard let info = network.nodes[1].host.connections.first?.info else { return }
            sizes.receive = info.receiveBufferSize
            if middle == nil, info.bytesReceived >= total / 2 { middle = network.now }
        }
        #expect(isRight, "\(exchange.progress)")
        return (network.now - (try #require(middle)), sizes.send, sizes.receive)
    }

    private func hosts(_ c: Case) -> (HostConfiguration, HostConfiguration) {
        var sender = HostConfiguration()
        sender.connection.sendBufferSize = 64 << 10
        sender.connection.maximumSendBuffer = c.send
        sender.connection.congestionControl = c.algorithm
        var receiver = HostConfiguration()
        receiver.connection.receiveBufferSize = 64 << 10
        receiver.connection.maximumReceiveBuffer = c.receive
        return (sender, receiver)
    }

    @Test(
        "100 Mbit/s over 150 ms are filled from buffers of 64 KiB if both may grow, and crawl if one may not",
        arguments: cases)
    func longFatPath(c: Case) throws {
        let (sender, receiver) = hosts(c)
        let total = c.fills ? 16 << 20 : 2 << 20
        let result = try transfer(c, total: total, sender: sender, receiver: receiver)
        let rate = Int64(total / 2 * 8) * 1_000_000 / (result.half.nanoseconds / 1000)
        if c.fills {
            #expect(rate > 75_000_000, "\(rate) bit/s, \(result)")
            // The path holds 1.9 MB.
            #expect(result.send > 1_900_000 && result.receive > 1_900_000, "\(result)")
            #expect(result.send <= 4 << 20 && result.receive <= 6 << 20, "\(result)")
        } else {
            // 64 KiB a round trip are 3.5 Mbit/s.
            #expect(rate < 4_000_000, "\(rate) bit/s, \(result)")
            #expect(c.send > 0 || result.send == 64 << 10)
            #expect(c.receive > 0 || result.receive == 64 << 10)
        }
    }

    @Test("a host's budget bounds what its buffers grow by")
    func budget() throws {
        let c = Case(receive: 6 << 20, send: 4 << 20, algorithm: .cubic)
        var (sender, receiver) = hosts(c)
        sender.bufferBudget = 100_000
        receiver.bufferBudget = 150_000
        let result = try transfer(c, total: 2 << 20, sender: sender, receiver: receiver)
        #expect(result.send <= 64 << 10 + 100_000)
        #expect(result.receive <= (64 << 10) + 150_000 && result.receive > 64 << 10)
    }
}
