// Too much of anything: SYNs, resets, connections, real connections.
import Glibc
import TCPSegments
import TestSupport

extension HostileInput {
    private static func header(
        _ bits: ControlBits, from port: UInt16, to destination: UInt16 = 7, seq: UInt32 = 1, ack: UInt32 = 0
    ) -> SegmentHeader {
        SegmentHeader(
            sourcePort: port, destinationPort: destination, sequenceNumber: SequenceNumber(seq),
            acknowledgmentNumber: SequenceNumber(ack), controlBits: bits, window: WindowField(1000))
    }

    /// Sends one segment from each of many ports and reads what comes back, so that nothing waits.
    private static func fromPorts(
        _ link: RawLink, _ count: Int, _ bits: ControlBits, seq: UInt32 = 1, _ payload: [UInt8] = []
    ) throws {
        for start in stride(from: 0, to: count, by: 1000) {
            let burst = (start..<min(start + 1000, count)).flatMap {
                frameBytes(segmentBytes(header(bits, from: UInt16(1 + $0 % 60_000), seq: seq), payload))
            }
            link.send(burst)
            try link.settle()
        }
    }

    static let floods: [HostileInput] = [
        HostileInput(.floods, "SYNs from twenty thousand ports") { siege in
            try fromPorts(siege.link(), 20_000, .syn)
        },
        HostileInput(.floods, "SYNs with data from ten thousand ports") { siege in
            try fromPorts(siege.link(), 10_000, .syn, pattern(1000))
        },
        HostileInput(.floods, "SYNs, and ACKs of numbers that nobody made") { siege in
            let link = try siege.link()
            try fromPorts(link, 2_000, .syn)
            for round in 0..<20 {
                let burst = (0..<1000).flatMap { i in
                    frameBytes(
                        segmentBytes(
                            header(
                                .ack, from: UInt16(1 + i), seq: 2,
                                ack: UInt32(truncatingIfNeeded: (round * 1000 + i) &* 429_497))))
                }
                link.send(burst)
                try link.settle()
            }
        },
        HostileInput(
            .floods, "SYNs with data for a host that opens connections with them",
            launch: .fastOpening
        ) { siege in
            try fromPorts(siege.link(), 5_000, .syn, pattern(1000))
        },
        HostileInput(.floods, "SYNs and resets in turn from ten thousand ports") { siege in
            let link = try siege.link()
            for start in stride(from: 0, to: 10_000, by: 50) {
                let burst = (start..<(start + 50)).flatMap { i in
                    frameBytes(segmentBytes(header(.syn, from: UInt16(1 + i))))
                        + frameBytes(segmentBytes(header(.rst, from: UInt16(1 + i), seq: 2)))
                }
                link.send(burst)
                if start % 1000 == 0 { try link.settle() }
            }
            try link.settle()
        },
        HostileInput(.floods, "SYNs for every port") { siege in
            let link = try siege.link()
            for start in stride(from: 1, to: 65_000, by: 1000) {
                link.send(
                    (start..<(start + 1000)).flatMap { i in
                        i == 7 ? [] : frameBytes(segmentBytes(header(.syn, from: 40_000, to: UInt16(i))))
                    })
                try link.settle()
            }
        },
        HostileInput(.floods, "a storm of resets") { siege in try fromPorts(siege.link(), 50_000, .rst) },
        HostileInput(.floods, "a storm of ACKs") { siege in try fromPorts(siege.link(), 20_000, .ack) },
        HostileInput(.floods, "a storm of FINs") { siege in try fromPorts(siege.link(), 20_000, [.fin, .ack]) },
        HostileInput(.floods, "SYNs through twenty real connections whose answers nobody reads", launch: .impatient) {
            siege in
            for i in 0..<20 {
                let link = try siege.link(from: siege.spareAddress(i))
                for port in UInt16(1)...1000 { link.send(header(.syn, from: port)) }
                try siege.leaveOpen(link)
            }
        },
        HostileInput(.floods, "a thousand connections, one after the other") { siege in
            let link = try siege.link()
            for i in 0..<1000 {
                let conversation = RawConversation(link, from: UInt16(10_000 + i))
                try conversation.establish()
                conversation.send(.rst)
            }
            try link.settle()
        },
        HostileInput(.floods, "a thousand connections that say hello and are never ended") { siege in
            let link = try siege.link()
            for i in 0..<1000 {
                let conversation = RawConversation(link, from: UInt16(10_000 + i))
                try conversation.establish()
                try conversation.requireEcho()
            }
        },
        HostileInput(.floods, "two hundred connections whose peer vanishes with its real connection") { siege in
            let link = try siege.link()
            for i in 0..<200 { try RawConversation(link, from: UInt16(10_000 + i)).establish() }
            link.close(resetting: true)
        },
        HostileInput(.floods, "two thousand real connections that vanish") { siege in
            for i in 0..<2000 {
                let link = try siege.link(from: siege.spareAddress(i))
                link.close(resetting: i % 2 == 0)
            }
        },
        HostileInput(.floods, "two hundred real connections at once from one host") { siege in
            let links = try (0..<200).map { _ in try siege.link() }
            for link in links { try siege.leaveOpen(link) }
        },
        HostileInput(.floods, "real connections made and ended on eight threads") { siege in
            let (from, to) = (siege.attackerAddress, siege.victimAddress)
            let threads = (0..<8).map { _ in
                Background { for _ in 0..<300 { try RawLink(from: from, to: to).close(resetting: true) } }
            }
            for thread in threads { if let error = thread.join() { throw error } }
        },
        HostileInput(.floods, "out-of-order data through fifty connections that is never completed") { siege in
            let link = try siege.link()
            for i in 0..<50 {
                let conversation = RawConversation(link, from: UInt16(10_000 + i))
                try conversation.establish()
                for position in stride(from: 1000, to: 60_000, by: 600) {
                    conversation.send(.ack, seq: position, pattern(500))
                }
            }
            try link.settle()
        },
        HostileInput(.floods, "clients that want much and read nothing") { siege in
            let link = try siege.link()
            for i in 0..<50 {
                let conversation = RawConversation(link, from: UInt16(10_000 + i))
                try conversation.establish(window: 0)
                conversation.send([.ack, .psh], pattern(20_000), window: 0)
            }
            try link.settle()
        },
    ]
}
