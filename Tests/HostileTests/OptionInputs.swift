// Options of every kind and length: on SYNs, and in connections.
import TCPSegments

extension HostileInput {
    static let options: [HostileInput] = listed + meant

    /// Bytes where options belong, and whether a segment with them can be decoded.
    private struct OptionBytes: Sendable {
        let name: String
        let bytes: [UInt8]
        let decodes: Bool
        init(_ name: String, _ bytes: [UInt8], _ decodes: Bool) {
            self.name = name
            self.bytes = bytes
            self.decodes = decodes
        }
    }

    private static let table: [OptionBytes] = [
        OptionBytes("MSS of length 0", [2, 0, 5, 0xB4], false),
        OptionBytes("MSS of length 1", [2, 1, 5, 0xB4], false),
        OptionBytes("MSS of length 2", [2, 2], true),
        OptionBytes("MSS of length 3", [2, 3, 5, 1], true),
        OptionBytes("MSS of length 5", [2, 5, 5, 0xB4, 0, 1, 1, 1], true),
        OptionBytes("MSS that runs past the header", [2, 40, 5, 0xB4], false),
        OptionBytes("MSS of 0", [2, 4, 0, 0], true),
        OptionBytes("MSS of 1", [2, 4, 0, 1], true),
        OptionBytes("MSS of 65,535", [2, 4, 0xFF, 0xFF], true),
        OptionBytes("MSS twice, different", [2, 4, 0, 9, 2, 4, 5, 0xB4], true),
        OptionBytes("window scale of length 0", [3, 0, 7, 1], false),
        OptionBytes("window scale of length 2", [3, 2, 1, 1], true),
        OptionBytes("window scale of length 4", [3, 4, 7, 7], true),
        OptionBytes("window scale of 15", [3, 3, 15, 1], true),
        OptionBytes("window scale of 255", [3, 3, 255, 1], true),
        OptionBytes("SACK-permitted of length 1", [4, 1, 1, 1], false),
        OptionBytes("SACK-permitted of length 3", [4, 3, 0, 1], true),
        OptionBytes("SACK of length 2", [5, 2, 1, 1], true),
        OptionBytes("SACK of length 9", [5, 9, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1], true),
        OptionBytes("SACK of length 10 that ends before it begins", [5, 10, 0, 0, 0, 9, 0, 0, 0, 1, 1, 1], true),
        OptionBytes("SACK of length 40", [5, 40] + [UInt8](repeating: 0xFF, count: 38), true),
        OptionBytes("SACK past the header", [5, 34, 0, 0], false),
        OptionBytes(
            "SACK of four blocks of nonsense", [5, 34] + (0..<32).map { UInt8(truncatingIfNeeded: $0 &* 37) }, true),
        OptionBytes("timestamps of length 8", [8, 8, 0, 0, 0, 1, 0, 0], true),
        OptionBytes("timestamps of length 12", [8, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], true),
        OptionBytes("timestamps cut off", [8, 10, 0, 0], false),
        OptionBytes("timestamps of zeros", [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0], true),
        OptionBytes("timestamps of ones", [1, 1, 8, 10] + [UInt8](repeating: 0xFF, count: 8), true),
        OptionBytes("an unknown kind of length 0", [253, 0, 1, 1], false),
        OptionBytes("an unknown kind of length 1", [254, 1, 1, 1], false),
        OptionBytes("an unknown kind of length 2", [253, 2, 1, 1], true),
        OptionBytes("an unknown kind of length 40", [254, 40] + [UInt8](repeating: 9, count: 38), true),
        OptionBytes("an unknown kind of length 255", [254, 255, 0, 0], false),
        OptionBytes("a kind without its length at the very end", [1, 1, 1, 99], false),
        OptionBytes("an MD5 signature", [19, 18] + [UInt8](repeating: 0xAB, count: 16) + [1, 1], true),
        OptionBytes("a fast open cookie", [34, 10] + [UInt8](repeating: 0xCD, count: 8) + [1, 1], true),
        OptionBytes("a request for a fast open cookie, and what follows it", [34, 2, 34, 2], true),
        OptionBytes("fast open cookies of lengths that there are not", [34, 3, 1, 34, 5, 1, 2, 3, 34, 4, 1, 2], true),
        OptionBytes("a fast open cookie of 18 bytes", [34, 20] + [UInt8](repeating: 0xCD, count: 18), true),
        OptionBytes("a fast open cookie that runs past the header", [34, 18, 1, 2], false),
        OptionBytes("an experimental fast open cookie cut off", [254, 3, 0xF9, 254, 2, 1, 1, 1], true),
        OptionBytes("an experimental fast open cookie", [254, 12, 0xF9, 0x89] + [UInt8](repeating: 1, count: 8), true),
        OptionBytes(
            "user timeouts of 0, and of a length that there is not", [28, 4, 0, 0, 28, 4, 0x80, 0, 28, 3, 1, 1], true),
        OptionBytes("multipath TCP", [30, 12, 0, 0x81] + [UInt8](repeating: 0xEF, count: 8), true),
        OptionBytes("forty no-operations", [UInt8](repeating: 1, count: 40), true),
        OptionBytes("an end of the list, then garbage", [0, 2, 0, 3, 255, 255, 8, 0], true),
        OptionBytes("twenty options of length 2", (0..<20).flatMap { [UInt8(100 + $0), 2] }, true),
        OptionBytes(
            "all known kinds at once",
            [2, 4, 5, 0xB4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 3, 7, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9], true
        ),
    ]

