// What the engine knows of a link to another host: a number and a few properties.

/// Names one link of a host. The one who owns the links chooses the numbers; each is used once.
public struct LinkID: Hashable, Sendable, BitwiseCopyable {
    /// The number.
    public let value: UInt32
    /// One with these values.
    @inlinable public init(_ value: UInt32) { self.value = value }
}

/// What a link says of itself.
public struct LinkProperties: Hashable, Sendable {
    /// The MSS to announce over it (RFC 9293 3.7.1): the largest TCP header plus data it takes, less 20.
    public var maximumSegmentSize: UInt16
    /// The maximum segment lifetime (RFC 9293 3.4.2); TIME-WAIT lasts twice as long.
    public var maximumSegmentLifetime: TimeInterval
    /// True if the TCP checksum is to be computed for what leaves over it.
    public var computesChecksum: Bool
    /// True if the two bits of ECN travel with each segment (RFC 3168 5), so that routers on the way can mark it.
    public var carriesECN: Bool
    /// True if packets that are too large for a router on the way may vanish without a report.
    public var hidesMTU: Bool

    /// The properties of a link.
    @inlinable public init(
        maximumSegmentSize: UInt16, maximumSegmentLifetime: TimeInterval, computesChecksum: Bool,
        carriesECN: Bool = false, hidesMTU: Bool = false
    ) {
        self.maximumSegmentSize = maximumSegmentSize
        self.maximumSegmentLifetime = maximumSegmentLifetime
        self.computesChecksum = computesChecksum
        self.carriesECN = carriesECN
        self.hidesMTU = hidesMTU
    }
}

/// Why a link cannot be had.
public enum LinkFailure: Error, Hashable, Sendable {
    /// Nobody listens there.
    case refused
    /// There is no way there.
    case unreachable
    /// No answer in time: counts as loss.
    case noAnswer
}
