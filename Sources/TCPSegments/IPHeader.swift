// The IP header in front of a segment: IPv4 (RFC 791) and IPv6 (RFC 8200), as links that carry real packets need it.

/// The two bits of ECN in the IP header (RFC 3168 5).
public enum ECNField: UInt8, Sendable {
    /// The sender's transport does not know ECN.
    case notCapable = 0
    /// ECT(1); with AccECN and L4S a class of its own (RFC 8311).
    case capable1 = 1
    /// ECT(0).
    case capable0 = 2
    /// CE: a router has met congestion.
    case congestionExperienced = 3

    /// What a router makes of it that marks the packet: only one whose ends know ECN.
    public var marked: ECNField { self == .notCapable ? .notCapable : .congestionExperienced }
}

/// What is wrong with an IP packet.
public enum IPError: Error, Hashable, Sendable {
    /// Shorter than its header says.
    case truncated
    /// Neither version 4 nor 6.
    case unknownVersion
    /// A header length below 20, or beyond the packet.
    case badHeaderLength
    /// The header's checksum is wrong (IPv4).
    case badChecksum
    /// A fragment: TCP here sends none and reassembles none.
    case fragment
    /// A chain of extension headers that is too long or too short.
    case badExtensions
    /// A source that no packet may come from: unspecified or multicast; or an IPv4 address mapped into IPv6, at either end.
    case badSource
}

/// What matters of an IP header. Options and extension headers are skipped when it is read, and never written.
public struct IPHeader: Hashable, Sendable {
    /// Where the packet comes from, and where it goes; both of one family.
    public var source, destination: IPAddress
    /// The next protocol's number: 6 is TCP, 1 ICMP, 58 ICMPv6.
    public var protocolNumber: UInt8
    /// TTL or hop limit.
    public var hopLimit: UInt8
    /// Differentiated services, the upper six bits of the byte.
    public var differentiatedServices: UInt8
    /// The lower two bits of that byte.
    public var ecn: ECNField
    /// IPv4's identification; packets that must not be fragmented need none (RFC 6864 4.1).
    public var identification: UInt16

    /// A header with these values.
    public init(
        source: IPAddress, destination: IPAddress, protocolNumber: UInt8, hopLimit: UInt8 = 64,
        differentiatedServices: UInt8 = 0, ecn: ECNField = .notCapable, identification: UInt16 = 0
    ) {
        self.source = source
        self.destination = destination
        self.protocolNumber = protocolNumber
        self.hopLimit = hopLimit
        self.differentiatedServices = differentiatedServices
        self.ecn = ecn
        self.identification = identification
    }

    /// True if both addresses are IPv4.
    public var isIPv4: Bool { source.isIPv4 && destination.isIPv4 }
    /// Bytes of the encoded header: 20 or 40.
    public var encodedLength: Int { isIPv4 ? 20 : 40 }

    private var trafficClass: UInt8 { differentiatedServices << 2 | ecn.rawValue }

    /// Writes the header of a packet with `payloadLength` further bytes (at most 65,515) to `target`, which has room for
    /// `encodedLength` bytes. IPv4 packets forbid fragmentation.
    public func encode(payloadLength: Int, into target: UnsafeMutableRawPointer) {
        func put16(_ value: Int, at offset: Int) {
            target.storeBytes(of: UInt16(truncatingIfNeeded: value).bigEndian, toByteOffset: offset, as: UInt16.self)
        }
        guard isIPv4 else {
            let first = UInt32(6) << 28 | UInt32(trafficClass) << 20
            target.storeBytes(of: first.bigEndian, as: UInt32.self)
            put16(payloadLength, at: 4)
            target.storeBytes(of: protocolNumber, toByteOffset: 6, as: UInt8.self)
            target.storeBytes(of: hopLimit, toByteOffset: 7, as: UInt8.self)
            for (offset, half) in [(8, source.high), (16, source.low), (24, destination.high), (32, destination.low)] {
                target.storeBytes(of: half.bigEndian, toByteOffset: offset, as: UInt64.self)
            }
            return
        }
        target.storeBytes(of: 0x45, as: UInt8.self)
        target.storeBytes(of: trafficClass, toByteOffset: 1, as: UInt8.self)
        put16(20 + payloadLength, at: 2)
        put16(Int(identification), at: 4)
        put16(0x4000, at: 6)
        target.storeBytes(of: hopLimit, toByteOffset: 8, as: UInt8.self)
        target.storeBytes(of: protocolNumber, toByteOffset: 9, as: UInt8.self)
        put16(0, at: 10)
        target.storeBytes(of: source.v4Bits.bigEndian, toByteOffset: 12, as: UInt32.self)
        target.storeBytes(of: destination.v4Bits.bigEndian, toByteOffset: 16, as: UInt32.self)
        var sum = InternetChecksum()
        sum.add(UnsafeRawBufferPointer(start: target, count: 20))
        put16(Int(sum.value), at: 10)
    }
}

