// Sequence numbers modulo 2^32 (RFC 9293 3.4), half-open ranges of them, and the 64-bit positions used inside.

/// A position in the sequence space of RFC 9293 3.4: arithmetic wraps modulo 2^32. It is deliberately not Comparable:
/// "before" is meaningful only for numbers less than 2^31 apart, and is asked for by name.
public struct SequenceNumber: Hashable, Sendable, BitwiseCopyable {
    /// The 32-bit pattern as on the wire, in host order.
    public let value: UInt32

    /// The number with this 32-bit pattern.
    @inlinable public init(_ value: UInt32) { self.value = value }

    /// The number `n` further on.
    @inlinable public static func + (a: SequenceNumber, n: UInt32) -> SequenceNumber { SequenceNumber(a.value &+ n) }
    /// The number `n` further back.
    @inlinable public static func - (a: SequenceNumber, n: UInt32) -> SequenceNumber { SequenceNumber(a.value &- n) }

    /// How far `other` lies after this number, from -2^31 to 2^31 - 1.
    @inlinable public func distance(to other: SequenceNumber) -> Int32 { Int32(bitPattern: other.value &- value) }

    /// True if this number lies before `other` (and less than 2^31 away).
    @inlinable public func isBefore(_ other: SequenceNumber) -> Bool { distance(to: other) > 0 }

    /// True if this number lies after `other` (and less than 2^31 away).
    @inlinable public func isAfter(_ other: SequenceNumber) -> Bool { distance(to: other) < 0 }
}

extension SequenceNumber: CustomStringConvertible {
    /// The number in decimal.
    public var description: String { String(value) }
}

/// A half-open range [start, start + length) of the sequence space; the length is below 2^32.
public struct SequenceRange: Hashable, Sendable, BitwiseCopyable {
    /// The first number of the range.
    public let start: SequenceNumber
    /// How many numbers it covers.
    public let length: UInt32

    /// The range that starts at `start` and covers `length` numbers.
    @inlinable public init(start: SequenceNumber, length: UInt32) {
        self.start = start
        self.length = length
    }

    /// The range from `start` up to but not including `end`.
    @inlinable public init(start: SequenceNumber, end: SequenceNumber) {
        self.init(start: start, length: end.value &- start.value)
    }

    /// The first number after the range.
    @inlinable public var end: SequenceNumber { start + length }

    /// True if it covers nothing.
    @inlinable public var isEmpty: Bool { length == 0 }

    /// True if `number` lies in the range, wherever the range wraps.
    @inlinable public func contains(_ number: SequenceNumber) -> Bool { number.value &- start.value < length }
}

extension SequenceRange: CustomStringConvertible {
    /// `start..<end` in decimal.
    public var description: String { "\(start)..<\(end)" }
}

/// A position in one direction of a connection that never wraps: 0 is the SYN, 1 the first byte of data. It counts bytes
/// sent or received in a connection's life; the 32-bit number exists only on the wire.
public struct StreamOffset: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// Numbers since the initial sequence number.
    public let value: UInt64

    /// The position `value` after the initial sequence number.
    @inlinable public init(_ value: UInt64) { self.value = value }

    /// The position of the SYN.
    @inlinable public static var zero: StreamOffset { StreamOffset(0) }

    /// Order in the stream.
    @inlinable public static func < (a: StreamOffset, b: StreamOffset) -> Bool { a.value < b.value }
    /// The position `n` further on.
    @inlinable public static func + (a: StreamOffset, n: Int) -> StreamOffset {
        StreamOffset(a.value &+ UInt64(bitPattern: Int64(n)))
    }
    /// The position `n` further back.
    @inlinable public static func - (a: StreamOffset, n: Int) -> StreamOffset {
        StreamOffset(a.value &- UInt64(bitPattern: Int64(n)))
    }
    /// The signed distance from `b` to `a`.
    @inlinable public static func - (a: StreamOffset, b: StreamOffset) -> Int {
        Int(Int64(bitPattern: a.value &- b.value))
    }

    /// The number on the wire of this position, for a direction that began at `initial`.
    @inlinable public func wrapped(from initial: SequenceNumber) -> SequenceNumber {
        initial + UInt32(truncatingIfNeeded: value)
    }

    /// The position that `number` means when it is known to lie within 2^31 of `near`. A number before the beginning
    /// of the stream gives a value near 2^64: it compares as after everything, so callers check with signed distance.
    @inlinable public static func unwrap(
        _ number: SequenceNumber, from initial: SequenceNumber, near: StreamOffset
    ) -> StreamOffset {
        near + Int(near.wrapped(from: initial).distance(to: number))
    }
}

extension StreamOffset: CustomStringConvertible {
    /// The position in decimal.
    public var description: String { String(value) }
}
