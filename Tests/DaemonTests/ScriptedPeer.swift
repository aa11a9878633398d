// A peer that speaks frames by hand over a real TCP connection, as the original chiTCP does: no options, a window of 4,096
// bytes, checksum 0. It shares no code with what it tests.
import Glibc
import Testing

/// A segment as it came out of a frame.
struct RawSegment: CustomStringConvertible {
    let bytes: [UInt8]

    var sourcePort: UInt16 { UInt16(bytes[0]) << 8 | UInt16(bytes[1]) }
    var destinationPort: UInt16 { UInt16(bytes[2]) << 8 | UInt16(bytes[3]) }
    var sequence: UInt32 { word(4) }
    var acknowledgment: UInt32 { word(8) }
    var headerLength: Int { Int(bytes[12] >> 4) * 4 }
    var flags: UInt8 { bytes[13] }
    var window: UInt16 { UInt16(bytes[14]) << 8 | UInt16(bytes[15]) }
    var checksum: UInt16 { UInt16(bytes[16]) << 8 | UInt16(bytes[17]) }
    var options: [UInt8] { Array(bytes[20..<headerLength]) }
    var payload: [UInt8] { Array(bytes[headerLength...]) }
    /// The kinds of its options in order, without padding.
    var optionKinds: [UInt8] {
        var kinds: [UInt8] = []
        var at = 20
        while at < headerLength, bytes[at] != 0 {
            if bytes[at] == 1 {
                at += 1
                continue
            }
            kinds.append(bytes[at])
            at += Int(bytes[at + 1])
        }
        return kinds
    }

    private func word(_ at: Int) -> UInt32 { bytes[at..<(at + 4)].reduce(0) { $0 << 8 | UInt32($1) } }

    var description: String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}

/// Control bits by value.
enum Bits {
    static let fin: UInt8 = 0x01
    static let syn: UInt8 = 0x02
    static let rst: UInt8 = 0x04
    static let psh: UInt8 = 0x08
    static let ack: UInt8 = 0x10
}

/// One end of a real TCP connection that carries frames.
final class ScriptedPeer {
    private let descriptor: Int32
    private let port: UInt16
    private let peerPort: UInt16
    private var held: [UInt8] = []

    /// A listening socket for a peer that is dialled.
    static func listen(at address: String, port: UInt16 = 23300) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        try #require(withAddress(address, port) { bind(descriptor, $0, $1) } == 0)
        try #require(Glibc.listen(descriptor, 4) == 0)
        limit(descriptor)
        return descriptor
    }

    /// The next connection of a listening socket, which it closes. TCP ports: its own, and the other end's.
    init(accepting listener: Int32, port: UInt16, peerPort: UInt16) throws {
        descriptor = accept(listener, nil, nil)
        close(listener)
        try #require(descriptor >= 0)
        self.port = port
        self.peerPort = peerPort
        Self.limit(descriptor)
    }

    /// Dials a daemon from an address of its own.
    init(from address: String, to daemon: String, port: UInt16, peerPort: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        self.port = port
        self.peerPort = peerPort
        Self.limit(descriptor)
        let fd = descriptor
        try #require(Self.withAddress(address, 0) { bind(fd, $0, $1) } == 0)
        try #require(Self.withAddress(daemon, 23300) { connect(fd, $0, $1) } == 0)
    }

    deinit { close(descriptor) }

    private static func limit(_ descriptor: Int32) {
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    private static func withAddress<R>(
        _ text: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
    ) -> R {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        inet_pton(AF_INET, text, &address.sin_addr)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }

    /// Sends a segment without options. `checksum` goes out as it is: 0 means that there is none.
    func send(
        _ flags: UInt8, sequence: UInt32, acknowledgment: UInt32 = 0, window: UInt16 = 4096, _ payload: [UInt8] = [],
        checksum: UInt16 = 0
    ) throws {
        func big(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xFF)] }
        func big(_ value: UInt32) -> [UInt8] { big(UInt16(value >> 16)) + big(UInt16(value & 0xFFFF)) }
        let segment =
            big(port) + big(peerPort) + big(sequence) + big(acknowledgment) + [0x50, flags] + big(window)
            + big(checksum)
            + [0, 0] + payload
        let frame = big(UInt16(segment.count)) + [1] + [UInt8](repeating: 0, count: 13) + segment
        try #require(Glibc.send(descriptor, frame, frame.count, Int32(MSG_NOSIGNAL)) == frame.count)
    }

    /// The next segment.
    func receive() throws -> RawSegment {
        while true {
            if held.count >= 16 {
                let length = Int(held[0]) << 8 | Int(held[1])
                try #require(Array(held[2..<16]) == [1] + [UInt8](repeating: 0, count: 13), "the frame's header")
                if held.count >= 16 + length {
                    let segment = RawSegment(bytes: Array(held[16..<(16 + length)]))
                    held.removeFirst(16 + length)
                    try #require(segment.bytes.count >= 20 && segment.headerLength <= segment.bytes.count)
                    return segment
                }
            }
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let n = recv(descriptor, &buffer, buffer.count, 0)
            try #require(n > 0, "the daemon closed the real connection, or sent nothing for 30 s")
            held += buffer[..<n]
        }
    }

    /// The next segment that carries something: data, SYN, FIN or RST.
    func receiveSubstance() throws -> RawSegment {
        while true {
            let segment = try receive()
            if !segment.payload.isEmpty || segment.flags & (Bits.syn | Bits.fin | Bits.rst) != 0 { return segment }
        }
    }
}