extension IPHeader {
    /// Reads the header of `packet`; the range is where the next protocol's bytes lie. What follows the length that the
    /// header tells (a link's padding) does not count.
    public static func decode(
        _ packet: UnsafeRawBufferPointer
    ) throws(IPError) -> (header: IPHeader, payload: Range<Int>) {
        guard let first = packet.first else { throw .truncated }
        let (header, payload): (IPHeader, Range<Int>)
        switch first >> 4 {
        case 4: (header, payload) = try decode4(packet)
        case 6: (header, payload) = try decode6(packet)
        default: throw .unknownVersion
        }
        // RFC 9293 3.9.2.3 (MUST-57): segments from such sources are dropped.
        guard !header.source.isUnspecified, !header.source.isMulticastOrBroadcast else { throw .badSource }
        return (header, payload)
    }

    private static func load16(_ packet: UnsafeRawBufferPointer, _ offset: Int) -> Int {
        Int(UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
    }

    /// RFC 791 3.1.
    private static func decode4(_ packet: UnsafeRawBufferPointer) throws(IPError) -> (IPHeader, Range<Int>) {
        guard packet.count >= 20 else { throw .truncated }
        let length = Int(packet[0] & 0xF) * 4
        let total = load16(packet, 2)
        guard length >= 20, length <= total else { throw .badHeaderLength }
        guard total <= packet.count else { throw .truncated }
        var sum = InternetChecksum()
        sum.add(UnsafeRawBufferPointer(rebasing: packet[..<length]))
        guard sum.value == 0 else { throw .badChecksum }
        // More fragments, or an offset.
        guard load16(packet, 6) & 0x3FFF == 0 else { throw .fragment }
        let header = IPHeader(
            source: IPAddress(v4: UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: 12, as: UInt32.self))),
            destination: IPAddress(v4: UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: 16, as: UInt32.self))),
            protocolNumber: packet[9], hopLimit: packet[8], differentiatedServices: packet[1] >> 2,
            ecn: ECNField(rawValue: packet[1] & 3) ?? .notCapable, identification: UInt16(load16(packet, 4)))
        return (header, length..<total)
    }

    /// RFC 8200 3 and 4.
    private static func decode6(_ packet: UnsafeRawBufferPointer) throws(IPError) -> (IPHeader, Range<Int>) {
        guard packet.count >= 40 else { throw .truncated }
        let end = 40 + load16(packet, 4)
        guard end <= packet.count else { throw .truncated }
        func address(_ offset: Int) -> IPAddress {
            IPAddress(
                high: UInt64(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: UInt64.self)),
                low: UInt64(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)))
        }
        let trafficClass = UInt8(truncatingIfNeeded: load16(packet, 0) >> 4)
        let (next, start) = try skipExtensions(packet, from: packet[6], at: 40, end: end)
        let header = IPHeader(
            source: address(8), destination: address(24), protocolNumber: next, hopLimit: packet[7],
            differentiatedServices: trafficClass >> 2, ecn: ECNField(rawValue: trafficClass & 3) ?? .notCapable)
        // RFC 4942 2.2: an IPv4 address mapped into IPv6 is for sockets, never for packets; it would pass for IPv4 here.
        guard !header.source.isIPv4, !header.destination.isIPv4 else { throw .badSource }
        return (header, start..<end)
    }

    /// Hop-by-hop options, routing and destination options are skipped; eight of them at most.
    private static func skipExtensions(
        _ packet: UnsafeRawBufferPointer, from first: UInt8, at start: Int, end: Int
    ) throws(IPError) -> (next: UInt8, offset: Int) {
        var next = first
        var offset = start
        for _ in 0..<8 {
            switch next {
            case 0, 43, 60:
                guard offset + 8 <= end else { throw .badExtensions }
                next = packet[offset]
                offset += 8 + Int(packet[offset + 1]) * 8
                guard offset <= end else { throw .badExtensions }
            case 44: throw .fragment
            default: return (next, offset)
            }
        }
        throw .badExtensions
    }
}
