// Segments that make no sense, for nobody, for a listener, and in connections of the attacker's own.
import TCPSegments

extension HostileInput {
    static let segments: [HostileInput] = undecodable + crossed + nonsense + data

    private static func toPort(
        _ port: UInt16, from source: UInt16 = 40_000, _ bits: ControlBits = .syn, seq: UInt32 = 1, ack: UInt32 = 0
    ) -> SegmentHeader {
        SegmentHeader(
            sourcePort: source, destinationPort: port, sequenceNumber: SequenceNumber(seq),
            acknowledgmentNumber: SequenceNumber(ack), controlBits: bits, window: WindowField(1000))
    }

    /// Dropped and counted; the connection lives.
    private static let undecodable: [HostileInput] =
        [1, 2, 13, 19].map { count in
            HostileInput(.segments, "a segment of \(count) bytes") { siege in
                let link = try siege.link()
                link.send(frame: Array(segmentBytes(toPort(7))[..<count]))
                try link.settle()
            }
        }
        + (0...15).filter { $0 != 5 }.map { words in
            HostileInput(.segments, "a data offset of \(words) words in twenty bytes") { siege in
                let link = try siege.link()
                var bytes = segmentBytes(toPort(7))
                bytes[12] = UInt8(words) << 4
                link.send(frame: bytes)
                try link.settle()
            }
        } + [
            HostileInput(.segments, "checksums that are wrong") { siege in
                let link = try siege.link()
                for sum: [UInt8] in [[0, 1], [0xFF, 0xFF], [0x80, 0], [0xDE, 0xAD]] {
                    var bytes = segmentBytes(toPort(7))
                    bytes.replaceSubrange(16..<18, with: sum)
                    link.send(frame: bytes)
                }
                try link.settle()
                // None of them was believed: nobody is half open.
                if link.receive(within: .milliseconds(1)) != nil { throw Failure("a wrong checksum was believed") }
            }
        ]

    /// Every combination of the nine control bits in every situation.
    private static let crossed: [HostileInput] =
        [
            HostileInput(.segments, "every combination of control bits for a port nobody has") { siege in
                let link = try siege.link()
                for bits in 0..<UInt16(512) { link.send(toPort(999, ControlBits(rawValue: bits), ack: 77)) }
                try link.settle()
            },
            HostileInput(.segments, "every combination of control bits for a listener") { siege in
                let link = try siege.link()
                for bits in 0..<UInt16(512) {
                    link.send(toPort(7, from: 10_000 + bits, ControlBits(rawValue: bits), ack: 77))
                }
                try link.settle()
                // The half-open ones are given back, or nobody could connect for a while.
                for bits in 0..<UInt16(512) { link.send(toPort(7, from: 10_000 + bits, .rst, seq: 2)) }
                try link.settle()
            },
            HostileInput(.segments, "every combination of control bits for a half-open connection") { siege in
                for bits in 0..<UInt16(512) {
                    let link = try siege.link()
                    let conversation = RawConversation(link, from: 10_000 + bits)
                    try conversation.synchronise()
                    conversation.send(ControlBits(rawValue: bits), seq: 1, ack: Int(bits) % 3)
                    conversation.send(.rst)
                    try link.settle()
                }
            },
        ]
        + [
            (1, "at the expected number"), (0, "one before"), (2, "one beyond"), (100_000, "beyond the window"),
            (Int(Int32.max), "half the space away"),
        ].map { offset, where_ in
            HostileInput(.segments, "every combination of control bits in a connection, \(where_)") { siege in
                let link = try siege.link()
                for bits in 0..<UInt16(512) {
                    let conversation = RawConversation(link, from: 10_000 + bits)
                    try conversation.establish()
                    conversation.send(ControlBits(rawValue: bits), seq: offset, ack: Int(bits) % 4, urgent: bits)
                    conversation.send(
                        ControlBits(rawValue: bits), seq: offset, ack: Int(bits) % 4, [1, 2, 3], urgent: bits)
                    conversation.send([.rst], seq: 1)
                }
                try link.settle()
            }
        }

