// getsockopt and setsockopt: what is answered, and what is only kept. Options of the descriptor itself (SO_RCVTIMEO,
// SO_SNDTIMEO, SO_RCVLOWAT) never come here. Documentation/Sockets.md has the table.
import Glibc
import TCPEngine
import TCPSegments

/// The options that are accepted, kept and given back, and have no effect here; with their values before they are set.
private let recordedOptions: [OptionName: Int32] = {
    let (tcp, ip, ip6) = (Int32(IPPROTO_TCP), Int32(IPPROTO_IP), Int32(IPPROTO_IPV6))
    return [
        OptionName(SOL_SOCKET, SO_DEBUG): 0, OptionName(SOL_SOCKET, SO_DONTROUTE): 0,
        OptionName(SOL_SOCKET, SO_BROADCAST): 0, OptionName(SOL_SOCKET, SO_PRIORITY): 0,
        OptionName(SOL_SOCKET, SO_BUSY_POLL): 0, OptionName(SOL_SOCKET, SO_INCOMING_CPU): -1,
        OptionName(tcp, TCP_THIN_DUPACK): 0,
        OptionName(tcp, TCP_THIN_LINEAR_TIMEOUTS): 0, OptionName(tcp, TCP_SAVE_SYN): 0, OptionName(ip, IP_TOS): 0,
        OptionName(ip, IP_TTL): 64, OptionName(ip, IP_MTU_DISCOVER): 1, OptionName(ip, IP_RECVERR): 0,
        OptionName(ip, IP_RECVTOS): 0, OptionName(ip, IP_FREEBIND): 0, OptionName(ip, IP_BIND_ADDRESS_NO_PORT): 0,
        OptionName(ip6, IPV6_TCLASS): 0, OptionName(ip6, IPV6_UNICAST_HOPS): 64, OptionName(ip6, IPV6_MTU_DISCOVER): 1,
        OptionName(ip6, IPV6_RECVERR): 0, OptionName(ip6, IPV6_RECVTCLASS): 0, OptionName(ip6, IPV6_DONTFRAG): 0,
        OptionName(ip6, IPV6_FREEBIND): 0,
    ]
}()

/// An option's value as setsockopt(2) brings it.
private struct GivenValue {
    let bytes: [UInt8]

    /// The int it begins with.
    func int() throws(SocketError) -> Int32 { try int(at: 0) }

    func int(at place: Int) throws(SocketError) -> Int32 {
        guard bytes.count >= place + 4 else { throw .invalidArgument }
        return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: Int32.self) }
    }

    /// The int, if it lies in `range`.
    func int(in range: ClosedRange<Int32>) throws(SocketError) -> Int32 {
        let value = try int()
        guard range.contains(value) else { throw .invalidArgument }
        return value
    }
}

extension SocketLayer {
    /// setsockopt(2) with the bytes of the value.
    public func setOption(
        _ socket: Socket, _ option: OptionName, _ bytes: [UInt8], at now: Instant
    ) throws(SocketError) {
        let value = GivenValue(bytes: bytes)
        switch option.level {
        case SOL_SOCKET: try setSocketOption(socket, option, value, at: now)
        case Int32(IPPROTO_TCP): try setTCPOption(socket, option, value, at: now)
        case Int32(IPPROTO_IPV6): try setIPv6Option(socket, option, value, at: now)
        default: try record(socket, option, value, at: now)
        }
        note(socket, option, bytes)
    }

