// The AccECN option (RFC 9768 3.2.3): how many bytes came with which codepoint, in counters of 24 bits.
import TCPSegments

/// The counters of an AccECN option, as far as it carries them.
struct AccurateECNOption: Equatable {
    /// EE0B, ECEB, EE1B.
    var capable0, marked, capable1: Int?

    /// The kinds of the two orders, ECT(0) or ECT(1) first.
    static var kind0: UInt8 { 172 }
    static var kind1: UInt8 { 174 }

    /// Reads the option; nil if there is none, or if its length is none of 0, 3, 6 and 9 bytes.
    init?(_ options: UnknownOptions) {
        guard options.count > 0 else { return nil }
        var bytes = InlineArray<9, UInt8>(repeating: 0)
        var isOrder0 = true
        var length = options.value(ofKind: Self.kind0, into: &bytes)
        if length == nil {
            isOrder0 = false
            length = options.value(ofKind: Self.kind1, into: &bytes)
        }
        guard let length, length % 3 == 0 else { return nil }
        func counter(_ index: Int) -> Int? {
            guard length >= 3 * index + 3 else { return nil }
            return Int(bytes[3 * index]) << 16 | Int(bytes[3 * index + 1]) << 8 | Int(bytes[3 * index + 2])
        }
        (capable0, marked, capable1) =
            isOrder0 ? (counter(0), counter(1), counter(2)) : (counter(2), counter(1), counter(0))
    }

    /// Adds the option with the first two counters, which is all that a sender of ECT(0) needs: eight bytes.
    static func add(capable0: Int, marked: Int, to options: inout TCPOptions) {
        let bytes: InlineArray<8, UInt8> = [
            kind0, 8, UInt8(truncatingIfNeeded: capable0 >> 16), UInt8(truncatingIfNeeded: capable0 >> 8),
            UInt8(truncatingIfNeeded: capable0), UInt8(truncatingIfNeeded: marked >> 16),
            UInt8(truncatingIfNeeded: marked >> 8), UInt8(truncatingIfNeeded: marked),
        ]
        withUnsafeBytes(of: bytes) { options.unknown.append($0) }
    }
}
