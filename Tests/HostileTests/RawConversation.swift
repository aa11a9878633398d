// A TCP connection whose other end is written by hand, segment by segment, over a real connection.
import TCPSegments

/// The attacker's end of a connection to a port of the victim.
final class RawConversation {
    let link: RawLink
    let port: UInt16
    let serverPort: UInt16
    /// Our first number, and the daemon's.
    let iss: SequenceNumber
    private(set) var irs = SequenceNumber(0)
    /// What the SYN-ACK said.
    private(set) var answer: SegmentHeader?

    init(
        _ link: RawLink, from port: UInt16 = 40_000, to serverPort: UInt16 = EchoServer.port,
        iss: SequenceNumber = SequenceNumber(.max - 100)
    ) {
        self.link = link
        self.port = port
        self.serverPort = serverPort
        self.iss = iss
    }

    /// A header from us: numbers count from the SYN, so 1 is the first byte.
    func header(
        _ bits: ControlBits, seq: Int = 1, ack: Int = 1, window: UInt16 = 65_535, urgent: UInt16 = 0,
        _ options: (inout TCPOptions) -> Void = { _ in }
    ) -> SegmentHeader {
        var header = SegmentHeader(
            sourcePort: port, destinationPort: serverPort, sequenceNumber: iss + UInt32(truncatingIfNeeded: seq),
            acknowledgmentNumber: irs + UInt32(truncatingIfNeeded: ack), controlBits: bits,
            window: WindowField(window), urgentPointer: urgent)
        options(&header.options)
        return header
    }

    @discardableResult
    func send(
        _ bits: ControlBits, seq: Int = 1, ack: Int = 1, _ payload: [UInt8] = [], window: UInt16 = 65_535,
        urgent: UInt16 = 0, _ options: (inout TCPOptions) -> Void = { _ in }
    ) -> Bool {
        link.send(header(bits, seq: seq, ack: ack, window: window, urgent: urgent, options), payload)
    }

    /// A SYN with any bytes as options, and its answer's numbers. Throws if no SYN-ACK comes.
    func synchronise(options: [UInt8] = [], window: UInt16 = 65_535, _ payload: [UInt8] = []) throws {
        let syn = segmentBytes(header(.syn, seq: 0, ack: 0, window: window), options: options, payload)
        var found: (header: SegmentHeader, payload: [UInt8])?
        // A full queue ignores a SYN: it is sent again, as any TCP would.
        for _ in 0..<30 where found == nil {
            link.send(frame: syn)
            found = link.receive(within: .seconds(1)) { [port] header, _ in
                header.destinationPort == port && header.controlBits.isSuperset(of: [.syn, .ack])
            }
        }
        guard let (header, _) = found else { throw Failure("no SYN-ACK for port \(serverPort)") }
        irs = header.sequenceNumber
        answer = header
    }

    /// The whole handshake.
    func establish(options: [UInt8] = [], window: UInt16 = 65_535) throws {
        try synchronise(options: options, window: window)
        send(.ack, window: window)
    }

    /// The next segment of this connection.
    func receive(within limit: TimeInterval = .seconds(20)) -> (header: SegmentHeader, payload: [UInt8])? {
        link.receive(within: limit) { [port] header, _ in header.destinationPort == port }
    }

    /// Reads until `count` echoed bytes from position `start` on have come, acknowledging them, and returns them.
    func readEcho(_ count: Int, seq: Int, from start: Int = 1) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard let (header, payload) = receive() else { throw Failure("\(bytes.count) of \(count) bytes echoed") }
            let position = Int((irs + UInt32(start)).distance(to: header.sequenceNumber))
            guard position <= bytes.count, position + payload.count > bytes.count else { continue }
            bytes += payload[(bytes.count - position)...]
            send(.ack, seq: seq, ack: start + bytes.count)
        }
        return bytes
    }

    /// Says "hello" and expects it back: the connection still works after all that.
    func requireEcho(seq: Int = 1, ack: Int = 1) throws {
        let hello = Array("hello".utf8)
        send([.ack, .psh], seq: seq, ack: ack, hello)
        guard try readEcho(hello.count, seq: seq + hello.count, from: ack) == hello else { throw Failure("wrong echo") }
    }
}

extension Siege {
    /// A real connection to the victim.
    func link(from address: String? = nil) throws -> RawLink {
        try RawLink(from: address ?? attackerAddress, to: victimAddress)
    }

    /// An established connection to the victim's echo server.
    func conversation(options: [UInt8] = [], window: UInt16 = 65_535) throws -> RawConversation {
        let conversation = RawConversation(try link())
        try conversation.establish(options: options, window: window)
        return conversation
    }
}