    private func setSocketOption(
        _ socket: Socket, _ option: OptionName, _ value: GivenValue, at now: Instant
    ) throws(SocketError) {
        switch option.name {
        case SO_REUSEADDR: socket.reuseAddress = try value.int() != 0
        case SO_REUSEPORT:
            let on = try value.int() != 0
            change(socket, at: now) { $0.reusePort = on }
        case SO_LINGER:
            let seconds = try value.int(at: 4)
            socket.linger = try value.int() != 0 ? max(0, seconds) : nil
        case SO_KEEPALIVE:
            let on = try value.int() != 0
            change(socket, at: now) { $0.keepAlive = on }
        case SO_SNDBUF, SO_SNDBUFFORCE:
            // Linux: a negative size is taken for a large one; the least is 2,304.
            let size = bufferSize(try value.int())
            change(socket, at: now) { $0.sendBuffer = size }
        case SO_RCVBUF, SO_RCVBUFFORCE:
            let size = bufferSize(try value.int())
            change(socket, at: now) { $0.receiveBuffer = size }
        case SO_MAX_PACING_RATE:
            // Linux: an unsigned long, or an unsigned int; all ones mean no limit.
            let low = UInt64(UInt32(bitPattern: try value.int()))
            let isLong = value.bytes.count >= 8
            let rate = isLong ? low | UInt64(UInt32(bitPattern: try value.int(at: 4))) << 32 : low
            let isUnlimited = rate == (isLong ? .max : UInt64(UInt32.max))
            change(socket, at: now) { $0.maximumPacingRate = isUnlimited ? .max : max(1, Int(clamping: rate)) }
        case SO_ERROR, SO_TYPE, SO_ACCEPTCONN, SO_DOMAIN, SO_PROTOCOL: throw .unknownOption
        default: try record(socket, option, value, at: now)
        }
    }

    private func bufferSize(_ asked: Int32) -> Int {
        let size = asked < 0 ? ConnectionConfiguration.maximumBufferSize : Int(asked)
        return min(max(size, 2304), ConnectionConfiguration.maximumBufferSize)
    }

    private func setTCPOption(
        _ socket: Socket, _ option: OptionName, _ value: GivenValue, at now: Instant
    ) throws(SocketError) {
        switch option.name {
        case TCP_NODELAY: setNoDelay(socket, try value.int() != 0, at: now)
        case TCP_CORK:
            let on = try value.int() != 0
            change(socket, at: now) { $0.isCorked = on }
            if let connection = socket.connection { host.setCorked(connection, on, at: now) }
        case TCP_KEEPIDLE:
            let seconds = try value.int(in: 1...32_767)
            change(socket, at: now) { $0.keepAliveIdle = .seconds(Int64(seconds)) }
        case TCP_KEEPINTVL:
            let seconds = try value.int(in: 1...32_767)
            change(socket, at: now) { $0.keepAliveInterval = .seconds(Int64(seconds)) }
        case TCP_KEEPCNT:
            let count = try value.int(in: 1...127)
            change(socket, at: now) { $0.keepAliveProbes = Int(count) }
        case TCP_USER_TIMEOUT:
            let milliseconds = try value.int(in: 0...Int32.max)
            change(socket, at: now) { $0.userTimeout = .milliseconds(Int64(milliseconds)) }
        case TCP_SYNCNT:
            let count = try value.int(in: 1...127)
            change(socket, at: now) { $0.synRetries = Int(count) }
        case TCP_LINGER2:
            let seconds = min(try value.int(), 120)
            change(socket, at: now) { $0.finWait2Timeout = seconds < 0 ? .seconds(-1) : .seconds(Int64(seconds)) }
        case TCP_NOTSENT_LOWAT:
            let bytes = UInt32(bitPattern: try value.int())
            change(socket, at: now) { $0.unsentLimit = bytes == 0 || bytes == .max ? nil : Int(bytes) }
        case TCP_MAXSEG:
            let size = try value.int()
            guard size == 0 || (88...32_767).contains(size) else { throw .invalidArgument }
            change(socket, at: now) { $0.maximumSegmentSize = size == 0 ? nil : Int(size) }
        case TCP_QUICKACK:
            let on = try value.int() != 0
            if let connection = socket.connection { host.setQuickAck(connection, on, at: now) }
        case TCP_DEFER_ACCEPT:
            let time = TimeInterval.seconds(Int64(max(0, try value.int())))
            change(socket, at: now) {
                $0.deferredAccepts = ConnectionConfiguration.synAckRetransmissions(in: time)
            }
        case TCP_WINDOW_CLAMP:
            let size = try value.int(in: 0...Int32.max)
            // Linux: none again only before there is a connection; no less than half of the smallest buffer.
            if size == 0, socket.state != .closed { throw .invalidArgument }
            change(socket, at: now) { $0.windowClamp = size == 0 ? 0 : max(1152, Int(size)) }
        case TCP_CONGESTION:
            // Linux: an unknown name is ENOENT.
            let name = String(decoding: value.bytes.prefix { $0 != 0 }, as: UTF8.self)
            guard let algorithm = CongestionControlAlgorithm(rawValue: name) else { throw .unknownCongestionControl }
            change(socket, at: now) { $0.congestionControl = algorithm }
        case TCP_FASTOPEN: try setFastOpenQueue(socket, try value.int(), at: now)
        case TCP_FASTOPEN_CONNECT: try setFastOpenConnect(socket, try value.int(in: 0...1) == 1, at: now)
        case TCP_FASTOPEN_NO_COOKIE: try setFastOpenWithoutCookie(socket, try value.int(in: 0...1) == 1, at: now)
        case TCP_FASTOPEN_KEY: try setFastOpenKeys(socket, value.bytes, at: now)
        case TCP_INFO: throw .unknownOption
        default: try record(socket, option, value, at: now)
        }
    }

