// Hosts in virtual time, joined by seeded bad paths. Segments travel as bytes with their checksums.
import HeapModule
import Impairments
import TCPEngine
import TCPSegments

/// A number of hosts, the paths between them, and one virtual clock. The same seed, configuration and calls give the same
/// run on every machine.
public final class SimulatedNetwork {
    /// One host and its address.
    public struct Node {
        /// The host's address.
        public let address: IPAddress
        /// Its TCP.
        public let host: Host
    }

    /// What is on its way.
    private struct Packet: Comparable {
        let at: Instant
        let order: UInt64
        let from: Int
        let to: Int
        let bytes: [UInt8]
        let ecn: ECNField
        static func < (a: Packet, b: Packet) -> Bool { (a.at, a.order) < (b.at, b.order) }
        static func == (a: Packet, b: Packet) -> Bool { a.order == b.order }
    }

    /// The hosts, in the order in which they were added.
    public private(set) var nodes: [Node] = []
    /// The virtual clock.
    public private(set) var now = Instant(nanoseconds: 1_000_000_000)
    /// Sentences about what went wrong: broken invariants. Empty in a good run.
    public private(set) var violations: [String] = []
    /// Segments that left a host.
    public private(set) var segmentsSent = 0
    /// Segments whose checksum was wrong when they arrived.
    public private(set) var checksumDrops = 0
    /// Hears of every event, of every accept queue that has grown.
    public var onEvent: (Int, Connection, ConnectionEvent) -> Void = { _, _, _ in }
    /// Hears of a listener whose accept queue has grown.
    public var onIncoming: (Int, Listener) -> Void = { _, _ in }
    /// Check the invariants after every step. On in debug builds.
    public var checksInvariants: Bool

    /// A hash of every segment that left a host, of when it did, and of whether it got lost.
    public private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325

    private let seed: UInt64
    private let maximumSegmentSize: UInt16
    private var paths: [AddressPair: Impairment] = [:]
    private var defaultPath: ImpairmentConfiguration
    private var wakeUps = Heap<Int64>()
    private var packets = Heap<Packet>()
    private var order: UInt64 = 0
    private var trace: [String] = []
    private var traceStart = 0
    private static let traceLength = 60

    /// A network without hosts. Every direction between two hosts gets its own generator, derived from `seed`.
    public init(seed: UInt64, path: ImpairmentConfiguration, maximumSegmentSize: UInt16 = 1460) {
        self.seed = seed
        self.maximumSegmentSize = maximumSegmentSize
        defaultPath = path
        #if DEBUG
            checksInvariants = true
        #else
            checksInvariants = false
        #endif
    }

    /// Adds a host with the address 10.0.0.n and returns its index.
    @discardableResult
    public func addHost(_ configuration: HostConfiguration = HostConfiguration()) -> Int {
        let address = IPAddress(v4: 0x0A00_0001 + UInt32(nodes.count))
        nodes.append(
            Node(address: address, host: Host(configuration: configuration, seed: seed &+ UInt64(nodes.count))))
        return nodes.count - 1
    }

    /// What has been done to segments from one host to another.
    public func counters(from: Int, to: Int) -> Impairment.Counters? {
        paths[AddressPair(local: nodes[from].address, remote: nodes[to].address)]?.counters
    }

    /// Opens a connection from one host to a port of another.
    public func connect(
        from: Int, to: Int, port: UInt16, configuration: ConnectionConfiguration? = nil, fastOpen: FastOpenUse = .none
    ) throws(ConnectionError) -> Connection {
        try nodes[from].host.open(
            from: nil, localAddress: nodes[from].address, to: Endpoint(nodes[to].address, port),
            configuration: configuration, fastOpen: fastOpen, at: now)
    }

    /// From now on every path is perfect but for its delay.
    public func heal() {
        var healthy = ImpairmentConfiguration()
        healthy.delay = defaultPath.delay
        defaultPath = healthy
        paths = [:]
    }

    /// Has a step happen at `time`, for users who wait for it.
    public func wake(at time: Instant) {
        if time > now { wakeUps.insert(time.nanoseconds) }
    }

    // MARK: Steps

    /// Takes all outputs of all hosts; then moves to the next arrival or deadline and lets it happen. False if nothing is
    /// left to happen before `limit`.
    public func step(until limit: Instant) -> Bool {
        drain()
        let deadline = nodes.compactMap(\.host.nextTimeout).min()
        let arrival = packets.min?.at
        let wakeUp = wakeUps.min.map { Instant(nanoseconds: $0) }
        guard let next = [deadline, arrival, wakeUp].compactMap({ $0 }).min(), next <= limit else { return false }
        now = max(now, next)
        while let first = wakeUps.min, first <= now.nanoseconds { wakeUps.removeMin() }
        if let packet = packets.min, packet.at <= now {
            packets.removeMin()
            deliver(packet)
        }
        for node in nodes where node.host.nextTimeout.map({ $0 <= now }) ?? false { node.host.handleTimeout(at: now) }
        drain()
        if checksInvariants {
            for node in nodes { violations += node.host.invariantViolations(at: now) }
        }
        return violations.isEmpty
    }

    /// Runs until `done`, or until nothing is left, or for `duration` of virtual time.
    public func run(for duration: TimeInterval, until done: () -> Bool = { false }) {
        let limit = now + duration
        while !done(), step(until: limit) {}
    }