    private static let listed: [HostileInput] = table.map { option in
        let (bytes, decodes) = (option.bytes, option.decodes)
        return HostileInput(.options, option.name) { siege in
            let asSyn = RawConversation(try siege.link())
            if decodes {
                try asSyn.establish(options: bytes)
                try asSyn.requireEcho()
                asSyn.send(.rst, seq: 6)
            } else {
                asSyn.link.send(frame: segmentBytes(asSyn.header(.syn, seq: 0, ack: 0), options: bytes))
                try asSyn.link.settle()
                if asSyn.link.receive(within: .milliseconds(1)) != nil { throw Failure("it was believed") }
            }
            let later = RawConversation(try siege.link(), from: 40_001)
            try later.establish()
            for (bits, seq) in [(.ack, 1), ([.ack, .psh], 70_000), (.syn, 1), ([.rst], 2), (.ack, 0)]
                as [(ControlBits, Int)]
            {
                later.link.send(frame: segmentBytes(later.header(bits, seq: seq), options: bytes))
                later.link.send(frame: segmentBytes(later.header(bits, seq: seq + 5), options: bytes, [7]))
            }
            // One byte beyond the next six may be there now: what lies before it comes back.
            try later.link.settle()
            later.send(.rst)
        }
    }

    /// Well-formed options with values that are meant to hurt.
    private static let meant: [HostileInput] = [
        HostileInput(.options, "an MSS of 1 and a long answer") { siege in
            let conversation = try siege.conversation(options: [2, 4, 0, 1])
            let bytes = pattern(3000)
            conversation.send([.ack, .psh], bytes)
            guard try conversation.readEcho(3000, seq: 3001) == bytes else { throw Failure("wrong echo") }
            conversation.send(.rst, seq: 3001)
        },
        HostileInput(.options, "an MSS of 1, timestamps and a window that opens by a byte") { siege in
            let conversation = try siege.conversation(
                options: [2, 4, 0, 1, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0], window: 0)
            let stamped: (inout TCPOptions) -> Void = { $0.timestamps = Timestamps(value: 2, echoReply: 1) }
            conversation.send([.ack, .psh], pattern(10_000), window: 0, stamped)
            for window in UInt16(1)...4000 { conversation.send(.ack, seq: 10_001, window: window, stamped) }
            try conversation.link.settle()
            conversation.send(.rst, seq: 10_001)
        },
        HostileInput(.options, "timestamps that run backwards") { siege in
            let conversation = try siege.conversation(options: [1, 1, 8, 10, 0xF0, 0, 0, 0, 0, 0, 0, 0])
            for value in stride(from: UInt32(0xF000_0000), to: 0x7000_0001, by: -0x0800_0000) {
                conversation.send([.ack, .psh], seq: 1, [1]) {
                    $0.timestamps = Timestamps(value: value &- 1, echoReply: value)
                }
            }
            conversation.send([.ack, .psh], seq: 1, Array("hello".utf8)) {
                $0.timestamps = Timestamps(value: 0xF000_0001, echoReply: 0)
            }
            guard try conversation.readEcho(5, seq: 6) == Array("hello".utf8) else { throw Failure("wrong echo") }
            conversation.send(.rst, seq: 6)
        },
        HostileInput(.options, "timestamps that jump ahead, and echoes from the future") { siege in
            let conversation = try siege.conversation(options: [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0])
            var ack = 1
            for i in 0..<60 {
                conversation.send([.ack, .psh], seq: 1 + i, ack: ack, [UInt8(i)]) {
                    $0.timestamps = Timestamps(value: UInt32(i) &* 0x0400_0000, echoReply: UInt32(i) &* 0x0515_1515)
                }
                guard let (_, payload) = conversation.link.receive({ _, payload in !payload.isEmpty }) else { break }
                ack += payload.count
            }
            conversation.send(.rst, seq: 61)
        },
        HostileInput(.options, "selective acknowledgments of everything and nothing") { siege in
            let conversation = try siege.conversation(options: [4, 2, 1, 1])
            conversation.send([.ack, .psh], pattern(30_000))
            let una = conversation.irs + 1
            let ranges: [(UInt32, UInt32)] = [
                (0, 0), (0, .max), (1, 0), (100, 50), (0x8000_0000, 1), (10, 20), (15, 25), (20, 10),
                (1 << 20, 1 << 21),
                (.max, 5), (0, 30_000), (29_999, 30_000),
            ]
            for (start, end) in ranges {
                for (other, further) in ranges {
                    conversation.send(.ack, seq: 30_001) {
                        $0.sackBlocks.append(SequenceRange(start: una + start, end: una + end))
                        $0.sackBlocks.append(SequenceRange(start: una + other, end: una + further))
                    }
                }
            }
            guard try conversation.readEcho(30_000, seq: 30_001).count >= 30_000 else { throw Failure("no echo") }
            conversation.send(.rst, seq: 30_001)
        },
        HostileInput(.options, "a window scale of 14 and windows of every size") { siege in
            let conversation = try siege.conversation(options: [3, 3, 14, 1])
            conversation.send([.ack, .psh], pattern(30_000))
            for window in stride(from: UInt16(0), to: 65_500, by: 97) {
                conversation.send(.ack, seq: 30_001, window: window)
            }
            try conversation.link.settle()
            conversation.send(.rst, seq: 30_001)
        },
    ]
}
