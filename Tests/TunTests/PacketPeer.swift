// A peer whose IP packets the test writes itself, from an address that no TCP of the kernel's has.
import CTestSupport
import Glibc
import TCPSegments

/// Sends segments into the device and takes those that come out of it, one connection's.
final class PacketPeer: @unchecked Sendable {
    // @unchecked Sendable: a test hands it on, and uses it on one thread at a time.
    struct Received {
        let ip: IPHeader
        let header: SegmentHeader
        let count: Int
    }

    private let descriptor: Int32
    private let ours: Endpoint, theirs: Endpoint

    /// A peer at `ours`, for a connection with `theirs`; to be made in the namespace of `interface`.
    init(interface: String, from ours: Endpoint, to theirs: Endpoint) throws {
        descriptor = ctest_packet_socket(interface, ours.address.isIPv4 ? 0x0800 : 0x86DD)
        guard descriptor >= 0 else { throw KernelSocket.Failure(errno: errno, call: "socket(AF_PACKET)") }
        self.ours = ours
        self.theirs = theirs
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    func send(
        _ bits: ControlBits, seq: UInt32, ack: UInt32 = 0, count: Int = 0, ecn: ECNField = .notCapable
    ) throws {
        let ip = IPHeader(source: ours.address, destination: theirs.address, protocolNumber: 6, ecn: ecn)
        let header = SegmentHeader(
            sourcePort: ours.port, destinationPort: theirs.port, sequenceNumber: SequenceNumber(seq),
            acknowledgmentNumber: SequenceNumber(ack), controlBits: bits, window: WindowField(60_000))
        var packet = [UInt8](repeating: 7, count: ip.encodedLength + 20 + count)
        try packet.withUnsafeMutableBytes { space in
            guard let base = space.baseAddress else { return }
            let segment = base + ip.encodedLength
            header.encode(into: segment)
            ip.encode(payloadLength: 20 + count, into: base)
            let sum = InternetChecksum.checksum(
                of: UnsafeRawBufferPointer(start: segment, count: 20 + count), from: ip.source, to: ip.destination)
            segment.storeBytes(of: sum.bigEndian, toByteOffset: 16, as: UInt16.self)
            guard Glibc.send(descriptor, base, space.count, 0) == space.count else {
                throw KernelSocket.Failure(errno: errno, call: "send")
            }
        }
    }

    /// The next segment of the connection that fits `condition`.
    func receive(where condition: (Received) -> Bool = { _ in true }) throws -> Received {
        var buffer = [UInt8](repeating: 0, count: 70_000)
        while true {
            let n = recv(descriptor, &buffer, buffer.count, 0)
            guard n > 0 else { throw KernelSocket.Failure(errno: errno, call: "recv") }
            let found = buffer.withUnsafeBytes { bytes -> Received? in
                let packet = UnsafeRawBufferPointer(rebasing: bytes[..<n])
                guard let (ip, range) = try? IPHeader.decode(packet), ip.protocolNumber == 6,
                    ip.destination == ours.address,
                    let (header, offset) = try? SegmentDecoder.decode(UnsafeRawBufferPointer(rebasing: packet[range])),
                    header.destinationPort == ours.port
                else { return nil }
                return Received(ip: ip, header: header, count: range.count - offset)
            }
            if let found, condition(found) { return found }
        }
    }
}
