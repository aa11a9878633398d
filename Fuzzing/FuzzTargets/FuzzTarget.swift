// What is fuzzed, by name. A target takes any bytes; it stops the process where something that must hold does not.

/// One thing that takes bytes from outside.
public struct FuzzTarget: Sendable {
    /// Its name, which is also the name of its corpus' folder.
    public let name: String
    /// The longest input that is worth trying, in bytes.
    public let maximumLength: Int
    /// Tries an input. It returns, or a precondition fails.
    public let run: @Sendable (UnsafeRawBufferPointer) -> Void

    /// All there are.
    public static let all: [FuzzTarget] = [
        FuzzTarget(name: "segment", maximumLength: 128, run: fuzzSegment),
        FuzzTarget(name: "frames", maximumLength: 4096, run: fuzzFrames),
        FuzzTarget(name: "ip", maximumLength: 256, run: fuzzIP),
        FuzzTarget(name: "icmp", maximumLength: 256, run: fuzzICMP),
        FuzzTarget(name: "messages", maximumLength: 1024, run: fuzzMessages),
        FuzzTarget(name: "text", maximumLength: 96, run: fuzzText),
        FuzzTarget(name: "drill", maximumLength: 1024, run: fuzzDrill),
        FuzzTarget(name: "connection", maximumLength: 2048, run: fuzzConnection),
    ]

    /// The target of this name.
    public static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// Takes values out of an input; what is not there is zero.
struct FuzzInput {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { position >= bytes.count }

    mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func word() -> UInt16 { UInt16(byte()) << 8 | UInt16(byte()) }
    mutating func long() -> UInt32 { UInt32(word()) << 16 | UInt32(word()) }

    /// A distance that is mostly small.
    mutating func distance() -> Int32 {
        let first = Int8(bitPattern: byte())
        // The ends of the range stand for farther ones.
        switch first {
        case 100...127: return Int32(first - 99) &* Int32(word())
        case -128 ... -100: return Int32(first + 99) &* Int32(word())
        default: return Int32(first)
        }
    }

    /// Up to `count` bytes.
    mutating func take(_ count: Int) -> UnsafeRawBufferPointer {
        let end = min(position + max(count, 0), bytes.count)
        defer { position = end }
        return UnsafeRawBufferPointer(rebasing: bytes[min(position, end)..<end])
    }

    mutating func rest() -> UnsafeRawBufferPointer { take(bytes.count) }
}
