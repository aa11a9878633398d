// Bulk flows from one host to another through one bottleneck, in virtual time: what the goodput tables are measured with.
import HeapModule
import Impairments
import TCPEngine
import TCPSegments

/// One sender's host, one receiver's host, and a path between them that all flows share. Segments travel as headers: payload
/// has a length and no content, so that seconds at a gigabit a second take seconds.
final class BottleneckNetwork {
    private struct Packet: Comparable {
        let at: Instant
        let order: UInt64
        let isForward: Bool
        let header: SegmentHeader
        let count: Int
        let tuple: FourTuple
        let ecn: ECNField
        let enteredAt: Instant
        static func < (a: Packet, b: Packet) -> Bool { (a.at, a.order) < (b.at, b.order) }
        static func == (a: Packet, b: Packet) -> Bool { a.order == b.order }
    }

    /// A flow: it sends as much as it may from `startsAt` on.
    final class Flow {
        let startsAt: Instant
        let algorithm: CongestionControlAlgorithm
        fileprivate(set) var connection: Connection?
        fileprivate(set) var delivered = 0
        fileprivate var port: UInt16 = 0

        init(startsAt: Instant, algorithm: CongestionControlAlgorithm) {
            self.startsAt = startsAt
            self.algorithm = algorithm
        }
    }

    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private(set) var flows: [Flow] = []
    /// Sums over the data packets that have arrived: how long they were on their way, and how many they were.
    private(set) var transit = (nanoseconds: 0, packets: 0)
    /// What each flow had delivered at the beginning, and `sampleInterval` after each sample.
    private(set) var samples: [[Int]] = []