    /// Takes all outputs of all hosts.
    public func drain() {
        var progress = true
        while progress {
            progress = false
            for index in nodes.indices {
                while let output = nodes[index].host.poll(at: now) {
                    progress = true
                    take(output, of: index)
                }
            }
        }
    }

    private func take(_ output: Output, of index: Int) {
        let host = nodes[index].host
        switch output {
        case .event(let connection, let event): onEvent(index, connection, event)
        case .incoming(let listener): onIncoming(index, listener)
        case .pending(let pending): _ = host.open(pending, userData: nil, eventMask: [], at: now)
        case .linkWanted(let addresses, _):
            guard let peer = nodes.firstIndex(where: { $0.address == addresses.remote }) else {
                host.linkFailed(addresses, .unreachable, at: now)
                return
            }
            host.addLink(LinkID(UInt32(peer)), properties, for: addresses, at: now)
        case .transmit(let transmission, let tuple, _):
            for i in 0..<transmission.segmentCount { send(transmission, segment: i, tuple, from: index) }
        }
    }

    private var properties: LinkProperties {
        LinkProperties(
            maximumSegmentSize: maximumSegmentSize, maximumSegmentLifetime: .seconds(1), computesChecksum: true,
            carriesECN: true, hidesMTU: true)
    }

    private func send(_ transmission: Transmission, segment i: Int, _ tuple: FourTuple, from index: Int) {
        guard let to = nodes.firstIndex(where: { $0.address == tuple.remote.address }) else { return }
        let (header, offset, count) = transmission.segment(i)
        segmentsSent += 1
        var bytes = [UInt8](repeating: 0, count: 60 + count)
        let headerLength = bytes.withUnsafeMutableBytes { buffer -> Int in
            guard let base = buffer.baseAddress else { return 0 }
            let n = header.encode(into: base)
            transmission.payload.copyBytes(from: offset, count: count, to: base + n)
            return n
        }
        bytes.removeLast(60 - headerLength)
        let sum = bytes.withUnsafeBytes {
            InternetChecksum.checksum(of: $0, from: tuple.local.address, to: tuple.remote.address)
        }
        bytes[16] = UInt8(sum >> 8)
        bytes[17] = UInt8(sum & 0xFF)
        let deliveries =
            paths[
                tuple.addresses,
                default: Impairment(defaultPath, seed: seed &* 31 &+ UInt64(index) << 8 &+ UInt64(to))
            ].deliveries(size: bytes.count, canBeMarked: transmission.ecn != .notCapable, at: now)
        hash(header, count, tuple, lost: deliveries.isEmpty)
        note(
            "\(now) \(nodes[index].address) -> \(nodes[to].address) \(header) len \(count)\(deliveries.isEmpty ? " LOST" : "")"
        )
        for delivery in deliveries {
            var copy = bytes
            if let bit = delivery.flippedBit { copy[bit / 8] ^= 1 << UInt8(bit % 8) }
            order += 1
            packets.insert(
                Packet(
                    at: delivery.at, order: order, from: index, to: to, bytes: copy,
                    ecn: delivery.isMarked ? .congestionExperienced : transmission.ecn))
        }
    }

    private func deliver(_ packet: Packet) {
        let from = nodes[packet.from].address
        let to = nodes[packet.to].address
        packet.bytes.withUnsafeBytes { bytes in
            guard InternetChecksum.isValid(bytes, from: from, to: to),
                let (header, offset) = try? SegmentDecoder.decode(bytes)
            else {
                checksumDrops += 1
                return
            }
            let tuple = FourTuple(
                local: Endpoint(to, header.destinationPort), remote: Endpoint(from, header.sourcePort))
            let link = LinkID(UInt32(packet.from))
            nodes[packet.to].host.addLink(link, properties, for: tuple.addresses, at: now)
            nodes[packet.to].host.handle(
                header, payload: UnsafeRawBufferPointer(rebasing: bytes[offset...]), tuple: tuple, on: link,
                ecn: packet.ecn, at: now)
        }
    }

    // MARK: Reports

    /// FNV-1a over what makes a segment what it is.
    private func hash(_ header: SegmentHeader, _ count: Int, _ tuple: FourTuple, lost: Bool) {
        let parts: [UInt64] = [
            UInt64(bitPattern: now.nanoseconds), tuple.local.address.low, tuple.remote.address.low,
            UInt64(tuple.local.port) << 16 | UInt64(tuple.remote.port), UInt64(header.sequenceNumber.value),
            UInt64(header.acknowledgmentNumber.value),
            UInt64(header.controlBits.rawValue) << 16 | UInt64(header.window.value), UInt64(count), lost ? 1 : 0,
        ]
        for part in parts {
            digest ^= part
            digest = digest &* 0x0000_0100_0000_01b3
        }
    }

    private func note(_ line: String) {
        if trace.count < Self.traceLength {
            trace.append(line)
        } else {
            trace[traceStart] = line
            traceStart = (traceStart + 1) % Self.traceLength
        }
    }

    /// What a failing run prints: the seed, what is broken, the last segments, and every control block.
    public var report: String {
        var lines = ["seed \(seed) at \(now), \(segmentsSent) segments"]
        lines += violations
        lines += trace[traceStart...] + trace[..<traceStart]
        for node in nodes {
            for connection in node.host.connections {
                lines.append("\(connection.tuple.local) > \(connection.tuple.remote): \(connection.info)")
            }
        }
        return lines.joined(separator: "\n")
    }
}
