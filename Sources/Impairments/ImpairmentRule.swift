// What is to happen to which packets, and the words in which people say it: "loss=1% delay=20ms to=10.0.0.2".
import TCPSegments

/// Which way a packet goes, seen from a host.
public enum PacketDirection: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    /// It leaves.
    case out = 1
    /// It has come in.
    case `in` = 2

    /// The word.
    public var description: String { self == .out ? "out" : "in" }
}

/// An impairment of one direction at one host: of what goes to or comes from one peer, or everybody. All packets for which
/// it is made share one path: one queue, one order of arrival, one sequence of random numbers.
public struct ImpairmentRule: Sendable, Equatable {
    /// Which packets, seen from this host.
    public var direction: PacketDirection
    /// The other host; nil: everybody for whom there is no rule of its own.
    public var peer: IPAddress?
    /// What happens.
    public var configuration: ImpairmentConfiguration
    /// The seed of what happens: with the same packets at the same times the same happens.
    public var seed: UInt64

    /// One with these values.
    public init(
        _ direction: PacketDirection, peer: IPAddress? = nil, _ configuration: ImpairmentConfiguration, seed: UInt64 = 1
    ) {
        self.direction = direction
        self.peer = peer
        self.configuration = configuration
        self.seed = seed
    }

    /// The rules in `text`: the words of an impairment, and `to=HOST` or `from=HOST` (to or from which host; otherwise all),
    /// `direction=out`, `in` or `both` (otherwise out, or in after `from`), `seed=N` (1; what comes in has N + 1).
    /// `resolve` finds the address of a host.
    public static func parse(
        _ text: some StringProtocol, resolve: (String) -> IPAddress? = { IPAddress($0) }
    ) throws(ImpairmentError) -> [ImpairmentRule] {
        var words = try ImpairmentWord.split(text)
        func take(_ name: String) -> String? {
            guard let index = words.firstIndex(where: { $0.name == name }) else { return nil }
            return words.remove(at: index).value
        }
        func host(_ name: String) throws(ImpairmentError) -> IPAddress? {
            guard let value = take(name) else { return nil }
            guard let address = resolve(value), !address.isUnspecified else {
                throw ImpairmentError("\(name)=\(value): not a host's address")
            }
            return address
        }
        let to = try host("to")
        let from = try host("from")
        let first = try ImpairmentWord.takeSeed(from: &words)
        let directions: [PacketDirection]
        let direction = take("direction")
        guard to == nil || from == nil || direction == nil || direction == "both" else {
            throw ImpairmentError(
                "direction=\(direction ?? ""): to and from name a host each way; leave out one of the three")
        }
        switch direction {
        case "out": directions = [.out]
        case "in": directions = [.in]
        case "both": directions = [.out, .in]
        case nil: directions = from == nil ? [.out] : to == nil ? [.in] : [.out, .in]
        case let other?: throw ImpairmentError("direction=\(other): out, in or both")
        }
        let configuration = try ImpairmentConfiguration(words)
        return directions.map { direction in
            ImpairmentRule(
                direction, peer: direction == .out ? to ?? from : from ?? to, configuration,
                seed: direction == .out ? first : first &+ 1)
        }
    }
}

/// A mistake in the words of an impairment.
public struct ImpairmentError: Error, CustomStringConvertible, Sendable {
    /// The word, and what it should be.
    public let description: String

    init(_ sentence: String) { description = sentence }
}

/// One word: a name and a value.
struct ImpairmentWord {
    let name: String
    let value: String

    /// The words of `text`, between blanks and commas; each name once.
    static func split(_ text: some StringProtocol) throws(ImpairmentError) -> [ImpairmentWord] {
        var words: [ImpairmentWord] = []
        for word in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                throw ImpairmentError("\(word): a word and its value, like loss=1% or delay=20ms")
            }
            let new = ImpairmentWord(name: String(parts[0]), value: String(parts[1]))
            guard !words.contains(where: { $0.name == new.name }) else {
                throw ImpairmentError("\(new.name): said twice")
            }
            words.append(new)
        }
        return words
    }

    /// Takes the word `seed` out of `words`; 1 if it is not there.
    static func takeSeed(from words: inout [ImpairmentWord]) throws(ImpairmentError) -> UInt64 {
        guard let index = words.firstIndex(where: { $0.name == "seed" }) else { return 1 }
        let value = words.remove(at: index).value
        guard let seed = UInt64(value) else {
            throw ImpairmentError("seed=\(value): a number from 0 to \(UInt64.max)")
        }
        return seed
    }
}

extension ImpairmentConfiguration {
    /// The longest delay, of each kind.
    public static let maximumDelay = TimeInterval.seconds(3600)
    /// The lowest and the highest rate, in bits per second.
    public static let rates: ClosedRange<Int64> = 1_000...1_000_000_000_000
    /// What the largest packet may be, in bytes: no link of IPv4 takes less (RFC 791 3.2).
    public static let largestPackets = 68...65_535
    /// The largest queue, in bytes.
    public static let maximumQueue = 1 << 30

    /// An impairment from words like `loss=1%,delay=20ms,jitter=5ms`, between commas or blanks:
    /// `loss=1%`, `burst=0.5%/4` (bursts begin at so many packets and last so many on average), `delay=20ms`, `jitter=5ms`,
    /// `reorder=1%` or `1%/5ms` (so many packets are held back for so long), `duplicate=0.1%`, `corrupt=0.01%`,
    /// `rate=10mbit`, `queue=100kB` (in front of the rate), `mark=30kB` (with so much in the queue), `largest=1400` (what is
    /// larger vanishes).
    public init(parsing text: some StringProtocol) throws(ImpairmentError) {
        try self.init(ImpairmentWord.split(text))
    }

