// Two hosts in one thread and the packets between them, in virtual time.
import Glibc
import TCPEngine
import TCPSegments

/// Payload bytes of a full segment. The MSS announced is 12 bytes more: every segment carries timestamps.
let segmentSize = 1460

/// Nanoseconds of CPU this process has used.
func cpuTime() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
}

/// Memory of this process in bytes: what is resident.
func residentMemory() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard fgets(&line, Int32(line.count), file) != nil else { return 0 }
    let fields = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }.split(separator: " ")
    return fields.count > 1 ? (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
}

/// How the packets travel.
struct Wire {
    /// One segment of this many is lost; 0: none.
    var lossOneIn: UInt64 = 0
    /// The receiving host is polled after this many segments: 1, as if each came alone; `Int.max`, when all that leaves
    /// together has arrived.
    var burst = Int.max
}

/// Two hosts, and packets that go from one straight into the other.
final class Pair {
    let client: Host
    let server: Host
    let clientAddress = IPAddress(10, 0, 0, 1)
    let serverAddress = IPAddress(10, 0, 0, 2)
    let wire: Wire
    var now = Instant(nanoseconds: 1_000_000_000)
    var dataSegments = 0
    var acknowledgments = 0
    var transmissions = 0
    private let packets = (
        UnsafeMutableRawPointer.allocate(byteCount: 60 + 65_535, alignment: 64),
        UnsafeMutableRawPointer.allocate(byteCount: 60 + 65_535, alignment: 64)
    )
    private var random: UInt64 = 0x9e37_79b9_7f4a_7c15

    init(window: Int = 1 << 20, wire: Wire = Wire()) {
        self.wire = wire
        var configuration = HostConfiguration()
        configuration.connection.sendBufferSize = window
        configuration.connection.receiveBufferSize = window
        configuration.connection.maximumSendBuffer = 0
        configuration.connection.maximumReceiveBuffer = 0
        client = Host(configuration: configuration, seed: 1)
        server = Host(configuration: configuration, seed: 2)
        let properties = LinkProperties(
            maximumSegmentSize: UInt16(segmentSize + 12), maximumSegmentLifetime: .seconds(1), computesChecksum: true)
        client.addLink(
            LinkID(1), properties, for: AddressPair(local: clientAddress, remote: serverAddress), at: now)
        server.addLink(
            LinkID(1), properties, for: AddressPair(local: serverAddress, remote: clientAddress), at: now)
        self.properties = properties
    }
    private let properties: LinkProperties

    deinit {
        packets.0.deallocate()
        packets.1.deallocate()
    }

    /// Plays one output of the client (or of the server) into the other host; false if there is none.
    func step(fromClient: Bool) throws -> Bool {
        try fromClient ? play(client, into: server, packets.0) : play(server, into: client, packets.1)
    }

    private func play(_ host: Host, into target: Host, _ packet: UnsafeMutableRawPointer) throws -> Bool {
        switch host.poll(at: now) {
        case nil: return false
        case .transmit(let transmission, let tuple, _):
            transmissions += 1
            try deliver(transmission, tuple, to: target, packet)
        case .event, .incoming, .pending: break
        case .linkWanted(let addresses, _): host.addLink(LinkID(1), properties, for: addresses, at: now)
        }
        return true
    }

    /// Writes each segment into a packet with its checksum, checks it, decodes it, and hands it over.
    private func deliver(
        _ transmission: borrowing Transmission, _ tuple: FourTuple, to target: Host, _ base: UnsafeMutableRawPointer
    ) throws {
        let arrival = tuple.reversed
        var arriving = SegmentHeader.blank
        for index in 0..<transmission.segmentCount {
            let (header, offset, count) = transmission.segment(index)
            let headerLength = header.encode(into: base)
            let bytes = UnsafeRawBufferPointer(start: base, count: headerLength + count)
            // The payload first: the header's bytes, just written one by one, are then ready to be read eight at a time.
            var payloadSum = InternetChecksum()
            transmission.payload.copyBytes(from: offset, count: count, to: base + headerLength, checksum: &payloadSum)
            var sum = InternetChecksum()
            sum.addPseudoHeader(from: tuple.local.address, to: tuple.remote.address, length: bytes.count)
            sum.add(UnsafeRawBufferPointer(start: base, count: headerLength))
            sum.add(payloadSum)
            // The checksum's place in the header (RFC 9293 3.1), in network order.
            base.storeBytes(of: sum.value.bigEndian, toByteOffset: 16, as: UInt16.self)
            if count > 0 { dataSegments += 1 } else { acknowledgments += 1 }
            if wire.lossOneIn > 0, count > 0, isLost() { continue }
            guard InternetChecksum.isValid(bytes, from: tuple.local.address, to: tuple.remote.address) else {
                preconditionFailure("a segment changed in memory")
            }
            let payloadOffset = try SegmentDecoder.decode(bytes, into: &arriving)
            target.handle(
                arriving, payload: UnsafeRawBufferPointer(rebasing: bytes[payloadOffset...]), tuple: arrival,
                on: LinkID(1), at: now)
            if count > 0, index % wire.burst == wire.burst - 1 {
                // The receiver of data says at once what it has to say. What the sender answers waits for its turn.
                while try step(fromClient: target === client) {}
            }
        }
    }

    private func isLost() -> Bool {
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        return random % wire.lossOneIn == 0
    }

    /// Plays outputs until neither host has one.
    func settle() throws {
        while true {
            let first = try step(fromClient: true)
            let second = try step(fromClient: false)
            if !first && !second { return }
        }
    }

    /// Does what is due at `now`.
    func handleTimeouts() {
        if let due = client.nextTimeout, due <= now { client.handleTimeout(at: now) }
        if let due = server.nextTimeout, due <= now { server.handleTimeout(at: now) }
    }

    /// Nothing happens before the next deadline: moves there.
    func skipToNextTimeout() {
        if let due = [client.nextTimeout, server.nextTimeout].compactMap({ $0 }).min() { now = max(now, due) }
    }

    /// An established connection to `port` of the server, whose listener there is `listener`.
    func connect(to port: UInt16, _ listener: Listener) throws -> (client: Connection, server: Connection) {
        let connection = try client.open(
            from: nil, localAddress: clientAddress, to: Endpoint(serverAddress, port), at: now)
        try settle()
        guard let accepted = server.accept(listener) else { throw ConnectionError.timedOut }
        return (connection, accepted)
    }
}
