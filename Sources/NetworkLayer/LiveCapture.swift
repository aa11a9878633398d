// A capture for somebody who watches: pcapng through a pipe, with directions, and with what impairments did.
import Glibc
import TCPSegments

/// Streams the segments that pass its filters. They wait in a bounded queue for a writer thread: a slow reader stops nobody,
/// and what it misses is counted and said in the stream. Not thread-safe but for the writing: the event loop's thread calls
/// it.
public final class LiveCapture: SegmentRecorder {
    /// Which segments: those with an end at this address and port.
    public struct Filter: Equatable, Sendable {
        /// Nil: any address.
        public let address: IPAddress?
        /// 0: any port.
        public let port: UInt16

        /// One with these values.
        public init(address: IPAddress?, port: UInt16) {
            self.address = address
            self.port = port
        }

        fileprivate func matches(_ endpoint: Endpoint) -> Bool {
            (address == nil || address == endpoint.address) && (port == 0 || port == endpoint.port)
        }
    }

    private enum Link: Hashable {
        case frames(AddressPair)
        case device(String)
        /// All that came after there were too many.
        case others
    }

    /// An interface of the stream: one for each link.
    private struct Interface {
        let number: UInt32
        var written: UInt64 = 0
        /// Segments that the queue had no room for; and those since the last that it had room for.
        var missed: UInt64 = 0
        var unsaid: UInt64 = 0
    }

    private let writer: BackgroundWriter
    private let filters: [Filter]
    private let limit: Int
    private let start: Int64
    private var last: Int64
    private var interfaces: [Link: Interface] = [:]
    private static let maximumInterfaces = 1024

    /// Writes to `descriptor`, which it closes at its end.
    /// - Parameters:
    ///   - filters: a segment has to pass one of them; none: all pass.
    ///   - limit: bytes of each packet that are kept, headers included; nil: all.
    public init(descriptor: Int32, filters: [Filter], limit: Int?, time: Int64) {
        writer = BackgroundWriter(descriptor: descriptor, name: "capture")
        self.filters = filters
        self.limit = min(limit ?? CapturedPacket.maximumLength, CapturedPacket.maximumLength)
        start = time
        last = time
        var section = PcapngBlock(.section)
        section.put(UInt32(0x1A2B_3C4D))
        section.put(UInt16(1))
        section.put(UInt16(0))
        // The section's length is not known.
        section.put(UInt64.max)
        section.option(4, "chitcpd")
        writer.write(section.finished())
    }

    /// Streams a segment.
    public func record(_ segment: TappedSegment) {
        // The reader may be gone.
        guard !writer.hasFailed else { return }
        guard
            filters.isEmpty
                || filters.contains(where: { $0.matches(segment.source) || $0.matches(segment.destination) })
        else { return }
        var link = segment.device.map { Link.device($0) } ?? .frames(segment.tuple.addresses)
        if interfaces[link] == nil, interfaces.count >= Self.maximumInterfaces { link = .others }
        var interface = interfaces[link] ?? Interface(number: UInt32(interfaces.count))
        let isNew = interfaces[link] == nil
        // An interface comes with its first segment, or not at all.
        let piece = (isNew ? description(of: link) : []) + packet(segment, on: interface)
        if writer.write(piece) {
            interface.written += 1
            interface.unsaid = 0
        } else if isNew {
            return
        } else {
            interface.missed += 1
            interface.unsaid += 1
        }
        last = segment.time
        interfaces[link] = interface
    }

    private func description(of link: Link) -> [UInt8] {
        let name: String
        let description: String
        switch link {
        case .frames(let pair):
            name = "frames \(pair.local)-\(pair.remote)"
            description = "chiTCP frames between \(pair.local) and \(pair.remote)"
        case .device(let device):
            name = device
            description = "IP packets through the TUN device \(device)"
        case .others:
            name = "frames"
            description = "further links"
        }
        var block = PcapngBlock(.interface)
        block.put(CapturedPacket.linkType)
        block.put(UInt16(0))
        block.put(UInt32(limit))
        block.option(2, name)
        block.option(3, description)
        // if_tsresol: nanoseconds.
        block.option(9, [9])
        return block.finished()
    }

    private func packet(_ segment: TappedSegment, on interface: Interface) -> [UInt8] {
        let total = CapturedPacket.length(segment)
        let kept = min(total, limit)
        var block = PcapngBlock(.packet, capacity: kept + 96)
        block.put(interface.number)
        block.put(time: segment.time)
        block.put(UInt32(kept))
        block.put(UInt32(total))
        block.put(padded: { CapturedPacket.append(segment, to: &$0, limit: kept) })
        for comment in segment.impairmentComments { block.option(1, comment) }
        if interface.unsaid > 0 {
            block.option(1, "\(interface.unsaid) segments before this one are missing: the reader was too slow")
        }
        // epb_flags, direction.
        block.option(2, number: UInt32(segment.isOutgoing ? 2 : 1))
        if interface.unsaid > 0 { block.option(4, number: interface.unsaid) }
        return block.finished()
    }

    /// The end of the stream: what was written and what was missed.
    private func summary() -> [UInt8] {
        interfaces.values.sorted { $0.number < $1.number }.flatMap { interface in
            var block = PcapngBlock(.statistics)
            block.put(interface.number)
            block.put(time: last)
            block.option(2, time: start)
            block.option(3, time: last)
            block.option(4, number: interface.written + interface.missed)
            block.option(5, number: interface.missed)
            return block.finished()
        }
    }

    /// Ends the stream after what is queued, without waiting for that.
    public func finish() {
        writer.write(summary(), always: true)
        writer.finish()
    }

    /// Ends the stream and waits, two seconds at most.
    public func close() {
        writer.write(summary(), always: true)
        writer.close()
    }
}
