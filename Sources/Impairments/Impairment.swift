// A bad network as a pure function: seed, now, packet size in; deliveries out. Integer arithmetic only.
import TCPSegments

/// What one direction of a path does to packets. Probabilities are in parts per million, sizes in bytes.
public struct ImpairmentConfiguration: Sendable, Equatable {
    /// Independent loss.
    public var loss = 0
    /// Bursts: the probability that a burst begins at a packet, and that it ends at one (Gilbert's model). While a burst
    /// lasts every packet is lost.
    public var burstBegin = 0
    /// The probability that a burst ends at a packet.
    public var burstEnd = 1_000_000
    /// A packet is held back by `reorderDelay`, so that later ones overtake it.
    public var reorder = 0
    /// How long a reordered packet is held back.
    public var reorderDelay = TimeInterval.milliseconds(5)
    /// A packet is delivered twice.
    public var duplicate = 0
    /// One bit of the packet is flipped.
    public var corrupt = 0
    /// One-way delay, and the largest random addition to it. Jitter alone does not reorder.
    public var delay = TimeInterval.zero
    /// The largest random addition to the delay.
    public var jitter = TimeInterval.zero
    /// Bits per second; 0: no limit. Packets wait in a drop-tail queue of `queueLimit` bytes.
    public var rate: Int64 = 0
    /// Bytes that may wait in front of the bottleneck.
    public var queueLimit = 100_000
    /// A packet that finds more bytes than this waiting is marked (RFC 3168: congestion experienced); 0: none is.
    public var markThreshold = 0
    /// The probability that a packet is marked without that.
    public var mark = 0
    /// Packets larger than this, in bytes, vanish without a word; 0: none do.
    public var largestPacket = 0
    /// While one of these lasts nothing gets through: from, inclusive, to, exclusive.
    public var partitions: [Range<Instant>] = []

    /// A perfect network.
    public init() {}

    /// True if nothing happens to any packet.
    public var isPerfect: Bool { self == ImpairmentConfiguration() }
}

/// What becomes of one packet.
public struct Delivery: Sendable, Equatable {
    /// When it arrives.
    public let at: Instant
    /// Which bit to flip, if any: an index below eight times the packet's size.
    public let flippedBit: Int?
    /// True if the packet is to be marked, where it can be.
    public let isMarked: Bool
    /// True if the packet was held back, so that later ones overtake it.
    public let isReordered: Bool

    /// A delivery at `at`.
    public init(at: Instant, flippedBit: Int? = nil, isMarked: Bool = false, isReordered: Bool = false) {
        self.at = at
        self.flippedBit = flippedBit
        self.isMarked = isMarked
        self.isReordered = isReordered
    }
}

/// Why a packet does not arrive.
public enum ImpairmentDrop: String, Sendable {
    /// Lost, independently or in a burst.
    case lost
    /// The queue in front of the bottleneck was full.
    case queueFull
    /// A partition lasted.
    case partitioned
    /// Whoever holds delayed packets had no room for it.
    case noRoom
    /// It was larger than the path takes.
    case tooLarge
}

/// What becomes of a packet: it is dropped, or it arrives once or twice.
public struct PacketFate: Sendable, Equatable {
    /// When it arrives: never, once or twice.
    public let deliveries: [Delivery]
    /// Why it never does; nil if it does.
    public let drop: ImpairmentDrop?

    /// It does not arrive.
    public static func dropped(_ reason: ImpairmentDrop) -> PacketFate { PacketFate(deliveries: [], drop: reason) }
    /// It arrives.
    public static func delivered(_ deliveries: [Delivery]) -> PacketFate {
        PacketFate(deliveries: deliveries, drop: nil)
    }
}

/// One direction of a path with its memory: the generator, the queue, whether a burst lasts.
public struct Impairment: Sendable {
    /// What was done so far, in packets.
    public struct Counters: Sendable, Equatable {
        /// All that entered.
        public internal(set) var packets = 0
        /// Lost, independently or in bursts.
        public internal(set) var lost = 0
        /// Dropped in front of a full queue.
        public internal(set) var queueDropped = 0
        /// Lost to a partition.
        public internal(set) var partitioned = 0
        /// Held back.
        public internal(set) var reordered = 0
        /// Delivered twice.
        public internal(set) var duplicated = 0
        /// Delivered with a flipped bit.
        public internal(set) var corrupted = 0
        /// Delivered later than they entered.
        public internal(set) var delayed = 0
        /// Marked.
        public internal(set) var marked = 0
        /// Dropped for their size.
        public internal(set) var tooLarge = 0
    }

