// What an impairment does to one segment, and the words in which captures say it.
import Impairments
import TCPSegments

/// What happens to a segment that a capture shows: it is seen before, as it was.
public struct SegmentImpairment: Sendable, Equatable {
    /// Why it goes no further; nil if it does.
    public var drop: ImpairmentDrop?
    /// How much later it arrives.
    public var delay = TimeInterval.zero
    /// True if later ones may overtake it meanwhile.
    public var isReordered = false
    /// True if it arrives twice.
    public var isDuplicated = false
    /// Which bit of the segment is flipped.
    public var flippedBit: Int?
    /// True if it gets ECN's mark, where it can be marked.
    public var isMarked = false

    /// Nothing.
    public init() {}

    /// What `fate` means for a segment of `length` bytes that came along at `now`.
    init(_ fate: PacketFate, length: Int, at now: Instant) {
        drop = fate.drop
        guard let first = fate.deliveries.first else { return }
        delay = first.at - now
        isReordered = first.isReordered
        isDuplicated = fate.deliveries.count > 1
        flippedBit = first.flippedBit(of: length)
        isMarked = first.isMarked
    }
}

extension Delivery {
    /// Which bit of a segment of `length` bytes to flip: the model draws among all of the packet's.
    func flippedBit(of length: Int) -> Int? { length > 0 ? flippedBit.map { $0 % (length * 8) } : nil }
}

extension TappedSegment {
    /// What an impairment does to it, a sentence for each.
    var impairmentComments: [String] {
        guard let impairment else { return [] }
        if let drop = impairment.drop {
            return ["dropped \(isOutgoing ? "before it left" : "on arrival"): \(drop.explanation)"]
        }
        var comments: [String] = []
        let time = Quantity.text(.nanoseconds(max(1, (impairment.delay.nanoseconds + 500) / 1000) * 1000))
        if impairment.isReordered {
            comments.append("held back by an impairment, so that later ones overtake it: \(time)")
        } else if impairment.delay > .zero {
            comments.append("delayed by an impairment: \(time)")
        }
        if impairment.isDuplicated { comments.append("duplicated by an impairment: it arrives twice") }
        if let bit = impairment.flippedBit {
            comments.append(
                "corrupted by an impairment\(impairment.isDuplicated ? " (one of the two)" : ""): \(place(of: bit))")
        }
        if impairment.isMarked, ecn.marked != ecn { comments.append("marked by an impairment: congestion experienced") }
        return comments
    }

    /// Where a bit of the segment is, counted from 0.
    private func place(of bit: Int) -> String {
        // RFC 9293 3.1: the data offset, in words of four bytes.
        let header = bytes.count > 12 ? Int(bytes[12] >> 4) * 4 : 0
        let byte = bit / 8
        return "bit \(bit % 8) of "
            + (byte < header ? "byte \(byte) of the TCP header" : "byte \(byte - header) of the payload")
    }
}

extension ImpairmentDrop {
    /// In words.
    fileprivate var explanation: String {
        switch self {
        case .lost: "lost by an impairment"
        case .queueFull: "the queue of an impairment's rate was full"
        case .partitioned: "partitioned by an impairment"
        case .tooLarge: "larger than the path takes"
        case .noRoom: "an impairment's delay held too much already"
        }
    }
}
