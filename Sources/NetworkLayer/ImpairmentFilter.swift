// The filter point for impairments: which rule a segment meets on its way out or in, and the segments it holds back.
import HeapModule
import Impairments
import TCPSegments

/// A segment on its way out. Its payload's chunks are retained, not copied.
struct OutgoingSegment {
    let header: SegmentHeader
    let payload: Payload
    /// Which bytes of the payload it carries.
    let offset: Int
    let count: Int
    let tuple: FourTuple
    let link: LinkID
    /// What its IP header is to say, where the link has one.
    var ecn = ECNField.notCapable
    var differentiatedServices: UInt8 = 0
    /// Which bit of the segment to flip after its checksum was made.
    var flippedBit: Int?
}

/// A segment on its way in. Its bytes are a copy: what it was read into is used again.
struct IncomingSegment {
    let bytes: [UInt8]
    let tuple: FourTuple
    let link: LinkID
    let ecn: ECNField
}

/// A link's side of the filter point: takes segments that have passed.
protocol SegmentCarrier: AnyObject {
    /// Puts a segment on its way out.
    func carry(_ segment: OutgoingSegment, at now: Instant)
    /// Hands over a segment that came in.
    func deliver(_ segment: IncomingSegment, at now: Instant)
}

/// All impairments of a host's links, in both directions, and the segments they hold back. Not thread-safe: the event
/// loop's thread calls it. Links ask `actsOut` and `actsIn` first, which is all that it costs while there are no rules.
public final class ImpairmentFilter {
    /// What one rule is doing.
    public struct Status: Sendable {
        /// The rule.
        public let rule: ImpairmentRule
        /// What it did so far.
        public let counters: Impairment.Counters
        /// Segments dropped because too much was held back.
        public let overflowed: Int
        /// What is held back now.
        public let heldSegments: Int, heldBytes: Int
    }

    /// Rules at once.
    public static let maximumRules = 256
    /// What is held back for all rules together, at most: the payload's chunks stay with the send buffers they belong to, so
    /// this bounds what delays add to them.
    private static let maximumHeldBytes = 64 << 20
    private static let maximumHeldSegments = 1 << 17

    /// One path: a rule with its memory.
    final class Path {
        let rule: ImpairmentRule
        fileprivate var model: Impairment
        fileprivate var overflowed = 0
        fileprivate var heldSegments = 0
        fileprivate var heldBytes = 0

        fileprivate init(_ rule: ImpairmentRule) {
            self.rule = rule
            model = Impairment(rule.configuration, seed: rule.seed)
        }
    }

    private struct Held: Comparable {
        enum Segment {
            case out(OutgoingSegment)
            case `in`(IncomingSegment)
        }

        var at: Instant
        let order: UInt64
        let size: Int
        let path: Path
        let segment: Segment
        // A link, which owns this filter.
        unowned let carrier: any SegmentCarrier

        static func < (a: Held, b: Held) -> Bool { (a.at, a.order) < (b.at, b.order) }
        static func == (a: Held, b: Held) -> Bool { a.order == b.order }
    }

    /// True if anything happens to segments that leave, or come in.
    private(set) var actsOut = false, actsIn = false
    /// True if segments that leave may be corrupted: then they have checksums.
    private(set) var corruptsOut = false
    private var paths: [PacketDirection: [IPAddress?: Path]] = [:]
    private var held = Heap<Held>()
    private var heldBytes = 0
    private var order: UInt64 = 0

    /// One without rules.
    public init() {}

    // MARK: Rules

    /// From now on what `rule` says happens to its packets; it takes the place of the rule for the same ones. What was on its
    /// way goes on as it would have. False if there are too many rules.
    public func set(_ rule: ImpairmentRule) -> Bool {
        guard paths[rule.direction]?[rule.peer] != nil || count < Self.maximumRules else { return false }
        paths[rule.direction, default: [:]][rule.peer] = Path(rule)
        noteRules()
        return true
    }

    /// Removes the rules of these directions: all of them, or the one for `peer`. What they hold back goes on at once, in its
    /// order. Returns how many there were.
    public func clear(_ directions: Set<PacketDirection>, peer: IPAddress? = nil, at now: Instant) -> Int {
        var gone: [Path] = []
        for direction in directions {
            if let peer {
                if let path = paths[direction]?.removeValue(forKey: peer) { gone.append(path) }
            } else {
                gone += paths.removeValue(forKey: direction).map { Array($0.values) } ?? []
            }
        }
        noteRules()
        if gone.contains(where: { $0.heldSegments > 0 }) {
            let kept = Array(held.unordered).map { one in
                guard gone.contains(where: { $0 === one.path }) else { return one }
                var one = one
                one.at = now
                return one
            }
            held = Heap(kept)
        }
        return gone.count
    }

    /// All rules and what they do, in a settled order.
    public var statuses: [Status] {
        PacketDirection.allCases.flatMap { direction in
            (paths[direction] ?? [:]).values.sorted { a, b in
                guard let first = a.rule.peer else { return b.rule.peer != nil }
                guard let second = b.rule.peer else { return false }
                return (first.high, first.low) < (second.high, second.low)
            }
        }.map {
            Status(
                rule: $0.rule, counters: $0.model.counters, overflowed: $0.overflowed, heldSegments: $0.heldSegments,
                heldBytes: $0.heldBytes)
        }
    }