    private static let nonsense: [HostileInput] = [
        HostileInput(.segments, "ports of zero") { siege in
            let link = try siege.link()
            for bits: ControlBits in [.syn, .ack, .rst, .fin, [.syn, .ack]] {
                for (from, to) in [(0, 7), (40_000, 0), (0, 0)] as [(UInt16, UInt16)] {
                    link.send(toPort(to, from: from, bits))
                }
            }
            link.send(toPort(7, from: 0, .rst, seq: 2))
            try link.settle()
        },
        HostileInput(.segments, "a SYN from the listener's own port") { siege in
            let link = try siege.link()
            let conversation = RawConversation(link, from: 7)
            try conversation.establish()
            try conversation.requireEcho()
            conversation.send(.rst, seq: 6)
        },
        HostileInput(.segments, "a handshake acknowledged with a wrong number") { siege in
            let conversation = RawConversation(try siege.link())
            try conversation.synchronise()
            for ack in [0, 2, 1000, -1000, Int(Int32.max), Int(Int32.min)] { conversation.send(.ack, ack: ack) }
            conversation.send(.ack)
            try conversation.requireEcho()
            conversation.send(.rst, seq: 6)
        },
        HostileInput(.segments, "the SYN again and again, with other numbers") { siege in
            let link = try siege.link()
            for seq in 0..<UInt32(5000) {
                link.send(toPort(7, seq: seq &* 77_777))
                if seq % 500 == 0 { try link.settle() }
            }
            try link.settle()
            link.send(toPort(7, .rst, seq: 4999 &* 77_777 &+ 1))
        },
        HostileInput(.segments, "a SYN that carries data and FIN") { siege in
            let conversation = RawConversation(try siege.link())
            conversation.link.send(conversation.header([.syn, .fin], seq: 0), pattern(1000))
            guard let (header, _) = conversation.receive(), header.controlBits.contains(.syn) else {
                throw Failure("no SYN-ACK")
            }
            conversation.send(.rst, seq: 1)
            try conversation.link.settle()
        },
        HostileInput(.segments, "acknowledgments of what was never sent") { siege in
            let conversation = try siege.conversation()
            for ack in [2, 1000, 1 << 20, 1 << 30, Int(Int32.max), Int(Int32.min), -100_000] {
                conversation.send(.ack, ack: ack)
                conversation.send([.ack, .psh], ack: ack, Array("nonsense".utf8))
            }
            try conversation.requireEcho()
            conversation.send(.rst, seq: 6)
        },
        HostileInput(.segments, "a window that closes, opens, shrinks and jumps") { siege in
            let conversation = try siege.conversation()
            let bytes = pattern(30_000)
            conversation.send([.ack, .psh], bytes)
            for i in 0..<2000 {
                conversation.send(.ack, seq: 30_001, window: UInt16(truncatingIfNeeded: i &* 7919))
                conversation.send(.ack, seq: 30_001, window: 0)
            }
            conversation.send(.ack, seq: 30_001)
            guard try conversation.readEcho(30_000, seq: 30_001) == bytes else { throw Failure("wrong echo") }
            conversation.send(.rst, seq: 30_001)
        },
        HostileInput(.segments, "a window of zero for ever") { siege in
            let conversation = try siege.conversation(window: 0)
            conversation.send([.ack, .psh], pattern(30_000), window: 0)
            for _ in 0..<3 {
                guard let (header, _) = conversation.receive() else { throw Failure("no probe") }
                conversation.send(.ack, seq: 30_001, window: 0)
                _ = header
            }
            conversation.send(.rst, seq: 30_001)
        },
        HostileInput(.segments, "an urgent pointer anywhere") { siege in
            let conversation = try siege.conversation()
            for pointer: UInt16 in [0, 1, 5, 6, 0x7FFF, 0x8000, 0xFFFF] {
                for seq in [1, 0, 2, -5, 100_000, Int(Int32.max)] {
                    conversation.send([.ack, .urg], seq: seq, urgent: pointer)
                }
            }
            for pointer in UInt16(1)...2000 { conversation.send([.ack, .urg], urgent: pointer) }
            try conversation.requireEcho()
            conversation.send(.rst, seq: 6)
        },
    ]

