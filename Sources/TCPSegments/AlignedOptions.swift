// Options as Linux and FreeBSD lay them out: each at its own alignment, behind NOPs.

/// Writes options from byte 20 of a header on. What would go beyond 40 bytes is left out.
struct AlignedOptionWriter {
    let target: UnsafeMutableRawPointer
    /// Where the next byte goes: 20 to 60.
    private(set) var end = 20

    init(target: UnsafeMutableRawPointer) { self.target = target }

    mutating func put(_ options: TCPOptions, _ layout: OptionLayout) {
        if let mss = options.maximumSegmentSize { put([2, 4, UInt8(mss >> 8), UInt8(mss & 0xFF)]) }
        if layout == .linux { putLinux(options) } else { putFreeBSD(options) }
        // RFC 9293 3.1: the end of the list, and zeros behind it.
        while end & 3 != 0 { put([0]) }
    }

    private mutating func putLinux(_ options: TCPOptions) {
        if let timestamps = options.timestamps {
            put(options.sackPermitted ? [4, 2] : [1, 1])
            put(timestamps)
        } else if options.sackPermitted {
            put([1, 1, 4, 2])
        }
        if let scale = options.windowScale { put([1, 3, 3, scale]) }
        put(options.sackBlocks)
        if options.unknown.count > 0 {
            options.unknown.withBytes { put(Array($0)) }
            align(to: 0)
        }
    }

    private mutating func putFreeBSD(_ options: TCPOptions) {
        if let scale = options.windowScale { put([1, 3, 3, scale]) }
        if options.sackPermitted { put([4, 2]) }
        if let timestamps = options.timestamps {
            align(to: 2)
            put(timestamps)
        }
        put(options.sackBlocks)
        if options.unknown.count > 0 { options.unknown.withBytes { put(Array($0)) } }
    }

    private mutating func put(_ timestamps: Timestamps) {
        put([8, 10] + bytes(timestamps.value) + bytes(timestamps.echoReply))
    }

    private mutating func put(_ blocks: SACKBlocks) {
        // Behind two NOPs, as many as there is room for.
        let count = min(blocks.count, (60 - end - 4) / 8)
        guard count > 0 else { return }
        align(to: 2)
        put([5, UInt8(2 + 8 * count)])
        for index in 0..<count { put(bytes(blocks[index].start.value) + bytes(blocks[index].end.value)) }
    }

    /// NOPs until the place is `remainder` bytes past a multiple of four.
    private mutating func align(to remainder: Int) { while end & 3 != remainder, end < 60 { put([1]) } }

    private mutating func put(_ bytes: [UInt8]) {
        // Bounds: nothing is written beyond byte 60.
        guard end + bytes.count <= 60 else { return }
        for byte in bytes {
            target.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
            end += 1
        }
    }

    private func bytes(_ number: UInt32) -> [UInt8] {
        [UInt8(number >> 24), UInt8(number >> 16 & 0xFF), UInt8(number >> 8 & 0xFF), UInt8(number & 0xFF)]
    }
}
