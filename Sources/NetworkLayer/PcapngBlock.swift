// The blocks of a pcapng stream (draft-ietf-opsawg-pcapng): how they are put together.

/// A block under construction, in little-endian order.
struct PcapngBlock {
    /// Block types.
    enum Kind: UInt32 {
        case section = 0x0A0D_0D0A
        case interface = 1
        case statistics = 5
        case packet = 6
    }

    private var bytes: [UInt8]
    private var hasOptions = false

    init(_ kind: Kind, capacity: Int = 128) {
        bytes = []
        bytes.reserveCapacity(capacity)
        put(kind.rawValue)
        put(UInt32(0))
    }

    /// Appends a number.
    mutating func put(_ value: some FixedWidthInteger & BitwiseCopyable) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }

    /// Appends a time: its upper half, then its lower half.
    mutating func put(time: Int64) {
        put(UInt32(truncatingIfNeeded: time >> 32))
        put(UInt32(truncatingIfNeeded: time))
    }

    /// Appends what `fill` appends, padded to a multiple of four bytes.
    mutating func put(padded fill: (inout [UInt8]) -> Void) {
        fill(&bytes)
        while !bytes.count.isMultiple(of: 4) { bytes.append(0) }
    }

    /// Appends an option.
    mutating func option(_ code: UInt16, _ value: some Collection<UInt8>) {
        hasOptions = true
        put(code)
        put(UInt16(clamping: value.count))
        put(padded: { $0 += value.prefix(Int(UInt16.max)) })
    }

    /// Appends an option that is text.
    mutating func option(_ code: UInt16, _ text: String) { option(code, Array(text.utf8)) }

    /// Appends an option that is a number.
    mutating func option(_ code: UInt16, number: some FixedWidthInteger & BitwiseCopyable) {
        option(code, withUnsafeBytes(of: number.littleEndian) { Array($0) })
    }

    /// Appends an option that is a time.
    mutating func option(_ code: UInt16, time: Int64) {
        hasOptions = true
        put(code)
        put(UInt16(8))
        put(time: time)
    }

    /// The finished block.
    mutating func finished() -> [UInt8] {
        if hasOptions { put(UInt32(0)) }
        let length = UInt32(bytes.count + 4)
        withUnsafeBytes(of: length.littleEndian) { for i in 0..<4 { bytes[4 + i] = $0[i] } }
        put(length)
        return bytes
    }
}