    private let sender: Host
    private let receiver: Host
    private let senderAddress = IPAddress(10, 0, 0, 1)
    private let receiverAddress = IPAddress(10, 0, 0, 2)
    private let properties: LinkProperties
    private var forward: Impairment
    private var backward: Impairment
    private var packets = Heap<Packet>()
    private var order: UInt64 = 0
    private let sampleInterval: TimeInterval
    private var nextSample: Instant
    private let blank = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)
    private let listener: Listener
    private var accepted: [Connection] = []

    init(
        forward: ImpairmentConfiguration, delayBack: TimeInterval, maximumSegmentSize: UInt16, bufferSize: Int,
        ecn: ECNUse, sampleInterval: TimeInterval, seed: UInt64
    ) throws(ConnectionError) {
        self.sampleInterval = sampleInterval
        nextSample = now
        var configuration = HostConfiguration()
        configuration.connection.sendBufferSize = bufferSize
        configuration.connection.receiveBufferSize = bufferSize
        var asking = configuration
        asking.connection.ecn = ecn
        sender = Host(configuration: asking, seed: seed)
        receiver = Host(configuration: configuration, seed: seed &+ 1)
        properties = LinkProperties(
            maximumSegmentSize: maximumSegmentSize, maximumSegmentLifetime: .seconds(1), computesChecksum: false,
            carriesECN: true)
        self.forward = Impairment(forward, seed: seed &* 31)
        var back = ImpairmentConfiguration()
        back.delay = delayBack
        backward = Impairment(back, seed: seed &* 37)
        sender.addLink(
            LinkID(1), properties, for: AddressPair(local: senderAddress, remote: receiverAddress), at: now)
        receiver.addLink(
            LinkID(1), properties, for: AddressPair(local: receiverAddress, remote: senderAddress), at: now)
        listener = try receiver.listen(on: Endpoint(receiverAddress, 80), backlog: 64)
        blank.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit { blank.deallocate() }

    /// What was done to packets on the way to the receiver.
    var counters: Impairment.Counters { forward.counters }

    func addFlow(_ flow: Flow) { flows.append(flow) }

    /// Forgets the transit times so far.
    func resetTransit() { transit = (0, 0) }

    /// Runs until `end`.
    func run(until end: Instant) throws(ConnectionError) {
        while true {
            try startFlows()
            fill()
            drain()
            var next = end
            if let arrival = packets.min?.at { next = min(next, arrival) }
            if let due = sender.nextTimeout { next = min(next, due) }
            if let due = receiver.nextTimeout { next = min(next, due) }
            for flow in flows where flow.connection == nil { next = min(next, flow.startsAt) }
            takeSamples(before: min(next, end))
            guard next < end else { break }
            now = max(now, next)
            if let packet = packets.min, packet.at <= now {
                packets.removeMin()
                deliver(packet)
            }
            if let due = sender.nextTimeout, due <= now { sender.handleTimeout(at: now) }
            if let due = receiver.nextTimeout, due <= now { receiver.handleTimeout(at: now) }
        }
        now = max(now, end)
        takeSamples(before: end + .nanoseconds(1))
    }

    /// Nothing arrives from now until `instant`. The hosts are not asked: how often samples are taken changes nothing.
    private func takeSamples(before instant: Instant) {
        while nextSample < instant {
            samples.append(flows.map(\.delivered))
            nextSample = nextSample + sampleInterval
        }
    }

    private func startFlows() throws(ConnectionError) {
        for flow in flows where flow.connection == nil && flow.startsAt <= now {
            var configuration = sender.configuration.connection
            configuration.congestionControl = flow.algorithm
            let connection = try sender.open(
                from: nil, localAddress: senderAddress, to: Endpoint(receiverAddress, 80), configuration: configuration,
                at: now)
            sender.addLink(
                LinkID(1), properties, for: AddressPair(local: senderAddress, remote: receiverAddress), at: now)
            flow.connection = connection
            flow.port = connection.tuple.local.port
        }
    }

    /// The senders always have more to send; what they send has no content.
    private func fill() {
        for flow in flows {
            guard let connection = flow.connection, connection.sendSpace >= 65_536 else { continue }
            var room = true
            while room {
                let n = (try? sender.withSendSpace(connection, maximum: 1 << 20, at: now) { $0.count }) ?? 0
                room = n > 0
            }
        }
    }

    private func drain() {
        var progress = true
        while progress {
            progress = false
            while let output = sender.poll(at: now) {
                progress = true
                if case .transmit(let transmission, let tuple, _) = output { send(transmission, tuple, forward: true) }
            }
            while let output = receiver.poll(at: now) {
                progress = true
                switch output {
                case .transmit(let transmission, let tuple, _): send(transmission, tuple, forward: false)
                case .incoming(let listener): if let c = receiver.accept(listener) { accepted.append(c) }
                case .event(let connection, .readable): read(connection)
                case .event, .linkWanted, .pending: break
                }
            }
        }
    }

    private func read(_ connection: Connection) {
        let port = connection.tuple.remote.port
        var count = 0
        repeat {
            count = receiver.withReceivedBytes(connection, at: now) { $0.count }
            if let flow = flows.first(where: { $0.port == port }) { flow.delivered += count }
        } while count > 0
    }

    private func send(_ transmission: borrowing Transmission, _ tuple: FourTuple, forward isForward: Bool) {
        for i in 0..<transmission.segmentCount {
            let (header, _, count) = transmission.segment(i)
            // An IPv4 header goes in front of TCP's.
            let size = 20 + header.encodedLength + count
            let canBeMarked = transmission.ecn != .notCapable
            let deliveries =
                isForward
                ? forward.deliveries(size: size, canBeMarked: canBeMarked, at: now)
                : backward.deliveries(size: size, canBeMarked: canBeMarked, at: now)
            for delivery in deliveries {
                order += 1
                packets.insert(
                    Packet(
                        at: delivery.at, order: order, isForward: isForward, header: header, count: count,
                        tuple: tuple.reversed, ecn: delivery.isMarked ? .congestionExperienced : transmission.ecn,
                        enteredAt: now))
            }
        }
    }

    private func deliver(_ packet: Packet) {
        if packet.isForward {
            transit.nanoseconds += Int((now - packet.enteredAt).nanoseconds)
            transit.packets += 1
        }
        (packet.isForward ? receiver : sender).handle(
            packet.header, payload: UnsafeRawBufferPointer(rebasing: blank[..<packet.count]), tuple: packet.tuple,
            on: LinkID(1), ecn: packet.ecn, at: now)
    }
}
