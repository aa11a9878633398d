// One cell of the goodput matrix: a path, an algorithm, and what came of it.
import Impairments
import TCPEngine
import TCPSegments

/// A path and the flows on it.
public struct GoodputCell: Sendable {
    /// What happens to packets beside the queue.
    public enum Disturbance: String, Sendable, CaseIterable {
        /// Independent loss.
        case random
        /// Loss in bursts of eight packets on average.
        case bursts
        /// One packet in a hundred is held back by 5 ms.
        case reorder
        /// One packet in a hundred arrives twice.
        case duplicate
        /// One packet in a hundred is held back by a quarter of the round trip, and 30 in a million are lost.
        case slightly
    }

    /// The congestion control of every flow.
    public let algorithm: CongestionControlAlgorithm
    /// In parts per million.
    public let loss: Int
    /// One way.
    public let delay: TimeInterval
    /// In tenths of the bandwidth-delay product.
    public let queueTenths: Int
    /// What else happens to packets.
    public let disturbance: Disturbance
    /// Bits per second.
    public let rate: Int64
    /// How many bulk flows share the path.
    public let flows: Int
    /// How long after the one before it each flow begins: flows of a real path do not begin at the same instant.
    public let apart: TimeInterval
    /// How congestion marks are asked for; the receiver gives what it is asked for.
    public let ecn: ECNUse
    /// The queue marks what finds more waiting than this, in tenths of the bandwidth-delay product; 0: it marks nothing.
    public let markTenths: Int
    /// The MSS of both ends, in bytes.
    public let maximumSegmentSize: UInt16

    /// A cell of these; see the properties for the units.
    public init(
        _ algorithm: CongestionControlAlgorithm, loss: Int, delay: TimeInterval, queueTenths: Int,
        disturbance: Disturbance = .random, rate: Int64, flows: Int = 1, apart: TimeInterval = .milliseconds(137),
        ecn: ECNUse = .accept, markTenths: Int = 0, maximumSegmentSize: UInt16 = 1460
    ) {
        self.algorithm = algorithm
        self.loss = loss
        self.delay = delay
        self.queueTenths = queueTenths
        self.disturbance = disturbance
        self.rate = rate
        self.flows = flows
        self.apart = apart
        self.ecn = ecn
        self.markTenths = markTenths
        self.maximumSegmentSize = maximumSegmentSize
    }

    /// What the measured time showed. Rates in bits per second of payload.
    public struct Result: Sendable {
        /// All flows together.
        public let goodput: Int64
        /// The link's rate, or what the algorithm's own formula says under this loss.
        public let ideal: Int64
        /// Jain's index in thousandths.
        public let fairness: Int
        /// When the flows had fair shares.
        public let convergence: Convergence
        /// The mean time in the bottleneck's queue.
        public let queueing: TimeInterval
        /// Segments sent again, packets dropped in front of the queue and marked by it, retransmission timeouts, retransmissions
        /// that the receiver reported as needless, reductions of the window that were taken back.
        public let retransmitted, dropped, marked, timeouts, needless, undone: Int
        /// SRTT of the first flow at the end.
        public let roundTrip: TimeInterval

        /// The share of the ideal, in thousandths.
        public var share: Int { ideal > 0 ? Int(goodput * 1000 / ideal) : 0 }
    }

    var roundTrip: TimeInterval { delay * 2 }
    /// When the last flow begins.
    var lastStart: TimeInterval { apart * Int64(max(0, flows - 1)) }

    /// Packets with their headers are this much larger than what they carry: IPv4, TCP, timestamps.
    private var payload: Int { Int(maximumSegmentSize) - 12 }
    private var packet: Int { Int(maximumSegmentSize) + 40 }

    /// The path's bytes in a round trip.
    private var product: Int { Int(Int128(rate) * Int128(roundTrip.nanoseconds) / 8_000_000_000) }

    /// In parts per million.
    private var totalLoss: Int { disturbance == .slightly ? 30 : loss }

