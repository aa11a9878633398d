// How frames travel, and what is counted meanwhile.
import TCPSegments

/// Which segments in frames have a TCP checksum.
public enum ChecksumUse: Sendable {
    /// None, not even those that an impairment corrupts: what it flips reaches the application. Those that come in with one
    /// are verified all the same.
    case never
    /// Those that an impairment may corrupt; the real connection protects the others.
    case whereCorrupted
    /// All that leave.
    case always
}

/// How frames travel.
public struct FrameLinksConfiguration: Sendable {
    /// The real TCP port of this daemon and of those it dials.
    public var port: UInt16 = 23300
    /// Listen on and dial from these only; empty: all.
    public var addresses: [IPAddress] = []
    /// Which segments have a TCP checksum.
    public var checksums = ChecksumUse.whereCorrupted
    /// TIME-WAIT lasts twice this (1 s: one ordered stream, nothing older survives).
    public var maximumSegmentLifetime = TimeInterval.seconds(1)
    /// A dial without an answer is given up after this.
    public var dialTimeout = TimeInterval.seconds(3)
    /// Real connections at once, in all and with one remote address.
    public var maximumConnections = 4096
    /// Real connections at once with one remote address.
    public var maximumConnectionsPerHost = 64

    /// One with these values.
    public init() {}
}

/// What the network layer counted.
public struct FrameLinksStatistics: Sendable {
    /// Frames taken off real connections.
    public internal(set) var framesReceived: UInt64 = 0
    /// Frames given to real connections.
    public internal(set) var framesSent: UInt64 = 0
    /// Real connections closed for a frame that is none.
    public internal(set) var malformedFrames: UInt64 = 0
    /// Segments dropped because they cannot be decoded.
    public internal(set) var malformedSegments: UInt64 = 0
    /// Segments dropped for a wrong checksum.
    public internal(set) var badChecksums: UInt64 = 0
    /// Real connections refused because there were too many.
    public internal(set) var refusedConnections: UInt64 = 0
    /// Segments dropped in front of a link that had twice its limit waiting.
    public internal(set) var droppedAtLimit: UInt64 = 0
}