    private func setIPv6Option(
        _ socket: Socket, _ option: OptionName, _ value: GivenValue, at now: Instant
    ) throws(SocketError) {
        guard socket.isIPv6 else { throw .unknownOption }
        guard option.name == IPV6_V6ONLY else {
            try record(socket, option, value, at: now)
            return
        }
        // Linux: too late once an address is bound.
        guard case .idle = socket.kind, socket.bound == nil else { throw .invalidArgument }
        let on = try value.int() != 0
        change(socket, at: now) { $0.isIPv6Only = on }
    }

    private func record(
        _ socket: Socket, _ option: OptionName, _ value: GivenValue, at now: Instant
    ) throws(SocketError) {
        guard recordedOptions[option] != nil else {
            unknownOptionObserver?(option)
            throw .unknownOption
        }
        // Linux takes a single byte for the options of IP.
        let isByte = value.bytes.count < 4 && option.level == Int32(IPPROTO_IP)
        var number = isByte ? Int32(value.bytes.first ?? 0) : try value.int()
        if option == .trafficClass {
            guard (-1...255).contains(number) else { throw .invalidArgument }
            number = max(0, number)
        }
        // The other two bits are the connection's (RFC 3168).
        if option == .typeOfService || option == .trafficClass { number &= 0xFC }
        change(socket, at: now) { $0.recorded[option] = number }
    }

    // MARK: Asking

    /// getsockopt(2): the bytes of an option's value.
    public func option(_ socket: Socket, _ option: OptionName) throws(SocketError) -> [UInt8] {
        switch option.level {
        case SOL_SOCKET:
            if let value = socketOption(socket, option.name) { return value }
        case Int32(IPPROTO_TCP):
            if let value = tcpOption(socket, option.name) { return value }
        case Int32(IPPROTO_IPV6):
            guard socket.isIPv6 else { throw .unknownOption }
            if option.name == IPV6_V6ONLY { return bytes(socket.settings.isIPv6Only) }
        default: break
        }
        guard let initial = recordedOptions[option] else {
            unknownOptionObserver?(option)
            throw .unknownOption
        }
        return bytes(socket.settings.recorded[option] ?? initial)
    }

