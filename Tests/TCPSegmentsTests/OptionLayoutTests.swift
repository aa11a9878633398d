// The orders and alignments in which options are written.
import TCPSegments
import Testing

@Suite struct OptionLayoutTests {
    /// The options as a header carries them.
    private func options(_ options: TCPOptions, _ layout: OptionLayout) -> [UInt8] {
        let header = SegmentHeader(
            sourcePort: 1, destinationPort: 2, sequenceNumber: SequenceNumber(3), controlBits: .syn, options: options)
        var bytes = [UInt8](repeating: 0xEE, count: 60)
        let count = bytes.withUnsafeMutableBytes { $0.baseAddress.map { header.encode(into: $0, layout) } ?? 0 }
        return Array(bytes[20..<count])
    }

    private static let mss: [UInt8] = [2, 4, 5, 180], timestamps: [UInt8] = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2]

    static let layouts: [(name: String, layout: OptionLayout, mask: Int, expected: [UInt8])] = [
        ("Linux, everything", .linux, 7, mss + [4, 2] + timestamps + [1, 3, 3, 8]),
        ("Linux, no timestamps", .linux, 3, mss + [1, 1, 4, 2] + [1, 3, 3, 8]),
        ("Linux, no window scale", .linux, 6, mss + [4, 2] + timestamps),
        ("Linux, window scale alone", .linux, 1, mss + [1, 3, 3, 8]),
        ("Linux, timestamps alone", .linux, 4, mss + [1, 1] + timestamps),
        ("FreeBSD, everything", .freeBSD, 7, mss + [1, 3, 3, 8] + [4, 2] + timestamps),
        ("FreeBSD, SACK alone", .freeBSD, 2, mss + [4, 2, 0, 0]),
        ("FreeBSD, no SACK", .freeBSD, 5, mss + [1, 3, 3, 8] + [1, 1] + timestamps),
        ("compact, everything", .compact, 7, mss + [3, 3, 8, 4, 2] + timestamps + [0]),
    ]

    @Test("a SYN's options have the order and the padding of the system", arguments: layouts.indices)
    func syn(_ index: Int) {
        let (name, layout, mask, expected) = Self.layouts[index]
        var o = TCPOptions()
        o.maximumSegmentSize = 1460
        if mask & 1 != 0 { o.windowScale = 8 }
        o.sackPermitted = mask & 2 != 0
        if mask & 4 != 0 { o.timestamps = Timestamps(value: 1, echoReply: 2) }
        #expect(options(o, layout) == expected, "\(name)")
        #expect(o.encodedLength(layout) == expected.count, "\(name)")
    }

    @Test(
        "SACK blocks follow two NOPs, as many as fit, and the length is told beforehand",
        arguments: [OptionLayout.compact, .linux, .freeBSD], [0, 1])
    func blocks(_ layout: OptionLayout, _ withTimestamps: Int) throws {
        for count in 1...(withTimestamps == 1 ? 3 : 4) {
            var o = TCPOptions()
            if withTimestamps == 1 { o.timestamps = Timestamps(value: 1, echoReply: 2) }
            for block in 0..<count {
                o.sackBlocks.append(SequenceRange(start: SequenceNumber(UInt32(block) * 100), length: 10))
            }
            let bytes = options(o, layout)
            #expect(bytes.count == o.encodedLength(layout))
            if layout != .compact {
                let begin = withTimestamps == 1 ? 12 : 0
                #expect(Array(bytes[begin..<(begin + 4)]) == [1, 1, 5, UInt8(2 + 8 * count)])
            }
            let wire =
                [UInt8](repeating: 0, count: 12) + [UInt8((20 + bytes.count) / 4) << 4]
                + [UInt8](repeating: 0, count: 7)
            let back = try (wire + bytes).withUnsafeBytes { try SegmentDecoder.decode($0) }
            #expect(back.header.options.sackBlocks.count == count)
            #expect(back.header.options.timestamps == o.timestamps)
        }
    }

    @Test("whatever the options are, no more than forty bytes are written", arguments: [OptionLayout.linux, .freeBSD])
    func bounds(_ layout: OptionLayout) {
        var o = TCPOptions()
        o.maximumSegmentSize = 1460
        o.windowScale = 14
        o.sackPermitted = true
        o.timestamps = Timestamps(value: 1, echoReply: 2)
        for block in 0..<4 { o.sackBlocks.append(SequenceRange(start: SequenceNumber(UInt32(block)), length: 1)) }
        [UInt8](repeating: 7, count: 40).withUnsafeBytes { o.unknown.append($0) }
        let bytes = options(o, layout)
        #expect(bytes.count <= 40 && bytes.count % 4 == 0)
    }
}
