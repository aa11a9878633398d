// The TCP header as a plain value (RFC 9293 3.1): small, trivially copyable, all options kept.

/// The control bits of RFC 9293 3.1 (and AE of AccECN). Test bits; never compare for equality.
public struct ControlBits: OptionSet, Hashable, Sendable, BitwiseCopyable {
    /// The bits as in bytes 12 (low bit) and 13 of the header.
    public let rawValue: UInt16

    /// The control bits with this pattern.
    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// No more data from the sender.
    @inlinable public static var fin: ControlBits { ControlBits(rawValue: 0x001) }
    /// Synchronise sequence numbers.
    @inlinable public static var syn: ControlBits { ControlBits(rawValue: 0x002) }
    /// Reset the connection.
    @inlinable public static var rst: ControlBits { ControlBits(rawValue: 0x004) }
    /// Push.
    @inlinable public static var psh: ControlBits { ControlBits(rawValue: 0x008) }
    /// The acknowledgment field is significant.
    @inlinable public static var ack: ControlBits { ControlBits(rawValue: 0x010) }
    /// The urgent pointer is significant.
    @inlinable public static var urg: ControlBits { ControlBits(rawValue: 0x020) }
    /// ECN-Echo (RFC 3168).
    @inlinable public static var ece: ControlBits { ControlBits(rawValue: 0x040) }
    /// Congestion window reduced (RFC 3168).
    @inlinable public static var cwr: ControlBits { ControlBits(rawValue: 0x080) }
    /// Accurate ECN.
    @inlinable public static var ae: ControlBits { ControlBits(rawValue: 0x100) }
}

/// The header of one TCP segment, without its payload.
public struct SegmentHeader: Sendable {
    /// Ports in host order.
    public var sourcePort: UInt16
    /// The destination port in host order.
    public var destinationPort: UInt16
    /// SEG.SEQ.
    public var sequenceNumber: SequenceNumber
    /// SEG.ACK; meaningful only with ACK.
    public var acknowledgmentNumber: SequenceNumber
    /// The control bits.
    public var controlBits: ControlBits
    /// The 16 bits of the window field, unscaled.
    public var window: WindowField
    /// The urgent pointer; meaningful only with URG.
    public var urgentPointer: UInt16
    /// All options.
    public var options: TCPOptions

    /// A header with the given fields.
    @inlinable public init(
        sourcePort: UInt16, destinationPort: UInt16, sequenceNumber: SequenceNumber,
        acknowledgmentNumber: SequenceNumber = SequenceNumber(0), controlBits: ControlBits,
        window: WindowField = WindowField(0), urgentPointer: UInt16 = 0, options: TCPOptions = TCPOptions()
    ) {
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
        self.sequenceNumber = sequenceNumber
        self.acknowledgmentNumber = acknowledgmentNumber
        self.controlBits = controlBits
        self.window = window
        self.urgentPointer = urgentPointer
        self.options = options
    }

    /// A header of zeros, to be filled in.
    @inlinable public static var blank: SegmentHeader {
        SegmentHeader(sourcePort: 0, destinationPort: 0, sequenceNumber: SequenceNumber(0), controlBits: [])
    }

    /// SEG.LEN for a payload of `payloadCount` bytes: data plus SYN plus FIN (RFC 9293 3.4).
    @inlinable public func segmentLength(payloadCount: Int) -> Int {
        payloadCount + (controlBits.contains(.syn) ? 1 : 0) + (controlBits.contains(.fin) ? 1 : 0)
    }

    /// Bytes of the header with its options, padded to a multiple of four: 20 to 60.
    @inlinable public var encodedLength: Int { 20 + options.encodedLength }
}

/// The window field as on the wire: 16 bits, not yet scaled.
public struct WindowField: Hashable, Sendable, BitwiseCopyable {
    /// The 16 bits in host order.
    public let value: UInt16
    /// One with these values.
    @inlinable public init(_ value: UInt16) { self.value = value }

    /// The window in bytes that this field means under `scale` (RFC 7323 2.2).
    @inlinable public func scaled(by scale: WindowScale) -> WindowSize { WindowSize(UInt32(value) << scale.shift) }
}

/// A shift count of RFC 7323 2: 0 to 14.
public struct WindowScale: Hashable, Sendable, BitwiseCopyable {
    /// The shift count, 0 to 14.
    public let shift: UInt8

    /// RFC 7323 2.3: a received shift above 14 counts as 14.
    @inlinable public init(clamping shift: UInt8) { self.shift = min(shift, 14) }
    /// No scaling.
    @inlinable public static var none: WindowScale { WindowScale(clamping: 0) }
}

/// A window in bytes: at most 2^30 - 2^14.
public struct WindowSize: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// The window in bytes.
    public let bytes: UInt32
    /// A window of `bytes`.
    @inlinable public init(_ bytes: UInt32) { self.bytes = bytes }
    /// Numeric order.
    @inlinable public static func < (a: WindowSize, b: WindowSize) -> Bool { a.bytes < b.bytes }

    /// The field that announces this window or the next smaller one that `scale` can express.
    @inlinable public func field(scaledBy scale: WindowScale) -> WindowField {
        WindowField(UInt16(min(bytes >> scale.shift, 0xFFFF)))
    }
}
