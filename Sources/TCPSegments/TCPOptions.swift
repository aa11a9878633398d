// The options of a TCP header as one trivially copyable value; unknown ones are preserved byte for byte.

/// The options of one segment. Known ones are decoded; all others are kept in `unknown`, in their order.
public struct TCPOptions: Sendable {
    /// MSS (kind 2), in bytes, if present (RFC 9293 3.7.1).
    public var maximumSegmentSize: UInt16?
    /// Window scale (kind 3) as received, if present (RFC 7323 2).
    public var windowScale: UInt8?
    /// SACK permitted (kind 4, RFC 2018).
    public var sackPermitted = false
    /// Timestamps (kind 8, RFC 7323 3).
    public var timestamps: Timestamps?
    /// SACK blocks (kind 5, RFC 2018), at most four.
    public var sackBlocks = SACKBlocks()
    /// Options of any other kind, whole (kind, length, data), one after the other.
    public var unknown = UnknownOptions()

    /// No options.
    @inlinable public init() {}
}

/// The timestamps option: TSval and TSecr.
public struct Timestamps: Hashable, Sendable, BitwiseCopyable {
    /// TSval.
    public var value: UInt32
    /// TSecr.
    public var echoReply: UInt32
    /// One with these values.
    @inlinable public init(value: UInt32, echoReply: UInt32) {
        self.value = value
        self.echoReply = echoReply
    }
}

/// Up to four SACK blocks, held inline.
public struct SACKBlocks: Sendable, BitwiseCopyable {
    /// How many blocks there are: 0 to 4.
    @inlinable public var count: Int { Int(used) }
    @usableFromInline var used: UInt8 = 0
    @usableFromInline var storage: InlineArray<4, SequenceRange>

    /// One with these values.
    @inlinable public init() {
        storage = InlineArray(repeating: SequenceRange(start: SequenceNumber(0), length: 0))
    }
}

/// Up to forty bytes of options that this code does not interpret, held inline.
public struct UnknownOptions: Sendable, BitwiseCopyable {
    /// How many bytes there are: 0 to 40.
    @inlinable public var count: Int { Int(used) }
    @usableFromInline var used: UInt8 = 0
    @usableFromInline var storage: InlineArray<40, UInt8>

    /// One with these values.
    @inlinable public init() { storage = InlineArray(repeating: 0) }
}

/// In which order a header's options are written, and how they are aligned. Readers take any (RFC 9293 3.1).
public enum OptionLayout: Sendable, Hashable {
    /// MSS, window scale, SACK permitted, timestamps, others, SACK, without anything between; zeros at the end.
    case compact
    /// Linux's: MSS, SACK permitted and timestamps, window scale, others, SACK, each aligned by NOPs in front.
    case linux
    /// FreeBSD's: MSS, window scale, SACK permitted, timestamps, SACK, others, aligned by NOPs in front.
    case freeBSD
}

extension TCPOptions {
    /// Removes all options.
    @inlinable public mutating func removeAll() {
        maximumSegmentSize = nil
        windowScale = nil
        sackPermitted = false
        timestamps = nil
        sackBlocks.used = 0
        unknown.used = 0
    }

    /// True if the timestamps option is there and no other.
    @inlinable public var hasOnlyTimestamps: Bool {
        timestamps != nil && maximumSegmentSize == nil && windowScale == nil && !sackPermitted && sackBlocks.used == 0
            && unknown.used == 0
    }

    /// Bytes these options take in a header written in this layout, padded to a multiple of four: 0 to 40.
    public func encodedLength(_ layout: OptionLayout) -> Int {
        guard layout != .compact else { return encodedLength }
        // Blocks are what makes a difference: two NOPs stand in front of them.
        let padding = sackBlocks.count > 0 ? 2 : 0
        var others = self
        others.sackBlocks.used = 0
        let length = others.encodedLength + (sackBlocks.count > 0 ? padding + 2 + 8 * sackBlocks.count : 0)
        return min((length + 3) & ~3, 40)
    }

    /// Bytes these options take in a header, padded to a multiple of four: 0 to 40.
    @inlinable public var encodedLength: Int {
        var length = unknown.count
        if maximumSegmentSize != nil { length += 4 }
        if windowScale != nil { length += 3 }
        if sackPermitted { length += 2 }
        if timestamps != nil { length += 10 }
        if sackBlocks.count > 0 { length += 2 + 8 * sackBlocks.count }
        return min((length + 3) & ~3, 40)
    }
}
