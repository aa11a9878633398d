// The Internet checksum (RFC 1071) of a TCP segment with its pseudo-header (RFC 9293 3.1, RFC 8200 8.1).

/// A running one's-complement sum of 16-bit words, in the byte order of memory (RFC 1071 2(B)).
public struct InternetChecksum: Sendable {
    private var sum: UInt64 = 0
    /// True if an odd number of bytes was added: the next byte is the second of its word.
    private var isOdd = false

    /// The sum of nothing.
    public init() {}

    /// Adds bytes to the sum; pieces may have any length.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
        var partial = UInt64(Self.fold(Self.wordSum(bytes)))
        // RFC 1071 2(B): at an odd position the bytes count swapped.
        if isOdd { partial = UInt64(UInt16(truncatingIfNeeded: partial).byteSwapped) }
        sum &+= partial
        if bytes.count & 1 == 1 { isOdd.toggle() }
    }

    /// Adds the pseudo-header of a segment of `length` bytes.
    public mutating func addPseudoHeader(from source: IPAddress, to destination: IPAddress, length: Int) {
        func add(_ word: UInt64) {
            sum &+= (word & 0xFFFF_FFFF) &+ (word >> 32)
        }
        if source.isIPv4 && destination.isIPv4 {
            add(UInt64(source.v4Bits.bigEndian) &+ UInt64(destination.v4Bits.bigEndian))
        } else {
            for half in [source.high, source.low, destination.high, destination.low] { add(half.bigEndian) }
        }
        add(UInt64(UInt32(truncatingIfNeeded: length).bigEndian) &+ UInt64(UInt16(6).bigEndian))
    }

    /// The value for the checksum field, in host order.
    public var value: UInt16 { ~UInt16(truncatingIfNeeded: Self.fold(sum)).bigEndian }

    /// The checksum of `segment`, whose checksum field counts as it is.
    public static func checksum(of segment: UnsafeRawBufferPointer, from: IPAddress, to: IPAddress) -> UInt16 {
        var c = InternetChecksum()
        c.addPseudoHeader(from: from, to: to, length: segment.count)
        c.add(segment)
        return c.value
    }

    /// True if the checksum in `segment` is right.
    public static func isValid(_ segment: UnsafeRawBufferPointer, from: IPAddress, to: IPAddress) -> Bool {
        checksum(of: segment, from: from, to: to) == 0
    }

    private static func fold(_ sum: UInt64) -> UInt32 {
        var s = (sum & 0xFFFF_FFFF) &+ (sum >> 32)
        s = (s & 0xFFFF_FFFF) &+ (s >> 32)
        s = (s & 0xFFFF) &+ (s >> 16)
        s = (s & 0xFFFF) &+ (s >> 16)
        return UInt32(truncatingIfNeeded: (s & 0xFFFF) &+ (s >> 16))
    }

    /// The sum of the words of `bytes`: 64-bit loads split into 32-bit halves, four accumulators, no carries to chase.
    private static func wordSum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        guard let base = bytes.baseAddress else { return 0 }
        let count = bytes.count
        var a: UInt64 = 0
        var b: UInt64 = 0
        var c: UInt64 = 0
        var d: UInt64 = 0
        var i = 0
        // Bounds: each load ends at i + 32 <= count.
        while i + 32 <= count {
            let w0 = base.loadUnaligned(fromByteOffset: i, as: UInt64.self)
            let w1 = base.loadUnaligned(fromByteOffset: i + 8, as: UInt64.self)
            let w2 = base.loadUnaligned(fromByteOffset: i + 16, as: UInt64.self)
            let w3 = base.loadUnaligned(fromByteOffset: i + 24, as: UInt64.self)
            a &+= (w0 & 0xFFFF_FFFF) &+ (w0 >> 32)
            b &+= (w1 & 0xFFFF_FFFF) &+ (w1 >> 32)
            c &+= (w2 & 0xFFFF_FFFF) &+ (w2 >> 32)
            d &+= (w3 & 0xFFFF_FFFF) &+ (w3 >> 32)
            i += 32
        }
        a &+= b &+ c &+ d
        while i + 2 <= count {
            a &+= UInt64(base.loadUnaligned(fromByteOffset: i, as: UInt16.self))
            i += 2
        }
        if i < count { a &+= UInt64(UInt16(base.load(fromByteOffset: i, as: UInt8.self)).littleEndian) }
        return a
    }
}
