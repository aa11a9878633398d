// One host under test; the other end is the test itself, segment by segment, in virtual time.
import TCPEngine
import TCPSegments

/// A host on 10.0.0.1 and a peer on 10.0.0.2 whose segments the test writes by hand. Numbers of the peer begin at `irs`,
/// those of the host at `iss`.
final class OneHost {
    struct Sent {
        let header: SegmentHeader
        let payload: [UInt8]
        var bits: ControlBits { header.controlBits }
    }

    let host: Host
    var now = Instant(nanoseconds: 5_000_000_000)
    let iss = SequenceNumber(.max - 50)
    let irs = SequenceNumber(.max - 20)
    let tuple = FourTuple(local: Endpoint(IPAddress(10, 0, 0, 1), 7), remote: Endpoint(IPAddress(10, 0, 0, 2), 4000))
    var connection: Connection?
    var events: [String] = []
    private var listener: Listener?

    init(_ configure: (inout HostConfiguration) -> Void = { _ in }) {
        var configuration = HostConfiguration()
        configuration.initialSequenceNumber = iss
        configure(&configuration)
        host = Host(configuration: configuration, seed: 1)
        host.addLink(
            LinkID(1),
            LinkProperties(maximumSegmentSize: 1460, maximumSegmentLifetime: .seconds(1), computesChecksum: false),
            for: tuple.addresses, at: now)
    }

    /// All that leaves now, one segment each.
    func sent() -> [Sent] {
        var out: [Sent] = []
        while let output = host.poll(at: now) {
            switch output {
            case .event(_, let event): events.append("\(event)")
            case .incoming(let listener): connection = host.accept(listener) ?? connection
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

    /// A passive OPEN and the peer's handshake.
    func establish(window: UInt16 = 65_535, _ options: (inout TCPOptions) -> Void = { _ in }) throws {
        if listener == nil { listener = try host.listen(on: tuple.local, backlog: 4) }
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