    /// What this direction does.
    public let configuration: ImpairmentConfiguration
    /// What it did so far.
    public private(set) var counters = Counters()
    private var random: SeededGenerator
    private var inBurst = false
    /// When the queue's last packet has left, and when the last in-order packet arrives.
    private var queueEmptyAt = Instant.origin
    private var lastArrival = Instant.origin

    /// The direction that `configuration` and `seed` describe; the same calls give the same deliveries.
    public init(_ configuration: ImpairmentConfiguration, seed: UInt64) {
        self.configuration = configuration
        random = SeededGenerator(seed: seed)
    }

    /// When the packet of `size` bytes that enters at `now` arrives: never, once or twice. `now` must not go backwards.
    /// `canBeMarked`: it says that it is capable of ECN, or nobody has looked yet.
    public mutating func deliveries(size: Int, canBeMarked: Bool = true, at now: Instant) -> [Delivery] {
        fate(size: size, canBeMarked: canBeMarked, at: now).deliveries
    }

    /// As `deliveries`, and says why there are none.
    public mutating func fate(size: Int, canBeMarked: Bool = true, at now: Instant) -> PacketFate {
        let c = configuration
        counters.packets += 1
        guard c.largestPacket == 0 || size <= c.largestPacket else {
            counters.tooLarge += 1
            return .dropped(.tooLarge)
        }
        if c.partitions.contains(where: { $0.contains(now) }) {
            counters.partitioned += 1
            return .dropped(.partitioned)
        }
        if inBurst {
            if random.chance(c.burstEnd) { inBurst = false }
        } else if random.chance(c.burstBegin) {
            inBurst = true
        }
        if inBurst || random.chance(c.loss) {
            counters.lost += 1
            return .dropped(.lost)
        }
        guard let (departure, isCrowded) = enqueue(size, at: now) else {
            counters.queueDropped += 1
            return .dropped(.queueFull)
        }
        let isMarked = canBeMarked && (random.chance(c.mark) || isCrowded)
        if isMarked { counters.marked += 1 }
        var arrival = departure + c.delay + .nanoseconds(random.below(c.jitter.nanoseconds + 1))
        let isReordered = random.chance(c.reorder)
        if isReordered {
            counters.reordered += 1
            arrival = arrival + c.reorderDelay
        } else {
            arrival = max(arrival, lastArrival)
            lastArrival = arrival
        }
        var flippedBit: Int?
        if size > 0, random.chance(c.corrupt) {
            counters.corrupted += 1
            flippedBit = Int(random.below(Int64(size) * 8))
        }
        if arrival > now { counters.delayed += 1 }
        var result = [
            Delivery(at: arrival, flippedBit: flippedBit, isMarked: isMarked, isReordered: isReordered)
        ]
        if random.chance(c.duplicate) {
            counters.duplicated += 1
            result.append(Delivery(at: arrival, isMarked: isMarked, isReordered: isReordered))
        }
        return .delivered(result)
    }

    /// When the packet has left the bottleneck, and whether more than the threshold waited there; nil if the queue is full.
    private mutating func enqueue(_ size: Int, at now: Instant) -> (departure: Instant, isCrowded: Bool)? {
        guard configuration.rate > 0 else { return (now, false) }
        let start = max(now, queueEmptyAt)
        let waiting = (start - now).nanoseconds
        // Bytes that still wait, from the time they need; in 128 bits nothing overflows.
        let queued = Int128(waiting) * Int128(configuration.rate) / 8_000_000_000
        guard queued + Int128(size) <= Int128(configuration.queueLimit) || waiting == 0 else { return nil }
        let service = Int128(size) * 8_000_000_000 / Int128(configuration.rate)
        queueEmptyAt = start + .nanoseconds(Int64(clamping: service))
        let threshold = configuration.markThreshold
        return (queueEmptyAt, threshold > 0 && queued > Int128(threshold))
    }
}
