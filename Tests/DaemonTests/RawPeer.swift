// A peer without a TCP: segments as a test wants them, in chiTCP's frames over a real connection.
import Glibc
import NetworkLayer
import TCPSegments
import Testing

/// The real connection of another host to a daemon.
final class RawPeer {
    private let descriptor: Int32
    private let local: Endpoint
    private let remote: Endpoint
    private var bytes: [UInt8] = []
    /// The peer's own numbers: what it sends next, and what it expects.
    var next = SequenceNumber(1000)
    var expected = SequenceNumber(0)

    /// Dials the daemon from `address`; segments go from `port` to the daemon's `daemonPort`.
    init(_ address: String, port: UInt16, to daemon: TestDaemon, port daemonPort: UInt16) throws {
        local = Endpoint(try #require(IPAddress(address)), port)
        remote = Endpoint(try #require(IPAddress(daemon.address)), daemonPort)
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let bound = SocketAddress(Endpoint(local.address, 0)).withPointer { bind(descriptor, $0, $1) }
        let connected = SocketAddress(Endpoint(remote.address, 23300)).withPointer { connect(descriptor, $0, $1) }
        try #require(bound == 0 && connected == 0)
    }

    deinit { close(descriptor) }

    /// Sends a segment with the peer's numbers, which move on behind it.
    func send(_ bits: ControlBits, _ payload: [UInt8] = []) throws {
        try send(bits, payload, at: next)
        let header = SegmentHeader(sourcePort: 0, destinationPort: 0, sequenceNumber: next, controlBits: bits)
        next = next + UInt32(header.segmentLength(payloadCount: payload.count))
    }

    /// Sends a segment with this sequence number.
    func send(_ bits: ControlBits, _ payload: [UInt8], at sequenceNumber: SequenceNumber) throws {
        let header = SegmentHeader(
            sourcePort: local.port, destinationPort: remote.port, sequenceNumber: sequenceNumber,
            acknowledgmentNumber: expected, controlBits: bits, window: WindowField(65_535))
        try write(header, payload)
    }

    /// Sends a segment as it is.
    func write(_ header: SegmentHeader, _ payload: [UInt8]) throws {
        let length = header.encodedLength + payload.count
        var frame = [UInt8](repeating: 0, count: FrameHeader.length + length)
        frame.withUnsafeMutableBytes {
            FrameHeader.encode(payloadLength: length, into: $0.baseAddress!)
            header.encode(into: $0.baseAddress! + FrameHeader.length)
        }
        frame.replaceSubrange((frame.count - payload.count)..., with: payload)
        var written = 0
        while written < frame.count {
            let n = frame.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + written, frame.count - written, Int32(MSG_NOSIGNAL))
            }
            try #require(n > 0)
            written += n
        }
    }

    /// The next segment that the daemon sends.
    func receive() throws -> (header: SegmentHeader, payloadCount: Int) {
        while true {
            var found: (SegmentHeader, Int)?
            let used = try bytes.withUnsafeBytes { all -> Int in
                guard all.count >= FrameHeader.length else { return 0 }
                let length = Int(all[0]) << 8 | Int(all[1])
                let end = FrameHeader.length + length
                guard all.count >= end else { return 0 }
                let segment = UnsafeRawBufferPointer(rebasing: all[FrameHeader.length..<end])
                let (header, offset) = try SegmentDecoder.decode(segment)
                found = (header, segment.count - offset)
                return end
            }
            bytes.removeFirst(used)
            if let found { return found }
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let n = recv(descriptor, &buffer, buffer.count, 0)
            try #require(n > 0, "no segment from the daemon")
            bytes += buffer[..<n]
        }
    }

    /// Opens a connection: SYN, and its answer is awaited but not acknowledged.
    func synchronize() throws {
        try send(.syn)
        let answer = try receive().header
        try #require(answer.controlBits.contains([.syn, .ack]))
        expected = answer.sequenceNumber + 1
    }
}
