// One 16-byte address type for IPv4 and IPv6, endpoints, and the four-tuple that names a connection.

/// An IPv4 or IPv6 address in 16 bytes. IPv4 is held as an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2), so one type,
/// one hash and one comparison serve both families.
public struct IPAddress: Hashable, Sendable, BitwiseCopyable {
    /// Bytes 0-7 in network order, as a number.
    public let high: UInt64
    /// Bytes 8-15 in network order, as a number.
    public let low: UInt64

    /// Equality, spelt out here and below so that other modules inline it.
    @inlinable public static func == (a: IPAddress, b: IPAddress) -> Bool { a.low == b.low && a.high == b.high }

    /// An IPv6 address (or mapped IPv4 address) from its two halves, most significant first.
    @inlinable public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// An IPv4 address from its 32 bits, e.g. 0x7F00_0001 for 127.0.0.1.
    @inlinable public init(v4 bits: UInt32) {
        self.init(high: 0, low: 0x0000_FFFF_0000_0000 | UInt64(bits))
    }

    /// An IPv4 address from its four numbers.
    @inlinable public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
        self.init(v4: UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d))
    }

    /// True for an IPv4 address.
    @inlinable public var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }

    /// The 32 bits of an IPv4 address; meaningful only if `isIPv4`.
    @inlinable public var v4Bits: UInt32 { UInt32(truncatingIfNeeded: low) }

    /// 0.0.0.0, the unspecified IPv4 address.
    @inlinable public static var anyIPv4: IPAddress { IPAddress(v4: 0) }
    /// ::, the unspecified IPv6 address.
    @inlinable public static var anyIPv6: IPAddress { IPAddress(high: 0, low: 0) }

    /// True for 0.0.0.0 and for ::.
    @inlinable public var isUnspecified: Bool { self == .anyIPv4 || self == .anyIPv6 }

    /// True for 224.0.0.0/4, 255.255.255.255 and ff00::/8: many hosts, so not an end of a connection.
    @inlinable public var isMulticastOrBroadcast: Bool {
        isIPv4 ? v4Bits >> 28 == 0xE || v4Bits == .max : high >> 56 == 0xFF
    }

    /// True for 127.0.0.0/8 and for ::1.
    @inlinable public var isLoopback: Bool { isIPv4 ? v4Bits >> 24 == 127 : high == 0 && low == 1 }
}

extension IPAddress: Comparable {
    /// Numeric order of the 16 bytes; decides between two simultaneous dials.
    @inlinable public static func < (a: IPAddress, b: IPAddress) -> Bool {
        a.high != b.high ? a.high < b.high : a.low < b.low
    }
}

/// An address and a port: one end of a connection.
public struct Endpoint: Hashable, Sendable, BitwiseCopyable {
    /// The address.
    public var address: IPAddress
    /// The port in host order.
    public var port: UInt16

    /// Equality.
    @inlinable public static func == (a: Endpoint, b: Endpoint) -> Bool { a.port == b.port && a.address == b.address }

    /// The endpoint `address`:`port`.
    @inlinable public init(_ address: IPAddress, _ port: UInt16) {
        self.address = address
        self.port = port
    }
}

/// The two ends of a connection as one of its hosts sees it (RFC 9293 3.3.1: a connection is named by a pair of sockets).
public struct FourTuple: Hashable, Sendable, BitwiseCopyable {
    /// This host's end.
    public var local: Endpoint
    /// The other host's end.
    public var remote: Endpoint

    /// Equality.
    @inlinable public static func == (a: FourTuple, b: FourTuple) -> Bool { a.remote == b.remote && a.local == b.local }

    /// The connection between `local` and `remote`.
    @inlinable public init(local: Endpoint, remote: Endpoint) {
        self.local = local
        self.remote = remote
    }

    /// The same connection as the other host sees it.
    @inlinable public var reversed: FourTuple { FourTuple(local: remote, remote: local) }

    /// The two addresses without the ports.
    @inlinable public var addresses: AddressPair { AddressPair(local: local.address, remote: remote.address) }
}

/// The two addresses of a link between hosts.
public struct AddressPair: Hashable, Sendable, BitwiseCopyable {
    /// This host's address.
    public var local: IPAddress
    /// The other host's address.
    public var remote: IPAddress

    /// The pair of `local` and `remote`.
    @inlinable public init(local: IPAddress, remote: IPAddress) {
        self.local = local
        self.remote = remote
    }
}