    private static let data: [HostileInput] = [
        HostileInput(.segments, "overlapping data that disagrees") { siege in
            let conversation = try siege.conversation()
            conversation.send(.ack, seq: 11, [UInt8](repeating: 1, count: 10))
            conversation.send(.ack, seq: 6, [UInt8](repeating: 2, count: 25))
            conversation.send(.ack, seq: 1, [UInt8](repeating: 3, count: 5))
            conversation.send(.ack, seq: 1, [UInt8](repeating: 4, count: 30))
            let echo = try conversation.readEcho(30, seq: 31)
            // Of bytes that came twice ahead of a hole the first are the ones that count.
            let first = [(5, 3), (5, 2), (10, 1), (10, 2)] as [(Int, UInt8)]
            guard echo == first.flatMap({ [UInt8](repeating: $0.1, count: $0.0) }) else {
                throw Failure("bytes changed under way: \(echo)")
            }
            conversation.send(.rst, seq: 31)
        },
        HostileInput(.segments, "every other byte, last ones first") { siege in
            let conversation = try siege.conversation()
            for position in stride(from: 60_001, to: 1, by: -2) {
                conversation.send(.ack, seq: position, [7])
                if position % 1000 == 1 { try conversation.link.settle() }
            }
            try conversation.link.settle()
            conversation.send(.rst)
        },
        HostileInput(.segments, "data beyond the window, before it, and across both edges") { siege in
            let conversation = try siege.conversation()
            for seq in [70_000, 66_000, 65_535, 65_536, 1 << 20, 1 << 30, -3, 0, Int(Int32.max)] {
                conversation.send(.ack, seq: seq, pattern(1000))
            }
            try conversation.link.settle()
            conversation.send(.rst)
        },
        HostileInput(.segments, "a FIN here, there and everywhere") { siege in
            let conversation = try siege.conversation()
            for seq in [5000, 100, 3000, 65_000, -7, 0, 70_000, 1 << 30] {
                conversation.send([.ack, .fin], seq: seq)
                conversation.send([.ack, .fin], seq: seq, [1, 2, 3])
            }
            try conversation.link.settle()
            conversation.send(.rst)
        },
        HostileInput(.segments, "data after a FIN") { siege in
            let conversation = try siege.conversation()
            conversation.send([.ack, .fin], [1, 2, 3])
            for seq in [4, 5, 6, 1000] { conversation.send([.ack, .psh], seq: seq, [4, 5, 6]) }
            for seq in [1, 4, 5] { conversation.send([.ack, .fin], seq: seq) }
            try conversation.link.settle()
            conversation.send(.rst, seq: 5)
        },
        HostileInput(.segments, "segments for a connection that has ended") { siege in
            let conversation = try siege.conversation()
            conversation.send([.ack, .fin], seq: 1)
            // The echo server ends as well; from then on it is LAST-ACK, then nothing.
            guard
                conversation.link.receive({ header, _ in header.controlBits.contains(.fin) }) != nil
            else { throw Failure("no FIN") }
            for bits in 0..<UInt16(256) { conversation.send(ControlBits(rawValue: bits), seq: 2, ack: 2, [1]) }
            try conversation.link.settle()
        },
        HostileInput(.segments, "segments for a connection in TIME-WAIT", launch: Launch(arguments: ["--msl", "5s"])) {
            siege in
            // The victim closes first: its own client on the attacker's port.
            let conversation = try siege.conversation()
            siege.server.keepOnly([siege.victimAddress, siege.neighbourAddress])
            guard
                conversation.link.receive({ header, _ in header.controlBits.contains(.fin) }) != nil
            else { throw Failure("no FIN") }
            conversation.send([.ack, .fin], seq: 1, ack: 2)
            guard conversation.receive() != nil else { throw Failure("no ACK of the FIN") }
            for bits in 0..<UInt16(512) where bits & 2 == 0 {
                for seq in [2, 1, 3, 100_000, -100_000] {
                    conversation.send(ControlBits(rawValue: bits), seq: seq, ack: 2, bits % 3 == 0 ? [1] : [])
                }
            }
            try conversation.link.settle()
        },
    ]
}
