// What a host does about TCP Fast Open (RFC 7413), with the names and numbers of Linux.
import TCPSegments

/// Which parts of Fast Open are on. The bits have the meaning of Linux's net.ipv4.tcp_fastopen.
public struct FastOpenModes: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt16
    /// One with these values.
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Active OPENs may ask for cookies and send data with the SYN, if their users want it.
    public static let client = FastOpenModes(rawValue: 1)
    /// Listeners that have a queue for it grant cookies and take data with the SYN.
    public static let server = FastOpenModes(rawValue: 2)
    /// Active OPENs send data with the SYN without a cookie.
    public static let clientWithoutCookie = FastOpenModes(rawValue: 4)
    /// Listeners take data with a SYN that has no cookie.
    public static let serverWithoutCookie = FastOpenModes(rawValue: 0x200)
    /// Listeners have a queue for it, as long as their backlog, without being asked.
    public static let allListeners = FastOpenModes(rawValue: 0x400)
}

/// The key of a server's cookies: 16 bytes.
public struct FastOpenKey: Hashable, Sendable {
    let k0, k1: UInt64

    init(k0: UInt64, k1: UInt64) {
        self.k0 = k0
        self.k1 = k1
    }

    /// The key of these 16 bytes, as TCP_FASTOPEN_KEY has them; nil for another number of bytes.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        for (place, byte) in bytes.enumerated() {
            let shifted = UInt64(byte) << UInt64(place % 8 * 8)
            if place < 8 { words.0 |= shifted } else { words.1 |= shifted }
        }
        self.init(k0: words.0, k1: words.1)
    }

    /// The key as net.ipv4.tcp_fastopen_key writes it: four hexadecimal words with a dash between; nil if it is not that.
    public init?(_ text: some StringProtocol) {
        let words = text.split(separator: "-", omittingEmptySubsequences: false).map { UInt32($0, radix: 16) }
        guard words.count == 4, let a = words[0], let b = words[1], let c = words[2], let d = words[3] else {
            return nil
        }
        self.init(k0: UInt64(b) << 32 | UInt64(a), k1: UInt64(d) << 32 | UInt64(c))
    }

    /// The 16 bytes.
    public var bytes: [UInt8] {
        [k0, k1].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) } }
    }

    /// The cookie for connections between these two: a hash that nobody can compute without the key (RFC 7413 4.1.2), and
    /// the one that Linux computes.
    func cookie(for addresses: AddressPair) -> FastOpenCookie {
        let hash = SipHash(k0: k0, k1: k1)
        let (client, server) = (addresses.remote, addresses.local)
        // As the addresses stand in the packet, source first, in words of eight bytes with the first byte lowest.
        let word =
            client.isIPv4
            ? hash.hash((UInt64(client.v4Bits) << 32 | UInt64(server.v4Bits)).byteSwapped)
            : hash.hash(
                client.high.byteSwapped, client.low.byteSwapped, server.high.byteSwapped, server.low.byteSwapped)
        return FastOpenCookie(littleEndian: word)
    }
}

/// What a host does about Fast Open.
public struct FastOpenConfiguration: Sendable {
    /// Which parts are on. Linux's default: 1.
    public var modes = FastOpenModes.client
    /// The keys of the cookies: what the first one makes is granted, and what any makes is accepted, so that keys can be
    /// changed. Empty: one that derives from the host's seed.
    public var keys: [FastOpenKey] = []
    /// For how long active OPENs do without after failures that look like a path that swallows such SYNs; it doubles with
    /// each, up to 64 times. Zero: not at all, the default of Linux (tcp_fastopen_blackhole_timeout_sec).
    public var blackholeTimeout = TimeInterval.zero
    /// Whether data with a SYN may fill the link's segments where the server's MSS is not known; else it fits the default MSS of
    /// IPv4 or IPv6, as with Linux.
    public var fillsUnknownSegments = true
    /// How many servers' cookies are kept.
    public var cacheCapacity = 1024

    /// The defaults.
    public init() {}
}

/// How an active OPEN uses Fast Open.
public enum FastOpenUse: Sendable, Hashable {
    /// Not at all.
    case none
    /// The SYN leaves with the next poll, and takes along what was sent until then if there is a cookie; without one it asks for
    /// one (MSG_FASTOPEN).
    case now
    /// If there is a cookie, the SYN waits for the first SEND; without one it leaves and asks for one (TCP_FASTOPEN_CONNECT).
    case withFirstSend
}

/// Why an active OPEN that tried Fast Open had to do without: tcpi_fastopen_client_fail.
public enum FastOpenFailure: UInt8, Sendable {
    case none = 0
    /// There was no cookie.
    case noCookie = 1
    /// The peer acknowledged the SYN without the data.
    case dataNotAcknowledged = 2
    /// The SYN had to be sent again.
    case synRetransmitted = 3
}

/// What Fast Open has done since a host began.
public struct FastOpenStatistics: Sendable {
    /// Active OPENs whose data was acknowledged with the SYN, and those whose data was not.
    public internal(set) var active: UInt64 = 0, activeFailed: UInt64 = 0
    /// Passive OPENs that did not wait for the handshake's end, and SYNs whose cookie was wrong.
    public internal(set) var passive: UInt64 = 0, passiveFailed: UInt64 = 0
    /// Passive OPENs by a cookie of another than the first key.
    public internal(set) var passiveByOldKey: UInt64 = 0
    /// SYNs that asked for a cookie.
    public internal(set) var cookieRequests: UInt64 = 0
    /// SYNs that a listener with too many such connections took for ordinary ones.
    public internal(set) var overflows: UInt64 = 0
    /// Failures after which active OPENs do without for a while.
    public internal(set) var blackholes: UInt64 = 0
}