    private var path: ImpairmentConfiguration {
        var path = ImpairmentConfiguration()
        path.delay = delay
        path.rate = rate
        // Fewer packets than these no switch has.
        path.queueLimit = max(product * queueTenths / 10, 10 * packet)
        path.markThreshold = product * markTenths / 10
        switch disturbance {
        case .random:
            path.loss = loss
        case .bursts:
            path.burstBegin = loss / 8
            path.burstEnd = 125_000
        case .reorder:
            path.loss = loss
            path.reorder = 10_000
            path.reorderDelay = .milliseconds(5)
        case .duplicate:
            path.loss = loss
            path.duplicate = 10_000
        case .slightly:
            path.loss = totalLoss
            path.reorder = 10_000
            path.reorderDelay = roundTrip / 4
        }
        return path
    }

    /// The most that the path, or under loss the algorithm's own formula, allows. Square roots are exact to the last bit on every
    /// machine (IEEE 754), so this is as good as integers.
    private var ideal: Int64 {
        let share = 1 - Double(totalLoss) / 1e6
        let link = Double(rate) * Double(payload) / Double(packet) * share
        guard totalLoss > 0 else { return Int64(link) }
        // A burst counts once: it is one reduction.
        let p = Double(disturbance == .bursts ? totalLoss / 8 : totalLoss) / 1e6
        // The queue may be as empty as it likes, the packet has to pass the link all the same.
        let time = roundTrip.inSeconds + Double(packet) * 8 / Double(rate)
        let segment = Double(payload) * 8
        // Mathis et al. 1997, with an ACK for every other segment and growth by bytes: sqrt(3/2p).
        let standard = segment / time * (1.5 / p).squareRoot()
        switch algorithm {
        case .reno:
            return Int64(min(link, standard))
        case .cubic:
            // RFC 9438 5.1: (C (3 + beta) / 4 (1 - beta))^(1/4) RTT^(3/4) / p^(3/4), or as the standard.
            let ratio = (time / p).squareRoot()
            let window = (0.4 * 3.7 / 1.2).squareRoot().squareRoot() * ratio * ratio.squareRoot()
            return Int64(min(link, max(standard, segment / time * window)))
        case .bbr:
            return Int64(link)
        }
    }

    /// Runs the cell: `warmUp` first, then `measured`.
    public func run(warmUp: TimeInterval, measured: TimeInterval, seed: UInt64) throws(ConnectionError) -> Result {
        let interval = Convergence.sampleInterval(roundTrip: roundTrip)
        let network = try BottleneckNetwork(
            forward: path, delayBack: delay, maximumSegmentSize: maximumSegmentSize, bufferSize: 16 << 20, ecn: ecn,
            sampleInterval: interval, seed: seed)
        let begin = network.now
        for index in 0..<flows {
            network.addFlow(
                BottleneckNetwork.Flow(startsAt: begin + apart * Int64(index), algorithm: algorithm))
        }
        try network.run(until: begin + warmUp)
        let before = network.flows.map(\.delivered)
        let old = network.counters
        let connections = network.flows.compactMap(\.connection)
        let oldInfo = connections.map(\.info)
        network.resetTransit()
        try network.run(until: begin + warmUp + measured)
        let rates = zip(network.flows, before).map {
            ($0.delivered - $1) * 8 * 1000 / Int(measured.nanoseconds / 1_000_000)
        }
        let newInfo = connections.map(\.info)
        func change(_ value: (ConnectionInfo) -> Int) -> Int {
            newInfo.reduce(0) { $0 + value($1) } - oldInfo.reduce(0) { $0 + value($1) }
        }
        let service = Int(Int128(packet) * 8_000_000_000 / Int128(rate))
        let transit = network.transit.packets > 0 ? network.transit.nanoseconds / network.transit.packets : 0
        return Result(
            goodput: Int64(rates.reduce(0, +)), ideal: ideal, fairness: Convergence.jain(rates),
            convergence: .find(in: network.samples, every: interval, lastStart: lastStart),
            queueing: .nanoseconds(Int64(max(0, transit - Int(delay.nanoseconds) - service))),
            retransmitted: change { Int($0.segmentsRetransmitted) },
            dropped: network.counters.queueDropped - old.queueDropped,
            marked: network.counters.marked - old.marked, timeouts: change { Int($0.timeouts) },
            needless: change { Int($0.needlessRetransmissions) }, undone: change { Int($0.undoneReductions) },
            roundTrip: newInfo.first?.smoothedRTT ?? .zero)
    }
}
