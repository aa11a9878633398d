// A line for each segment of a capture, as tcpdump writes them.
import Glibc
import TCPSegments

/// Writes segments as lines. Sequence numbers count from each side's first one, unless they are to be as on the wire.
struct SegmentLines {
    /// Numbers as on the wire.
    let isAbsolute: Bool
    private struct Direction: Hashable {
        let source: Endpoint
        let destination: Endpoint
    }
    private var firsts: [Direction: SequenceNumber] = [:]

    init(isAbsolute: Bool) { self.isAbsolute = isAbsolute }

    /// The line for a packet.
    mutating func line(for packet: PcapngReader.Packet, on interface: String) -> String {
        var line = Self.clock(packet.time)
        if !interface.hasPrefix("frames") { line += " \(interface)" }
        line += packet.isOutgoing ? " Out " : " In  "
        line += packet.bytes.withUnsafeBytes { text(of: $0, length: packet.length) } ?? "(not a TCP segment)"
        for comment in packet.comments { line += " (\(comment))" }
        return line
    }

    private mutating func text(of bytes: UnsafeRawBufferPointer, length: Int) -> String? {
        // A packet that was cut says more of its length than there is: the headers count.
        guard let (ip, headerLength) = Self.ends(of: bytes), bytes.count >= headerLength + 20 else { return nil }
        let segment = UnsafeRawBufferPointer(rebasing: bytes[headerLength...])
        guard let (header, offset) = try? SegmentDecoder.decode(segment) else { return nil }
        let source = Endpoint(ip.source, header.sourcePort)
        let destination = Endpoint(ip.destination, header.destinationPort)
        let count = length - headerLength - offset
        var line =
            "\(ip.source.isIPv4 ? "IP" : "IP6")\(ip.mark) \(ip.source).\(source.port) > \(ip.destination).\(destination.port):"
        line += " Flags [\(header.flagLetters)]"
        let bits = header.controlBits
        let sequence = relative(header.sequenceNumber, Direction(source: source, destination: destination), bits)
        if count > 0 {
            line += ", seq \(sequence):\(sequence &+ UInt32(truncatingIfNeeded: count))"
        } else if !bits.isDisjoint(with: [.syn, .fin, .rst]) {
            line += ", seq \(sequence)"
        }
        if bits.contains(.ack) {
            let first = isAbsolute ? nil : firsts[Direction(source: destination, destination: source)]
            line += ", ack \(header.acknowledgmentNumber.value &- (first?.value ?? 0))"
        }
        line += ", win \(header.window.value)"
        if bits.contains(.urg) { line += ", urg \(header.urgentPointer)" }
        let options = Self.options(of: header.options)
        if !options.isEmpty { line += ", options [\(options.joined(separator: ","))]" }
        return line + ", length \(count)"
    }

    /// A SYN's number is shown as it is; those after it count from it.
    private mutating func relative(
        _ number: SequenceNumber, _ direction: Direction, _ bits: ControlBits
    ) -> UInt32 {
        guard !isAbsolute else { return number.value }
        if bits.contains(.syn) {
            // A capture may last: what is remembered is not to grow without bound.
            if firsts.count >= 16_384 { firsts = [:] }
            firsts[direction] = number
            return number.value
        }
        guard let first = firsts[direction] else {
            if firsts.count >= 16_384 { firsts = [:] }
            firsts[direction] = number
            return 0
        }
        return number.value &- first.value
    }

    /// The addresses of an IP packet that holds TCP, what it says of congestion, and the length of its header; nil for any
    /// other packet.
    private static func ends(
        of bytes: UnsafeRawBufferPointer
    ) -> (ip: (source: IPAddress, destination: IPAddress, mark: String), length: Int)? {
        // Bounds: nothing is loaded before the count is compared with the header's length.
        func v4(_ place: Int) -> IPAddress {
            IPAddress(v4: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self)))
        }
        func v6(_ place: Int) -> IPAddress {
            IPAddress(
                high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)),
                low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: place + 8, as: UInt64.self)))
        }
        // RFC 3168 5: the last two bits of the traffic class.
        func mark(_ bits: UInt8) -> String { ["", " (ECT(1))", " (ECT(0))", " (CE)"][Int(bits & 3)] }
        guard bytes.count >= 20 else { return nil }
        switch bytes[0] >> 4 {
        case 4 where bytes[9] == 6: return ((v4(12), v4(16), mark(bytes[1])), Int(bytes[0] & 0xF) * 4)
        case 6 where bytes.count >= 40 && bytes[6] == 6: return ((v6(8), v6(24), mark(bytes[1] >> 4)), 40)
        default: return nil
        }
    }

    private static func options(of options: TCPOptions) -> [String] {
        var words: [String] = []
        if let size = options.maximumSegmentSize { words.append("mss \(size)") }
        if options.sackPermitted { words.append("sackOK") }
        if let times = options.timestamps { words.append("TS val \(times.value) ecr \(times.echoReply)") }
        if let scale = options.windowScale { words.append("wscale \(scale)") }
        if options.sackBlocks.count > 0 {
            let blocks = (0..<options.sackBlocks.count).map { index in
                let block = options.sackBlocks[index]
                return "{\(block.start.value):\(block.start.value &+ block.length)}"
            }
            words.append("sack \(blocks.count) \(blocks.joined())")
        }
        return words
    }

    /// The time of day here, with nanoseconds.
    private static func clock(_ time: Int64) -> String {
        // A stream may claim any time; before 1970 there was none.
        let nanoseconds = max(0, time)
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let fraction = String(nanoseconds % 1_000_000_000)
        return "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))."
            + String(repeating: "0", count: 9 - fraction.count) + fraction
    }
}
