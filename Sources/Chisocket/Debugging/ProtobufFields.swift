// protobuf's wire format, as far as chiTCP's messages use it: a message is a row of fields, each a key (number and wire
// type) and a value. See https://protobuf.dev/programming-guides/encoding.

/// The wire types that occur.
private enum WireType {
    static let varint: UInt64 = 0
    static let fixed64: UInt64 = 1
    static let lengthDelimited: UInt64 = 2
    static let fixed32: UInt64 = 5
}

/// A message under construction.
struct ProtobufWriter {
    /// The fields so far.
    private(set) var bytes: [UInt8] = []

    /// Appends an int32 or an enum.
    mutating func write(_ value: Int32, field: Int) {
        appendVarint(UInt64(field) << 3 | WireType.varint)
        // A negative int32 is sign-extended to 64 bits.
        appendVarint(UInt64(bitPattern: Int64(value)))
    }

    /// Appends a message inside this one.
    mutating func write(_ message: ProtobufWriter, field: Int) {
        appendVarint(UInt64(field) << 3 | WireType.lengthDelimited)
        appendVarint(UInt64(message.bytes.count))
        bytes += message.bytes
    }

    private mutating func appendVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}

/// The fields of a message, one after another.
struct ProtobufReader {
    /// A field's value.
    enum Value: Equatable {
        case integer(Int32)
        case bytes(ArraySlice<UInt8>)
    }

    private var rest: ArraySlice<UInt8>

    /// A reader of a whole message.
    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    /// The bytes were no message.
    struct Malformed: Error {}

    /// The next field, or nil at the end. Values of 32 and 64 fixed bits, which no known field has, are passed over.
    mutating func next() throws(Malformed) -> (field: Int, value: Value)? {
        while !rest.isEmpty {
            let key = try varint()
            let field = Int(truncatingIfNeeded: key >> 3)
            switch key & 7 {
            case WireType.varint: return (field, .integer(Int32(truncatingIfNeeded: try varint())))
            case WireType.lengthDelimited: return (field, .bytes(try take(try varint())))
            case WireType.fixed64: _ = try take(8)
            case WireType.fixed32: _ = try take(4)
            default: throw Malformed()
            }
        }
        return nil
    }

    private mutating func varint() throws(Malformed) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 70, by: 7) {
            guard let byte = rest.popFirst() else { throw Malformed() }
            value |= UInt64(byte & 0x7f) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        throw Malformed()
    }

    private mutating func take(_ count: UInt64) throws(Malformed) -> ArraySlice<UInt8> {
        guard count <= UInt64(rest.count) else { throw Malformed() }
        defer { rest = rest.dropFirst(Int(count)) }
        return rest.prefix(Int(count))
    }
}
