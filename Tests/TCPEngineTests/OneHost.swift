// One host under test; the other end is the test itself, segment by segment, in virtual time.
import TCPEngine
import TCPSegments

/// A host on 10.0.0.1 (or an IPv6 address) and a peer whose segments the test writes by hand. Numbers of the peer begin at
/// `irs`, those of the host at `iss`.
final class OneHost {
    struct Sent {
        let header: SegmentHeader
        let payload: [UInt8]
        var bits: ControlBits { header.controlBits }
    }

    let host: Host
    var now = Instant(nanoseconds: 5_000_000_000)
    let iss: SequenceNumber
    let irs: SequenceNumber
    let tuple: FourTuple
    var connection: Connection?
    var events: [String] = []
    private(set) var listener: Listener?

    init(
        iss: UInt32 = .max - 50, irs: UInt32 = .max - 20, ipv6: Bool = false,
        _ configure: (inout HostConfiguration) -> Void = { _ in }
    ) {
        self.iss = SequenceNumber(iss)
        self.irs = SequenceNumber(irs)
        let prefix: UInt64 = 0x2001_0db8 << 32
        tuple =
            ipv6
            ? FourTuple(
                local: Endpoint(IPAddress(high: prefix, low: 1), 7),
                remote: Endpoint(IPAddress(high: prefix, low: 2), 4000))
            : FourTuple(local: Endpoint(IPAddress(10, 0, 0, 1), 7), remote: Endpoint(IPAddress(10, 0, 0, 2), 4000))
        var configuration = HostConfiguration()
        configuration.initialSequenceNumber = self.iss
        configure(&configuration)
        host = Host(configuration: configuration, seed: 1)
        addLink()
    }

    /// The link to the peer is there; an active OPEN waits for it.
    func addLink(maximumSegmentSize: UInt16 = 1460) {
        host.addLink(
            LinkID(1),
            LinkProperties(
                maximumSegmentSize: maximumSegmentSize, maximumSegmentLifetime: .seconds(1), computesChecksum: false),
            for: tuple.addresses, at: now)
    }

    /// A passive OPEN on the port; connections that come up land in `connection`.
    func listen(backlog: Int = 4) throws {
        if listener == nil { listener = try host.listen(on: tuple.local, backlog: backlog) }
    }

    /// An active OPEN from the port to the peer; the SYN is returned.
    @discardableResult
    func open() throws -> [Sent] {
        connection = try host.open(
            from: tuple.local, localAddress: tuple.local.address, to: tuple.remote, at: now)
        addLink()
        return sent()
    }

    /// All that leaves now, one segment each.
    func sent() -> [Sent] {
        var out: [Sent] = []
        while let output = host.poll(at: now) {
            switch output {
            case .event(_, let event): events.append("\(event)")
            case .incoming(let listener): connection = host.accept(listener) ?? connection
            case .pending(let pending): _ = host.open(pending, userData: nil, eventMask: [], at: now)
            case .linkWanted: break
            case .transmit(let transmission, _, _):
                for i in 0..<transmission.segmentCount {
                    let (header, offset, count) = transmission.segment(i)
                    var bytes = [UInt8](repeating: 0, count: count)
                    bytes.withUnsafeMutableBytes {
                        if let base = $0.baseAddress {
                            transmission.payload.copyBytes(from: offset, count: count, to: base)
                        }
                    }
                    out.append(Sent(header: header, payload: bytes))
                }
            }
        }
        return out
    }

    /// A segment of the peer at IRS + `seq` that acknowledges ISS + `ack`.
    @discardableResult
    func inject(
        _ bits: ControlBits, seq: Int, ack: Int = 0, _ payload: [UInt8] = [], window: UInt16 = 65_535,
        urgent: UInt16 = 0, _ configure: (inout TCPOptions) -> Void = { _ in }
    ) -> [Sent] {
        var header = SegmentHeader(
            sourcePort: tuple.remote.port, destinationPort: tuple.local.port,
            sequenceNumber: irs + UInt32(truncatingIfNeeded: seq),
            acknowledgmentNumber: iss + UInt32(truncatingIfNeeded: ack), controlBits: bits, window: WindowField(window),
            urgentPointer: urgent)
        configure(&header.options)
        payload.withUnsafeBytes { host.handle(header, payload: $0, tuple: tuple, on: LinkID(1), at: now) }
        return sent()
    }

    /// Lets time pass up to `duration`, deadline by deadline, and collects what leaves.
    func wait(_ duration: TimeInterval) -> [Sent] {
        let end = now + duration
        var out = sent()
        while let next = host.nextTimeout, next <= end {
            now = max(now, next)
            host.handleTimeout(at: now)
            out += sent()
        }
        now = end
        return out
    }

    /// Lets time pass until something leaves, an hour at most.
    func waitForSegment() -> [Sent] {
        let end = now + .seconds(3600)
        while let next = host.nextTimeout, next <= end {
            now = max(now, next)
            host.handleTimeout(at: now)
            let out = sent()
            if !out.isEmpty { return out }
        }
        return []
    }

    /// A passive OPEN and the peer's handshake.
    func establish(window: UInt16 = 65_535, _ options: (inout TCPOptions) -> Void = { _ in }) throws {
        try listen()
        inject(.syn, seq: 0, window: window, options)
        inject(.ack, seq: 1, ack: 1, window: window) {
            var offered = TCPOptions()
            options(&offered)
            if let t = offered.timestamps { $0.timestamps = Timestamps(value: t.value, echoReply: 0) }
        }
    }

    func send(_ count: Int) throws {
        guard let connection else { return }
        _ = try pattern(count).withUnsafeBytes { try host.send(connection, $0, at: now) }
    }

    /// RECEIVE of everything that is there.
    @discardableResult
    func read() -> [UInt8] {
        guard let connection else { return [] }
        var buffer = [UInt8](repeating: 0, count: connection.receivedCount)
        let count = buffer.withUnsafeMutableBytes { host.receive(connection, into: $0, at: now) }
        return Array(buffer[..<count])
    }

    /// SEG.SEQ of a segment of ours, from ISS.
    func position(_ sent: Sent) -> Int { Int(iss.distance(to: sent.header.sequenceNumber)) }
    /// SEG.ACK of a segment of ours, from IRS.
    func acknowledged(_ sent: Sent) -> Int { Int(irs.distance(to: sent.header.acknowledgmentNumber)) }
    /// The SACK blocks of a segment of ours, from IRS.
    func blocks(_ sent: Sent) -> [Range<Int>] {
        (0..<sent.header.options.sackBlocks.count).map {
            let block = sent.header.options.sackBlocks[$0]
            let start = Int(irs.distance(to: block.start))
            return start..<(start + Int(block.length))
        }
    }
}