    private var count: Int { paths.values.reduce(0) { $0 + $1.count } }

    private func noteRules() {
        actsOut = !(paths[.out] ?? [:]).isEmpty
        actsIn = !(paths[.in] ?? [:]).isEmpty
        corruptsOut = (paths[.out] ?? [:]).values.contains { $0.rule.configuration.corrupt > 0 }
    }

    // MARK: Segments

    /// What becomes of a segment, and whose doing it is.
    struct Passage {
        let path: Path
        let fate: PacketFate
        let size: Int
        /// The segment's length, and when it came along.
        let length: Int
        let at: Instant

        /// For whoever watches.
        var effect: SegmentImpairment { SegmentImpairment(fate, length: length, at: at) }
    }

    /// Decides about a segment of `length` bytes; nil if there is no rule for it. A packet's size, for queues and rates, is that
    /// with its IP header.
    func admit(_ direction: PacketDirection, _ tuple: FourTuple, length: Int, at now: Instant) -> Passage? {
        let peer = tuple.remote.address
        guard let rules = paths[direction], let path = rules[peer] ?? rules[nil] else { return nil }
        let size = length + (peer.isIPv4 ? 20 : 40)
        var fate = path.model.fate(size: size, at: now)
        if fate.deliveries.contains(where: { $0.at > now }),
            heldBytes + size * fate.deliveries.count > Self.maximumHeldBytes || held.count >= Self.maximumHeldSegments
        {
            path.overflowed += 1
            fate = .dropped(.noRoom)
        }
        return Passage(path: path, fate: fate, size: size, length: length, at: now)
    }

    /// Sends a segment on, now or later, once or twice or not at all.
    func carry(_ segment: OutgoingSegment, _ passage: Passage, by carrier: any SegmentCarrier, at now: Instant) {
        for delivery in passage.fate.deliveries {
            var copy = segment
            copy.flippedBit = delivery.flippedBit(of: passage.length)
            if delivery.isMarked { copy.ecn = segment.ecn.marked }
            if delivery.at <= now {
                carrier.carry(copy, at: now)
            } else {
                hold(.out(copy), until: delivery.at, passage, carrier)
            }
        }
    }

    /// Hands a segment on likewise. `isProtected`: whether it has a checksum, or would have if it went over a wire that
    /// corrupts. Returns how many copies the checksum caught.
    func deliver(
        _ segment: UnsafeRawBufferPointer, _ tuple: FourTuple, on link: LinkID, ecn: ECNField, isProtected: Bool,
        _ passage: Passage, to carrier: any SegmentCarrier, at now: Instant
    ) -> UInt64 {
        var caught: UInt64 = 0
        for delivery in passage.fate.deliveries {
            var bytes = Array(segment)
            if let bit = delivery.flippedBit(of: passage.length) {
                Self.corrupt(&bytes, bit: bit, tuple, isProtected: isProtected)
                if isProtected, !bytes.withUnsafeBytes({ Self.isValid($0, tuple) }) {
                    caught += 1
                    continue
                }
            }
            let copy = IncomingSegment(
                bytes: bytes, tuple: tuple, link: link, ecn: delivery.isMarked ? ecn.marked : ecn)
            if delivery.at <= now {
                carrier.deliver(copy, at: now)
            } else {
                hold(.in(copy), until: delivery.at, passage, carrier)
            }
        }
        return caught
    }

    /// Flips a bit as a wire would: a segment whose checksum was left out on this machine has it by then.
    private static func corrupt(_ bytes: inout [UInt8], bit: Int, _ tuple: FourTuple, isProtected: Bool) {
        if isProtected, bytes.count >= 20 {
            bytes[16] = 0
            bytes[17] = 0
            let sum = bytes.withUnsafeBytes {
                InternetChecksum.checksum(of: $0, from: tuple.remote.address, to: tuple.local.address)
            }
            bytes[16] = UInt8(sum >> 8)
            bytes[17] = UInt8(sum & 0xFF)
        }
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
    }

    private static func isValid(_ segment: UnsafeRawBufferPointer, _ tuple: FourTuple) -> Bool {
        InternetChecksum.isValid(segment, from: tuple.remote.address, to: tuple.local.address)
    }

    private func hold(_ segment: Held.Segment, until moment: Instant, _ passage: Passage, _ carrier: any SegmentCarrier)
    {
        order += 1
        passage.path.heldSegments += 1
        passage.path.heldBytes += passage.size
        heldBytes += passage.size
        held.insert(
            Held(
                at: moment, order: order, size: passage.size, path: passage.path, segment: segment, carrier: carrier))
    }

    // MARK: Time

    /// When `handleTimeout` is to be called next.
    public var nextTimeout: Instant? { held.min?.at }

    /// Sends on what was held back until now.
    public func handleTimeout(at now: Instant) {
        while let first = held.min, first.at <= now {
            held.removeMin()
            first.path.heldSegments -= 1
            first.path.heldBytes -= first.size
            heldBytes -= first.size
            switch first.segment {
            case .out(let segment): first.carrier.carry(segment, at: now)
            case .in(let segment): first.carrier.deliver(segment, at: now)
            }
        }
    }
}
