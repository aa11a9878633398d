// What options have been set on a socket, apart from the few that nearly every socket has.
import Glibc
import TCPEngine
import TCPSegments

/// Options that most sockets never set. nil: the daemon's configuration decides.
public struct SocketSettings: Sendable {
    /// SO_SNDBUF and SO_RCVBUF in bytes, as asked for. The connection gets a half, the way to the application the other; or
    /// twice of it, which is what getsockopt tells, if there is no such way (`BufferUse`).
    public var sendBuffer, receiveBuffer: Int?
    /// SO_KEEPALIVE.
    public var keepAlive: Bool?
    /// TCP_KEEPIDLE, TCP_KEEPINTVL.
    public var keepAliveIdle, keepAliveInterval: TimeInterval?
    /// TCP_KEEPCNT.
    public var keepAliveProbes: Int?
    /// TCP_USER_TIMEOUT; zero: none.
    public var userTimeout: TimeInterval?
    /// TCP_SYNCNT: retransmissions of a SYN.
    public var synRetries: Int?
    /// TCP_LINGER2: how long an orphan waits in FIN-WAIT-2; negative: not at all.
    public var finWait2Timeout: TimeInterval?
    /// TCP_NOTSENT_LOWAT: unsent bytes beyond which the writer has to wait.
    public var unsentLimit: Int?
    /// TCP_CONGESTION.
    public var congestionControl: CongestionControlAlgorithm?
    /// TCP_MAXSEG: the most a segment carries.
    public var maximumSegmentSize: Int?
    /// TCP_CORK.
    public var isCorked = false
    /// TCP_DEFER_ACCEPT, in retransmissions of the SYN-ACK.
    public var deferredAccepts: Int?
    /// SO_MAX_PACING_RATE in bytes a second; Int.max: none.
    public var maximumPacingRate: Int?
    /// TCP_WINDOW_CLAMP in bytes; 0: none.
    public var windowClamp: Int?
    /// TCP_FASTOPEN: connections whose handshakes may not have ended; nil: never set.
    public var fastOpenQueue: Int?
    /// TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE.
    public var fastOpensConnect = false, fastOpensWithoutCookie = false
    /// TCP_FASTOPEN_KEY; empty: the host's.
    public var fastOpenKeys: [FastOpenKey] = []
    /// SO_REUSEPORT.
    public var reusePort = false
    /// IPV6_V6ONLY.
    public var isIPv6Only = false
    /// Options that are kept and given back, by level and name.
    public var recorded: [OptionName: Int32] = [:]
    /// What has been set, byte by byte, until the socket connects or listens: a kernel socket may have to take its place.
    public var history: [(name: OptionName, value: [UInt8])] = []

    /// Nothing set.
    public init() {}

    /// Changes what is set in a connection's configuration.
    func apply(to c: inout ConnectionConfiguration, _ use: BufferUse) {
        // Linux: a size that the user has chosen does not grow.
        if let sendBuffer {
            c.sendBufferSize = max(1, use.part(of: sendBuffer)) + use.headroom
            c.maximumSendBuffer = 0
        }
        if let receiveBuffer {
            c.receiveBufferSize = max(1, use.part(of: receiveBuffer))
            c.maximumReceiveBuffer = 0
            c.windowScaleBase = nil
        }
        if let keepAlive { c.keepAlive = keepAlive }
        if let keepAliveIdle { c.keepAliveIdle = keepAliveIdle }
        if let keepAliveInterval { c.keepAliveInterval = keepAliveInterval }
        if let keepAliveProbes { c.keepAliveProbes = keepAliveProbes }
        if let userTimeout { c.userTimeout = userTimeout == .zero ? nil : userTimeout }
        if let synRetries { c.synRetries = synRetries }
        if let congestionControl { c.congestionControl = congestionControl }
        if let unsentLimit { c.unsentLimit = unsentLimit + use.headroom }
        if let maximumSegmentSize { c.maximumSegmentSize = min(c.maximumSegmentSize, maximumSegmentSize) }
        if let deferredAccepts { c.deferredAccepts = deferredAccepts }
        if let maximumPacingRate { c.maximumPacingRate = maximumPacingRate }
        if let tos = recorded[.typeOfService] { c.differentiatedServicesIPv4 = UInt8(truncatingIfNeeded: tos) >> 2 }
        if let tclass = recorded[.trafficClass] {
            c.differentiatedServicesIPv6 = UInt8(truncatingIfNeeded: tclass) >> 2
        }
        if let windowClamp { c.windowClamp = windowClamp == 0 ? nil : windowClamp }
        if let finWait2Timeout { c.finWait2Timeout = max(.zero, finWait2Timeout) }
    }
}

/// An option's level and name.
public struct OptionName: Hashable, Sendable {
    /// Both numbers, as setsockopt(2) has them.
    public let level, name: Int32

    /// IP_TOS, IPV6_TCLASS.
    static let typeOfService = OptionName(Int32(IPPROTO_IP), IP_TOS)
    static let trafficClass = OptionName(Int32(IPPROTO_IPV6), IPV6_TCLASS)

    /// One with these numbers.
    public init(_ level: Int32, _ name: Int32) {
        self.level = level
        self.name = name
    }
}

/// Settings that a listener and its connections share until one of them changes its own.
final class SharedSettings {
    var values: SocketSettings

    init(_ values: SocketSettings) { self.values = values }
}

/// Where the bytes wait that SO_SNDBUF and SO_RCVBUF count.
public enum BufferUse: Sendable, Equatable {
    /// Half in the connection, half on the way to the application.
    case shared
    /// All in the connection. Its owner keeps to the limits of sending itself: the connection has `sendHeadroom` more.
    case whole(sendHeadroom: Int)

    /// The connection's part, in bytes.
    func part(of size: Int) -> Int { self == .shared ? size / 2 : size * 2 }

    var headroom: Int { if case .whole(let bytes) = self { bytes } else { 0 } }
}
