// Fast Open, passive: grants cookies, and makes a connection of a SYN that brings one (RFC 7413 4.1.2 and 4.2.2).
import TCPSegments

/// What a listener does with a SYN, as far as Fast Open goes.
enum FastOpenAnswer {
    /// An ordinary handshake; the SYN-ACK carries the option, if there is one.
    case handshake(FastOpenOption?)
    /// The connection may be accepted now.
    case open(FastOpenQueue, FastOpenOption?)
}

extension Host {
    /// How Fast Open works from now on.
    public var fastOpen: FastOpenConfiguration {
        get { fastOpenCache.configuration }
        set { fastOpenCache.configuration = newValue }
    }

    /// The keys of cookies where a listener has none of its own.
    public var fastOpenKeys: [FastOpenKey] {
        fastOpenCache.configuration.keys.isEmpty ? [secrets.fastOpenKey] : fastOpenCache.configuration.keys
    }

    /// What Fast Open has done.
    public var fastOpenStatistics: FastOpenStatistics { fastOpenCache.statistics }

    /// How many fast-opened connections of a listener may wait for the end of their handshakes (TCP_FASTOPEN): 0, which
    /// switches it off, to 4,096. It takes effect if `FastOpenModes.server` is on.
    public func setFastOpenQueue(_ limit: Int, of listener: Listener) {
        let limit = min(max(0, limit), FastOpenQueue.largestLimit)
        if let queue = listener.fastOpenQueue {
            queue.limit = limit
        } else if limit > 0 {
            listener.fastOpenQueue = FastOpenQueue(limit: limit)
        }
    }

    /// Keys of a listener's own (TCP_FASTOPEN_KEY); empty: the host's.
    public func setFastOpenKeys(_ keys: [FastOpenKey], of listener: Listener) { listener.fastOpenKeys = keys }

    /// Whether a listener takes data with a SYN that has no cookie (TCP_FASTOPEN_NO_COOKIE).
    public func setFastOpenWithoutCookie(_ on: Bool, of listener: Listener) { listener.fastOpensWithoutCookie = on }

    /// RFC 7413 4.1.2: what to do with a SYN for `listener`.
    func fastOpenAnswer(
        to syn: SegmentHeader, payloadCount: Int, _ listener: Listener, _ addresses: AddressPair, at now: Instant
    ) -> FastOpenAnswer {
        let modes = fastOpenCache.configuration.modes
        guard modes.contains(.server), let queue = listener.fastOpenQueue, queue.limit > 0 else {
            return .handshake(nil)
        }
        let option = syn.options.fastOpen
        let hasText = payloadCount > 0 || syn.controlBits.contains(.fin)
        if option?.cookie.isEmpty ?? false { fastOpenCache.statistics.cookieRequests += 1 }
        guard hasText || option != nil else { return .handshake(nil) }
        guard queue.hasRoom(at: now) else {
            fastOpenCache.statistics.overflows += 1
            return .handshake(nil)
        }
        // Whoever debugs the listener sees each connection go through its states.
        guard !listener.announcesConnections else { return .handshake(nil) }
        if modes.contains(.serverWithoutCookie) || listener.fastOpensWithoutCookie {
            fastOpenCache.statistics.passive += 1
            return .open(queue, nil)
        }
        guard let option else { return .handshake(nil) }
        let keys = fastOpenKeys(of: listener)
        let fresh = FastOpenOption(keys[0].cookie(for: addresses), isExperimental: option.isExperimental)
        guard !option.cookie.isEmpty else { return .handshake(fresh) }
        guard let key = keys.firstIndex(where: { $0.cookie(for: addresses) == option.cookie }) else {
            // RFC 7413 4.2.2 (2): a wrong cookie costs the client nothing but the data; it gets the right one.
            fastOpenCache.statistics.passiveFailed += 1
            return .handshake(fresh)
        }
        fastOpenCache.statistics.passive += 1
        if key > 0 { fastOpenCache.statistics.passiveByOldKey += 1 }
        return .open(queue, key > 0 ? fresh : nil)
    }

    private func fastOpenKeys(of listener: Listener) -> [FastOpenKey] {
        listener.fastOpenKeys.isEmpty ? fastOpenKeys : listener.fastOpenKeys
    }

    /// RFC 7413 4.2.2 (3) to (5): the connection is acceptable, with the SYN's data, while its SYN-ACK is on its way.
    func openFast(
        _ halfOpen: HalfOpen, _ queue: FastOpenQueue, _ option: FastOpenOption?, link: HostLink, at now: Instant
    ) {
        let listener = halfOpen.listener
        let connection = connection(of: halfOpen, link: link, eventMask: listener.eventMask)
        connection.fastOpen = .server(FastOpenServer(queue: queue, option: option))
        connection.openPassively(halfOpen, synAckWasSent: false, link: effective(link.properties), at: now)
        table.set(.connection(connection))
        connection.listener = listener
        // The SYN-ACK leaves before anybody hears of the connection, and so before any reset of it.
        var synAck = Transmission.blank
        if connection.nextTransmission(at: now, into: &synAck) {
            reply(synAck.header, for: listener, tuple: halfOpen.tuple, link: link)
        }
        listener.acceptQueue.append(connection)
        notices.append(.incoming(listener))
        touch(connection, at: now)
    }
}

extension Connection {
    /// True if data may leave although the SYN-ACK is not acknowledged (RFC 7413 4.2.2 (5)).
    var sendsBeforeHandshakeEnds: Bool {
        if state == .synReceived, case .server = fastOpen { true } else { false }
    }

    /// Takes what came with the SYN, at once.
    func takeSynText(_ text: EarlyText) {
        let count = text.bytes.count
        if count > 0 {
            text.bytes.withUnsafeBytes { deliver($0, pushed: true) }
            fastOpenServer?.tookData = true
        }
        // RFC 9293 3.10.7.4, eighth: the FIN counts from ESTABLISHED on.
        if text.hasFin { noteFin(at: tcb.receive.nxt) }
    }

    /// The SYN-ACK of a fast-opened connection leaves.
    func noteFastSynAck(_ server: FastOpenServer, at now: Instant, in options: inout TCPOptions) {
        if let option = server.option { options.append(option) }
        server.option = nil
        if server.synAckSentAt == nil {
            server.synAckSentAt = now
            tcb.send.una = StreamOffset(1)
            tcb.send.nxt = StreamOffset(1)
        } else {
            handshakeRetransmitted = true
            statistics.segmentsRetransmitted += 1
        }
    }

    /// The handshake of a fast-opened connection has ended.
    func endFastHandshake(_ server: FastOpenServer, at now: Instant) {
        if let sentAt = server.synAckSentAt, !handshakeRetransmitted {
            roundTrip.sample(now - sentAt)
            minimumRoundTrip.sample(now - sentAt, at: now)
        }
        server.leaveQueue()
    }

    /// True if an ICMP error ends the connection: its handshake has not ended, and nobody has accepted it (as on Linux).
    var endsByPathErrors: Bool { sendsBeforeHandshakeEnds && listener != nil }
}
