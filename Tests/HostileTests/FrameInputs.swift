// Hostile input on the network port, below TCP: frames that are none, and frames in pieces.
import Glibc
import Impairments
import TCPSegments

extension HostileInput {
    static let frames: [HostileInput] = refusedFrames + piecewiseFrames + strangeFrames

    private static func refused(_ name: String, _ bytes: @escaping @Sendable () -> [UInt8]) -> HostileInput {
        HostileInput(.frames, name) { siege in
            let link = try siege.link()
            link.send(bytes())
            try link.requireClosed()
        }
    }

    private static func garbage(_ seed: UInt64, _ count: Int) -> [UInt8] {
        var random = SeededGenerator(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private static var syn: [UInt8] {
        segmentBytes(
            SegmentHeader(
                sourcePort: 40_000, destinationPort: 7, sequenceNumber: SequenceNumber(1), controlBits: .syn,
                window: WindowField(1000)))
    }

    /// After these there is no next frame: the daemon closes the connection.
    private static let refusedFrames: [HostileInput] =
        [0, 2, 3, 6, 127, 255].map { number in
            refused("a frame of protocol \(number)") { frameHeader(length: syn.count, protocol: UInt8(number)) + syn }
        } + [
            refused("a frame without a segment") { frameHeader(length: 0) },
            refused("a thousand frames without segments") {
                (0..<1000).flatMap { _ in frameHeader(length: 0) }
            },
            refused("good frames with a bad one at the end") {
                (0..<100).flatMap { _ in frameBytes(syn) } + frameHeader(length: 4, protocol: 9)
            },
            refused("a request of the web") { Array("GET / HTTP/1.1\r\nHost: chitcp\r\n\r\n".utf8) },
            refused("a mebibyte of zeros") { [UInt8](repeating: 0, count: 1 << 20) },
            refused("a mebibyte of ones") { [UInt8](repeating: 0xFF, count: 1 << 20) },
            refused("a line of text") { Array("hello?\n\n\n\n\n\n\n\n\n\n\n".utf8) },
        ]
        + (1...3).map { seed in
            refused("garbage, seed \(seed)") { garbage(UInt64(seed), 1 << 18) }
        }

    /// Frames in pieces, and pieces whose rest never comes.
    private static let piecewiseFrames: [HostileInput] =
        [1, 2, 15, 16, 17, 35].map { count in
            HostileInput(.frames, "the first \(count) bytes of a frame, then silence") { siege in
                let link = try siege.link()
                link.send(Array(frameBytes(syn)[..<count]))
                // It stays open and silent while the rules are checked.
                try siege.leaveOpen(link)
            }
        } + [
            HostileInput(.frames, "a greeting of TLS, which looks like the beginning of a frame") { siege in
                let link = try siege.link()
                link.send([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3] + garbage(1, 512))
                try siege.leaveOpen(link)
            },
            HostileInput(.frames, "one byte at a time") { siege in
                let link = try siege.link()
                for byte in frameBytes(syn) { link.send([byte]) }
                guard link.receive() != nil else { throw Failure("no answer to a SYN in bytes") }
                link.close(resetting: true)
            },
            HostileInput(.frames, "a large frame in pieces of seven bytes") { siege in
                let conversation = try siege.conversation()
                let bytes = pattern(20_000)
                let frame = frameBytes(segmentBytes(conversation.header([.ack, .psh]), bytes))
                var rest = frame[...]
                while !rest.isEmpty {
                    conversation.link.send(Array(rest.prefix(7)))
                    rest = rest.dropFirst(7)
                }
                guard try conversation.readEcho(20_000, seq: 20_001) == bytes else { throw Failure("wrong echo") }
                conversation.send(.rst, seq: 20_001)
            },
            HostileInput(.frames, "half a frame, then the end") { siege in
                let link = try siege.link()
                link.send(Array(frameBytes(syn)[..<20]))
                link.shutdownSending()
                try link.requireClosed()
            },
            HostileInput(.frames, "half a frame, then a reset of the real connection") { siege in
                let link = try siege.link()
                link.send(Array(frameBytes(syn)[..<20]))
                link.close(resetting: true)
            },
            HostileInput(.frames, "a hundred connections with half a large frame each") { siege in
                for i in 0..<100 {
                    let link = try siege.link(from: siege.spareAddress(i))
                    link.send(frameHeader(length: 65_000) + [UInt8](repeating: 7, count: 60_000))
                    try siege.leaveOpen(link)
                }
            },
            HostileInput(.frames, "a frame that ends with the connection") { siege in
                let link = try siege.link()
                link.send(frameBytes(syn))
                link.shutdownSending()
                try link.requireClosed()
            },
        ]

    /// Frames that are read, whatever they carry.
    private static let strangeFrames: [HostileInput] = [
        HostileInput(.frames, "flags and reserved bytes that are not zero") { siege in
            let link = try siege.link()
            for value: UInt8 in [1, 0x80, 0xFF] {
                link.send(frameHeader(length: syn.count, flags: value) + syn)
                link.send(frameHeader(length: syn.count, reserved: value) + syn)
            }
            try link.settle()
        },
        HostileInput(.frames, "a frame longer than any this project sends") { siege in
            let conversation = try siege.conversation()
            for length in [65_516, 65_535] {
                let segment = segmentBytes(conversation.header(.ack), pattern(length - 20))
                conversation.link.send(frame: segment)
            }
            try conversation.link.settle()
            conversation.send(.rst)
        },
        HostileInput(.frames, "frames of the largest size with nothing but ones") { siege in
            let link = try siege.link()
            for _ in 0..<50 { link.send(frame: [UInt8](repeating: 0xFF, count: 65_535)) }
            try link.settle()
        },
        HostileInput(.frames, "a hundred thousand of the smallest frames") { siege in
            let link = try siege.link()
            let burst = (0..<1000).flatMap { _ in frameBytes([0]) }
            for _ in 0..<100 { link.send(burst) }
            try link.settle()
        },
        HostileInput(.frames, "urgent data on the real connection") { siege in
            let link = try siege.link()
            link.send(frameBytes(syn))
            link.send([0xFF], flags: Int32(MSG_OOB))
            link.send(frameBytes(syn))
            _ = link.receive()
            link.close(resetting: true)
        },
        HostileInput(.frames, "a peer that sends and never reads the answers") { siege in
            let link = try siege.link()
            var buffer: Int32 = 4096
            setsockopt(link.descriptor, SOL_SOCKET, SO_RCVBUF, &buffer, socklen_t(MemoryLayout<Int32>.size))
            let stray = SegmentHeader(
                sourcePort: 9, destinationPort: 9, sequenceNumber: SequenceNumber(5), controlBits: .syn)
            let burst = (0..<1000).flatMap { _ in frameBytes(segmentBytes(stray)) }
            // The answers fill every buffer on the way back; the daemon goes on reading and drops what it cannot answer.
            for _ in 0..<200 where !link.send(burst) { throw Failure("the daemon stopped reading") }
            try siege.leaveOpen(link)
        },
        HostileInput(.frames, "a frame before the handshake of the real connection is over") { siege in
            for _ in 0..<100 {
                let link = try siege.link()
                link.send(frameBytes(syn))
                link.close(resetting: true)
            }
        },
    ]
}
