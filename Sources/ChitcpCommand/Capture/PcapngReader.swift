// Reads the pcapng that a daemon streams, piece by piece.
import TCPSegments

/// Cuts a little-endian pcapng stream into blocks.
struct PcapngReader {
    /// An interface of the stream.
    struct Interface: Equatable {
        var name = ""
        var received: UInt64 = 0
        var missed: UInt64 = 0
    }

    /// A packet of the stream.
    struct Packet {
        var interface: Int
        /// Nanoseconds since 1970.
        var time: Int64
        var isOutgoing: Bool
        var comments: [String]
        /// What was kept of the packet.
        var bytes: ArraySlice<UInt8>
        /// Its length on the wire.
        var length: Int
    }

    /// A block, whole.
    enum Block {
        case packet(Packet, ArraySlice<UInt8>)
        case other(ArraySlice<UInt8>)

        /// The block as it came.
        var bytes: ArraySlice<UInt8> {
            switch self {
            case .packet(_, let bytes), .other(let bytes): bytes
            }
        }
    }

    /// What came is no pcapng of a daemon.
    struct Malformed: Error {}

    /// The interfaces so far.
    private(set) var interfaces: [Interface] = []
    private var waiting: [UInt8] = []
    private static let maximumBlock: UInt32 = 1 << 20

    /// The blocks that `bytes` completes.
    mutating func feed(_ bytes: some Collection<UInt8>) throws(Malformed) -> [Block] {
        waiting += bytes
        var blocks: [Block] = []
        var at = 0
        while waiting.count - at >= 12 {
            let length = number(at + 4, UInt32.self)
            guard length >= 12, length <= Self.maximumBlock, length.isMultiple(of: 4) else { throw Malformed() }
            guard waiting.count - at >= Int(length) else { break }
            let block = waiting[at..<at + Int(length)]
            guard number(at + Int(length) - 4, UInt32.self) == length else { throw Malformed() }
            blocks.append(try read(block))
            at += Int(length)
        }
        waiting.removeFirst(at)
        return blocks
    }

    /// A number of the stream; its place has been checked.
    private func number<T: FixedWidthInteger & UnsignedInteger>(_ place: Int, _: T.Type) -> T {
        var value: T = 0
        for i in (0..<MemoryLayout<T>.size).reversed() { value = value << 8 | T(waiting[place + i]) }
        return value
    }

    private mutating func read(_ block: ArraySlice<UInt8>) throws(Malformed) -> Block {
        let start = block.startIndex, end = block.endIndex - 4
        switch number(start, UInt32.self) {
        case 1:
            guard block.count >= 20 else { throw Malformed() }
            var interface = Interface()
            try options(start + 16, end) { code, value in
                if code == 2 { interface.name = String(decoding: waiting[value], as: UTF8.self) }
            }
            interfaces.append(interface)
        case 5:
            guard block.count >= 24 else { throw Malformed() }
            let index = Int(number(start + 8, UInt32.self))
            guard interfaces.indices.contains(index) else { throw Malformed() }
            var (received, missed): (UInt64, UInt64) = (0, 0)
            try options(start + 20, end) { code, value in
                guard value.count == 8 else { return }
                if code == 4 { received = number(value.lowerBound, UInt64.self) }
                if code == 5 { missed = number(value.lowerBound, UInt64.self) }
            }
            interfaces[index].received = received
            interfaces[index].missed = missed
        case 6:
            guard block.count >= 32 else { throw Malformed() }
            let kept = Int(number(start + 20, UInt32.self))
            guard kept <= block.count - 32 else { throw Malformed() }
            var packet = Packet(
                interface: Int(number(start + 8, UInt32.self)),
                time: Int64(number(start + 12, UInt32.self)) << 32 | Int64(number(start + 16, UInt32.self)),
                isOutgoing: false, comments: [], bytes: block[start + 28..<start + 28 + kept],
                length: Int(number(start + 24, UInt32.self)))
            guard interfaces.indices.contains(packet.interface) else { throw Malformed() }
            try options(start + 28 + (kept + 3) / 4 * 4, end) { code, value in
                if code == 1 { packet.comments.append(String(decoding: waiting[value], as: UTF8.self)) }
                if code == 2, value.count == 4 { packet.isOutgoing = number(value.lowerBound, UInt32.self) & 3 == 2 }
            }
            return .packet(packet, block)
        default: break
        }
        return .other(block)
    }

    /// Calls `body` with each option between two places: its code, and where its value is.
    private func options(
        _ start: Int, _ end: Int, _ body: (UInt16, Range<Int>) -> Void
    ) throws(Malformed) {
        var at = start
        while at + 4 <= end {
            let code = number(at, UInt16.self)
            let length = Int(number(at + 2, UInt16.self))
            if code == 0 { return }
            guard at + 4 + length <= end else { throw Malformed() }
            body(code, at + 4..<at + 4 + length)
            at += 4 + (length + 3) / 4 * 4
        }
    }
}