    private func socketOption(_ socket: Socket, _ name: Int32) -> [UInt8]? {
        let defaults = host.configuration.connection
        let settings = socket.settings
        switch name {
        case SO_REUSEADDR: return bytes(socket.reuseAddress)
        case SO_REUSEPORT: return bytes(settings.reusePort)
        case SO_LINGER: return bytes(socket.linger != nil) + bytes(socket.linger ?? 0)
        case SO_KEEPALIVE: return bytes(settings.keepAlive ?? defaults.keepAlive)
        // Linux gives twice of what was set.
        case SO_SNDBUF:
            let size = socket.connection?.info.sendBufferSize ?? defaults.sendBufferSize
            return bytes(Int32(clamping: settings.sendBuffer.map { 2 * $0 } ?? size))
        case SO_RCVBUF:
            let size = socket.connection?.info.receiveBufferSize ?? defaults.receiveBufferSize
            return bytes(Int32(clamping: settings.receiveBuffer.map { 2 * $0 } ?? size))
        case SO_MAX_PACING_RATE:
            let rate = settings.maximumPacingRate ?? .max
            return withUnsafeBytes(of: rate == .max ? UInt64.max : UInt64(rate)) { Array($0) }
        case SO_TYPE: return bytes(Int32(SOCK_STREAM.rawValue))
        case SO_ACCEPTCONN: return bytes(socket.listener != nil)
        case SO_DOMAIN: return bytes(socket.isIPv6 ? AF_INET6 : AF_INET)
        case SO_PROTOCOL: return bytes(Int32(IPPROTO_TCP))
        case SO_ERROR:
            let error = socket.pendingError
            socket.pendingError = 0
            return bytes(error)
        default: return nil
        }
    }

    private func tcpOption(_ socket: Socket, _ name: Int32) -> [UInt8]? {
        let defaults = host.configuration.connection
        let settings = socket.settings
        func seconds(_ time: TimeInterval) -> [UInt8] { bytes(Int32(clamping: time.nanoseconds / 1_000_000_000)) }
        switch name {
        case TCP_NODELAY: return bytes(socket.noDelay)
        case TCP_CORK: return bytes(settings.isCorked)
        case TCP_MAXSEG:
            // Linux: of a connection what it uses, else what was set.
            let size = socket.connection?.info.maximumSegmentSize ?? settings.maximumSegmentSize ?? 536
            return bytes(Int32(clamping: size))
        case TCP_QUICKACK: return bytes(socket.connection?.acknowledgesQuickly ?? true)
        case TCP_DEFER_ACCEPT:
            return seconds(ConnectionConfiguration.time(ofSynAckRetransmissions: settings.deferredAccepts ?? 0))
        case TCP_WINDOW_CLAMP: return bytes(Int32(clamping: settings.windowClamp ?? 0))
        case TCP_KEEPIDLE: return seconds(settings.keepAliveIdle ?? defaults.keepAliveIdle)
        case TCP_KEEPINTVL: return seconds(settings.keepAliveInterval ?? defaults.keepAliveInterval)
        case TCP_KEEPCNT: return bytes(Int32(clamping: settings.keepAliveProbes ?? defaults.keepAliveProbes))
        case TCP_USER_TIMEOUT:
            let time = settings.userTimeout ?? defaults.userTimeout ?? .zero
            return bytes(Int32(clamping: time.nanoseconds / 1_000_000))
        case TCP_SYNCNT: return bytes(Int32(clamping: settings.synRetries ?? defaults.synRetries))
        case TCP_LINGER2: return seconds(settings.finWait2Timeout ?? defaults.finWait2Timeout)
        case TCP_NOTSENT_LOWAT:
            return bytes(Int32(bitPattern: UInt32(clamping: settings.unsentLimit ?? Int(UInt32.max))))
        case TCP_CONGESTION:
            let algorithm = settings.congestionControl ?? defaults.congestionControl
            let name = Array((socket.connection?.info.congestionControl ?? algorithm.rawValue).utf8.prefix(15))
            return name + [UInt8](repeating: 0, count: 16 - name.count)
        case TCP_FASTOPEN: return bytes(Int32(clamping: settings.fastOpenQueue ?? 0))
        case TCP_FASTOPEN_CONNECT: return bytes(settings.fastOpensConnect)
        case TCP_FASTOPEN_NO_COOKIE: return bytes(settings.fastOpensWithoutCookie)
        case TCP_FASTOPEN_KEY: return fastOpenKeys(of: socket)
        case TCP_INFO: return tcpInformation(of: socket)
        default: return nil
        }
    }

    private func bytes(_ value: Int32) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }
    private func bytes(_ value: Bool) -> [UInt8] { bytes(value ? 1 : 0) }
}
