// The User Timeout option (RFC 5482 3). It travels among the options that the codec only carries along.

/// How long the sender of the option keeps data that is not acknowledged: 1 s to 22 days, in whole seconds or minutes.
public struct UserTimeoutOption: Hashable, Sendable {
    /// The 16 bits: the high one says minutes, the others how many. Not 0 but for the bit.
    let field: UInt16

    private static var kind: UInt8 { 28 }
    private static var minutes: UInt16 { 0x8000 }
    private static var largest: Int64 { 0x7FFF }

    /// The time, rounded up to seconds, or to minutes if there are too many of those, and no more than the field can say.
    public init(_ time: TimeInterval) {
        let seconds = max(1, (time.nanoseconds - 1) / 1_000_000_000 + 1)
        if seconds <= Self.largest {
            field = UInt16(seconds)
        } else {
            field = Self.minutes | UInt16(min((seconds + 59) / 60, Self.largest))
        }
    }

    /// Reads one whole option; nil if it is another one, or says 0, which is reserved.
    init?(option bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 4, bytes[0] == Self.kind else { return nil }
        let field = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
        guard field & ~Self.minutes != 0 else { return nil }
        self.field = field
    }

    /// The time it says.
    public var time: TimeInterval {
        .seconds(Int64(field & ~Self.minutes) * (field & Self.minutes == 0 ? 1 : 60))
    }

    var encoded: [UInt8] { [Self.kind, 4, UInt8(field >> 8), UInt8(truncatingIfNeeded: field)] }
}

extension TCPOptions {
    /// The User Timeout option, if there is one.
    public var userTimeout: UserTimeoutOption? { unknown.first(of: [28]) { UserTimeoutOption(option: $0) } }

    /// Adds the option behind the others.
    public mutating func append(_ option: UserTimeoutOption) { unknown.append(option.encoded) }

    /// Adds the option if the header has room for it.
    public mutating func appendIfFits(_ option: UserTimeoutOption) {
        if encodedLength + option.encoded.count <= 40 { append(option) }
    }
}
