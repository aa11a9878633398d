// ICMP (RFC 792) and ICMPv6 (RFC 4443), as far as TCP has to do with them: errors about segments, and echo.

/// What an ICMP message says.
public enum ICMPMessage: Hashable, Sendable {
    /// Somebody asks whether the host is there.
    case echoRequest
    /// Something went wrong with a packet of ours.
    case error(PathError, about: QuotedSegment)
    /// Anything else.
    case other
}

/// Why a packet did not arrive (RFC 9293 3.9.2.2, RFC 5461, RFC 8201).
public enum PathError: Hashable, Sendable {
    /// There is no way to the network or host, now.
    case unreachable
    /// The host does not take the protocol or port, or somebody forbids it: hard errors of RFC 9293 SHLD-26.
    case rejected
    /// The packet was larger than a link's MTU; 0 if the router does not say which (before RFC 1191).
    case tooBig(mtu: UInt32)
    /// The hop limit was reached, or a parameter was wrong: a soft error.
    case soft
}

/// The part of our segment that an error quotes: enough to find the connection, and to see that the error is not made up
/// (RFC 5927 4).
public struct QuotedSegment: Hashable, Sendable {
    /// The segment's ends, ours first.
    public let tuple: FourTuple
    /// Its SEG.SEQ.
    public let sequenceNumber: SequenceNumber

    /// A segment with these values.
    public init(tuple: FourTuple, sequenceNumber: SequenceNumber) {
        self.tuple = tuple
        self.sequenceNumber = sequenceNumber
    }
}

extension ICMPMessage {
    /// Reads an ICMP message that came with `header`. Nil if it is malformed or its checksum is wrong.
    public static func decode(_ bytes: UnsafeRawBufferPointer, _ header: IPHeader) -> ICMPMessage? {
        guard bytes.count >= 8 else { return nil }
        let type = bytes[0]
        let code = bytes[1]
        let word = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        var sum = InternetChecksum()
        if header.isIPv4 {
            guard header.protocolNumber == 1 else { return nil }
        } else {
            guard header.protocolNumber == 58 else { return nil }
            // RFC 4443 2.3: with a pseudo-header.
            sum.addPseudoHeader(
                from: header.source, to: header.destination, length: bytes.count, protocolNumber: 58)
        }
        sum.add(bytes)
        guard sum.value == 0 else { return nil }
        let error: PathError
        switch (header.isIPv4, type) {
        case (true, 8), (false, 128): return .echoRequest
        case (true, 3):
            switch code {
            // RFC 1122 3.2.2.1: protocol, port; and prohibitions (RFC 1812 5.2.7.1).
            case 2, 3, 9, 10, 13: error = .rejected
            case 4: error = .tooBig(mtu: word & 0xFFFF)
            default: error = .unreachable
            }
        case (true, 11), (true, 12): error = .soft
        case (false, 1): error = code == 1 || code == 4 || code >= 5 ? .rejected : .unreachable
        case (false, 2): error = .tooBig(mtu: word)
        case (false, 3), (false, 4): error = .soft
        default: return .other
        }
        guard let quoted = QuotedSegment(UnsafeRawBufferPointer(rebasing: bytes[8...])) else { return .other }
        return .error(error, about: quoted)
    }

    /// The answer to an echo request, checksum included: the same bytes, another type.
    public static func echoReply(to request: UnsafeRawBufferPointer, _ header: IPHeader) -> [UInt8] {
        var reply = [UInt8](request)
        guard reply.count >= 8 else { return [] }
        reply[0] = header.isIPv4 ? 0 : 129
        reply[2] = 0
        reply[3] = 0
        var sum = InternetChecksum()
        if !header.isIPv4 {
            sum.addPseudoHeader(
                from: header.destination, to: header.source, length: reply.count, protocolNumber: 58)
        }
        reply.withUnsafeBytes { sum.add($0) }
        reply[2] = UInt8(sum.value >> 8)
        reply[3] = UInt8(sum.value & 0xFF)
        return reply
    }
}

extension QuotedSegment {
    /// Reads the IP header and the first eight bytes of the segment. A quoted packet is cut short on purpose, and its
    /// header was changed on the way: neither its length nor its checksum counts.
    init?(_ packet: UnsafeRawBufferPointer) {
        let start: Int
        let addresses: AddressPair
        guard let first = packet.first else { return nil }
        switch first >> 4 {
        case 4:
            start = Int(first & 0xF) * 4
            guard start >= 20, packet.count >= start + 8, packet[9] == 6 else { return nil }
            addresses = AddressPair(
                local: IPAddress(v4: UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: 12, as: UInt32.self))),
                remote: IPAddress(v4: UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: 16, as: UInt32.self))))
        case 6:
            start = 40
            // What we send has no extension headers.
            guard packet.count >= start + 8, packet[6] == 6 else { return nil }
            func address(_ offset: Int) -> IPAddress {
                IPAddress(
                    high: UInt64(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: UInt64.self)),
                    low: UInt64(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)))
            }
            addresses = AddressPair(local: address(8), remote: address(24))
        default: return nil
        }
        func port(_ offset: Int) -> UInt16 {
            UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: start + offset, as: UInt16.self))
        }
        tuple = FourTuple(
            local: Endpoint(addresses.local, port(0)), remote: Endpoint(addresses.remote, port(2)))
        sequenceNumber = SequenceNumber(
            UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: start + 4, as: UInt32.self)))
    }
}
