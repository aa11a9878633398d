// Socket options by name and type.
import CLinux
import Glibc

/// A socket option whose value is a `Value`. What each does stands in `Documentation/Sockets.md`.
public struct ChisocketOption<Value: Sendable>: Sendable {
    let level: Int32
    let name: Int32
    let encode: @Sendable (Value) -> [UInt8]
    let decode: @Sendable ([UInt8]) -> Value?

    fileprivate init<Stored: BitwiseCopyable & Sendable>(
        _ level: Int32, _ name: Int32, storing: @escaping @Sendable (Value) -> Stored,
        reading: @escaping @Sendable (Stored) -> Value
    ) {
        self.level = level
        self.name = name
        encode = { value in withUnsafeBytes(of: storing(value)) { Array($0) } }
        decode = { bytes in
            // Bounds: what is loaded is no longer than what is there.
            guard bytes.count >= MemoryLayout<Stored>.size else { return nil }
            return bytes.withUnsafeBytes { reading($0.loadUnaligned(as: Stored.self)) }
        }
    }

    fileprivate init(
        _ level: Int32, _ name: Int32, encode: @escaping @Sendable (Value) -> [UInt8],
        decode: @escaping @Sendable ([UInt8]) -> Value?
    ) {
        self.level = level
        self.name = name
        self.encode = encode
        self.decode = decode
    }

    /// The value in the daemon's bytes.
    /// - Throws: EPROTO if it is none.
    func value(in bytes: [UInt8]) throws(ChisocketError) -> Value {
        guard let value = decode(bytes) else {
            throw ChisocketError(errno: EPROTO, call: "getsockopt", context: "gave \(bytes.count) bytes")
        }
        return value
    }
}

private let tcp = Int32(IPPROTO_TCP)

extension ChisocketOption<Bool> {
    private init(flag name: Int32, _ level: Int32) {
        self.init(level, name, storing: { Int32($0 ? 1 : 0) }, reading: { $0 != 0 })
    }

    /// TCP_NODELAY: small segments are sent at once (no Nagle, RFC 9293 3.7.4).
    public static var noDelay: Self { Self(flag: TCP_NODELAY, tcp) }
    /// SO_KEEPALIVE: an idle peer is asked whether it is there (RFC 9293 3.8.4).
    public static var keepAlive: Self { Self(flag: SO_KEEPALIVE, SOL_SOCKET) }
    /// SO_REUSEADDR: bind to a port of which connections linger in TIME-WAIT.
    public static var reuseAddress: Self { Self(flag: SO_REUSEADDR, SOL_SOCKET) }
    /// SO_REUSEPORT: several listeners share a port, and its connections.
    public static var reusePort: Self { Self(flag: SO_REUSEPORT, SOL_SOCKET) }
}

extension ChisocketOption<Int> {
    private init(number name: Int32, _ level: Int32) {
        self.init(level, name, storing: { Int32(clamping: $0) }, reading: { Int($0) })
    }

    /// SO_SNDBUF in bytes; read back doubled, as in Linux.
    public static var sendBuffer: Self { Self(number: SO_SNDBUF, SOL_SOCKET) }
    /// SO_RCVBUF in bytes; read back doubled, as in Linux.
    public static var receiveBuffer: Self { Self(number: SO_RCVBUF, SOL_SOCKET) }
    /// TCP_KEEPCNT: probes without an answer until the connection ends.
    public static var keepAliveProbes: Self { Self(number: TCP_KEEPCNT, tcp) }
    /// TCP_MAXSEG in bytes: on a connection, what it uses.
    public static var maximumSegment: Self { Self(number: TCP_MAXSEG, tcp) }
    /// TCP_NOTSENT_LOWAT in bytes: writers wait while more than that is unsent.
    public static var unsentLimit: Self { Self(number: TCP_NOTSENT_LOWAT, tcp) }
}

extension ChisocketOption<Duration> {
    private init(_ name: Int32, unit: Duration) {
        self.init(
            tcp, name, storing: { Int32(clamping: Int64(min($0 / unit, 4e9))) },
            reading: { (count: Int32) in unit * Int(count) })
    }

    /// TCP_KEEPIDLE, in whole seconds: idle time before the first probe.
    public static var keepAliveIdle: Self { Self(TCP_KEEPIDLE, unit: .seconds(1)) }
    /// TCP_KEEPINTVL, in whole seconds: time between probes.
    public static var keepAliveInterval: Self { Self(TCP_KEEPINTVL, unit: .seconds(1)) }
    /// TCP_USER_TIMEOUT, in whole milliseconds: how long data may stay unacknowledged (RFC 5482); 0: TCP's own limit.
    public static var userTimeout: Self { Self(TCP_USER_TIMEOUT, unit: .milliseconds(1)) }
}

extension ChisocketOption<Duration?> {
    /// SO_LINGER, in whole seconds: 0 makes close a reset, nil leaves the close to the daemon.
    public static var linger: Self {
        Self(
            SOL_SOCKET, SO_LINGER,
            storing: { value in
                Glibc.linger(
                    l_onoff: value == nil ? 0 : 1,
                    l_linger: Int32(clamping: value?.components.seconds ?? 0))
            },
            reading: { $0.l_onoff == 0 ? nil : .seconds(Int64($0.l_linger)) })
    }
}

extension ChisocketOption<String> {
    /// TCP_CONGESTION: "cubic", "reno" or "bbr".
    public static var congestionControl: Self {
        Self(
            tcp, TCP_CONGESTION, encode: { Array($0.utf8) },
            decode: { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
}