    /// As `init(parsing:)`, and `seed=N` (1 if not said).
    public static func parse(
        _ text: some StringProtocol
    ) throws(ImpairmentError) -> (configuration: ImpairmentConfiguration, seed: UInt64) {
        var words = try ImpairmentWord.split(text)
        let seed = try ImpairmentWord.takeSeed(from: &words)
        return (try ImpairmentConfiguration(words), seed)
    }

    init(_ words: [ImpairmentWord]) throws(ImpairmentError) {
        self.init()
        for word in words { try apply(word) }
        guard rate > 0 || !words.contains(where: { $0.name == "queue" || $0.name == "mark" }) else {
            throw ImpairmentError("queue and mark go with a rate, like rate=10mbit")
        }
    }

    private mutating func apply(_ word: ImpairmentWord) throws(ImpairmentError) {
        func mistake(_ what: String) -> ImpairmentError { ImpairmentError("\(word.name)=\(word.value): \(what)") }
        func share(_ text: some StringProtocol) throws(ImpairmentError) -> Int {
            guard let value = Quantity.probability(text) else {
                throw mistake("a share of the packets like 1% or 0.01")
            }
            return value
        }
        func time(_ text: some StringProtocol) throws(ImpairmentError) -> TimeInterval {
            guard let value = Quantity.time(text), value <= Self.maximumDelay else {
                throw mistake("a time with its unit, like 20ms, at most 3600s")
            }
            return value
        }
        func bytes() throws(ImpairmentError) -> Int {
            guard let value = Quantity.size(word.value), (1...Self.maximumQueue).contains(value) else {
                throw mistake("a size like 100kB, at most 1GiB")
            }
            return value
        }
        let parts = word.value.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        switch word.name {
        case "loss": loss = try share(word.value)
        case "burst":
            guard parts.count == 2, let packets = Int(parts[1]), (1...1000).contains(packets) else {
                throw mistake("how often one begins and how many packets it takes on average, like 0.5%/4")
            }
            burstBegin = try share(parts[0])
            burstEnd = 1_000_000 / packets
        case "delay": delay = try time(word.value)
        case "jitter": jitter = try time(word.value)
        case "reorder":
            reorder = try share(parts[0])
            if parts.count == 2 { reorderDelay = try time(parts[1]) }
        case "duplicate": duplicate = try share(word.value)
        case "corrupt": corrupt = try share(word.value)
        case "rate":
            guard let value = Quantity.rate(word.value), Self.rates.contains(value) else {
                throw mistake("bits per second like 10mbit, from 1kbit to 1000gbit")
            }
            rate = value
        case "queue": queueLimit = try bytes()
        case "mark": markThreshold = try bytes()
        case "largest":
            guard let value = Quantity.size(word.value), Self.largestPackets.contains(value) else {
                throw mistake("a packet's size like 1400, from 68 to 65535 bytes")
            }
            largestPacket = value
        default:
            throw ImpairmentError(
                """
                \(word.name): not an impairment (loss, burst, delay, jitter, reorder, duplicate, corrupt, rate, queue, mark, \
                largest)
                """
            )
        }
    }

    /// True if every value lies within the bounds that words have.
    public var isWithinBounds: Bool {
        let shares = [loss, burstBegin, burstEnd, reorder, duplicate, corrupt]
        let times = [reorderDelay, delay, jitter]
        return shares.allSatisfy { (0...1_000_000).contains($0) }
            && times.allSatisfy { .zero <= $0 && $0 <= Self.maximumDelay }
            && (rate == 0 || Self.rates.contains(rate)) && (1...Self.maximumQueue).contains(queueLimit)
            && (0...Self.maximumQueue).contains(markThreshold)
            && (largestPacket == 0 || Self.largestPackets.contains(largestPacket))
    }
}

extension ImpairmentConfiguration: CustomStringConvertible {
    /// The words from which it can be read again, without its partitions; "nothing" if it is perfect.
    public var description: String {
        let usual = ImpairmentConfiguration()
        var words: [String] = []
        if loss > 0 { words.append("loss=\(Quantity.text(probability: loss))") }
        if burstBegin > 0 {
            words.append("burst=\(Quantity.text(probability: burstBegin))/\(1_000_000 / max(1, burstEnd))")
        }
        if delay > .zero { words.append("delay=\(Quantity.text(delay))") }
        if jitter > .zero { words.append("jitter=\(Quantity.text(jitter))") }
        if reorder > 0 {
            words.append(
                "reorder=\(Quantity.text(probability: reorder))"
                    + (reorderDelay == usual.reorderDelay ? "" : "/\(Quantity.text(reorderDelay))"))
        }
        if duplicate > 0 { words.append("duplicate=\(Quantity.text(probability: duplicate))") }
        if corrupt > 0 { words.append("corrupt=\(Quantity.text(probability: corrupt))") }
        if rate > 0 {
            words.append("rate=\(Quantity.text(rate: rate))")
            words.append("queue=\(Quantity.text(size: queueLimit))")
            if markThreshold > 0 { words.append("mark=\(Quantity.text(size: markThreshold))") }
        }
        if largestPacket > 0 { words.append("largest=\(Quantity.text(size: largestPacket))") }
        return words.isEmpty ? "nothing" : words.joined(separator: " ")
    }
}
