// SYN cookies (D. J. Bernstein, 1996; RFC 4987 3.6): a full SYN queue answers SYNs without remembering them, and believes the
// ACK that brings back the number it made. Layout of the number and of the timestamp as on Linux.
import TCPSegments

/// When SYNs are answered with cookies. The raw values are those of net.ipv4.tcp_syncookies.
public enum SynCookieUse: Int, Sendable, Hashable {
    /// Never: a full SYN queue ignores SYNs.
    case never = 0
    /// While the SYN queue is full.
    case whenFull = 1
    /// Always: for tests.
    case always = 2
}

/// Makes and checks the sequence numbers that stand for a connection's first segment.
struct SynCookies {
    private let hashes: (SipHash, SipHash)

    init(_ first: SipHash, _ second: SipHash) { hashes = (first, second) }

    /// How long a period of the counter is, and how many of them a cookie is good for.
    static var period: TimeInterval { .seconds(60) }
    private static var lifetime: UInt32 { 2 }
    /// The longest that a cookie is good.
    static var longestLife: TimeInterval { period * Int64(lifetime) }

    /// The segment sizes that a cookie tells apart: what most hosts announce.
    static func segmentSizes(isIPv4: Bool) -> [UInt16] {
        isIPv4 ? [536, 1300, 1440, 1460] : [1220, 1420, 1440, 8940]
    }

    private static func count(at now: Instant) -> UInt32 {
        UInt32(truncatingIfNeeded: now.nanoseconds / period.nanoseconds)
    }

    private func hash(_ which: KeyPath<(SipHash, SipHash), SipHash>, _ tuple: FourTuple, _ count: UInt32) -> UInt32 {
        UInt32(
            truncatingIfNeeded: hashes[keyPath: which].hash(
                tuple.local.address.high, tuple.local.address.low, tuple.remote.address.high, tuple.remote.address.low,
                UInt64(tuple.local.port) << 48 | UInt64(tuple.remote.port) << 32 | UInt64(count)))
    }

    private func outer(_ tuple: FourTuple) -> UInt32 { hash(\.0, tuple, 0) }
    private func inner(_ tuple: FourTuple, _ count: UInt32) -> UInt32 { hash(\.1, tuple, count) }

    /// The number for a SYN: the period in its high 8 bits, and under a hash of it which segment size the peer takes.
    func sequenceNumber(for tuple: FourTuple, irs: SequenceNumber, sizeIndex: Int, at now: Instant) -> SequenceNumber {
        let count = Self.count(at: now)
        let low = inner(tuple, count) & 0xFF_FFFF
        return SequenceNumber(outer(tuple) &+ irs.value &+ count << 24 &+ low &+ UInt32(sizeIndex))
    }

    /// What an ACK of a number says.
    enum Verdict: Equatable {
        /// The number was made here, and stands for this segment size.
        case good(sizeIndex: Int)
        /// The number may have been made here, but for an earlier segment of the peer: that one is lost, or late.
        case later
        case bad
    }

    /// Judges an ACK of `number` whose segment begins behind `irs`.
    func verdict(on number: SequenceNumber, for tuple: FourTuple, irs: SequenceNumber, at now: Instant) -> Verdict {
        let cookie = number.value &- outer(tuple) &- irs.value
        let count = Self.count(at: now)
        for age in 0..<Self.lifetime {
            let low = inner(tuple, count &- age) & 0xFF_FFFF
            let distance = Int(Int32(bitPattern: cookie &- (count &- age) << 24 &- low))
            if (0..<Self.segmentSizes(isIPv4: tuple.local.address.isIPv4).count).contains(distance) {
                return .good(sizeIndex: distance)
            }
            // The window of the SYN-ACK is not scaled: no peer sends more than that.
            if (-65_535..<0).contains(distance) { return .later }
        }
        return .bad
    }

    /// The SYN's options in the low six bits of the timestamp that its answer carries: the peer echoes them.
    struct TimestampBits {
        /// nil: no window scaling.
        var windowScale: UInt8?
        var selectiveAcks: Bool
        /// Congestion marks are told of in the way of RFC 3168.
        var marks: Bool

        private static let count: UInt32 = 6, noScale: UInt32 = 15, selective: UInt32 = 16, marks: UInt32 = 32

        init(_ offer: PeerOffer, marks: Bool) {
            self.marks = marks
            windowScale = offer.windowScale.map { min($0, 14) }
            selectiveAcks = offer.selectiveAcks
        }

        init(echo: UInt32) {
            let scale = echo & Self.noScale
            windowScale = scale == Self.noScale ? nil : UInt8(scale)
            selectiveAcks = echo & Self.selective != 0
            marks = echo & Self.marks != 0
        }

        /// The last reading of the clock not after `clock` that ends with these bits.
        func encoded(before clock: UInt32) -> UInt32 {
            let bits =
                (windowScale.map(UInt32.init) ?? Self.noScale) | (selectiveAcks ? Self.selective : 0)
                | (marks ? Self.marks : 0)
            let value = (clock >> Self.count) << Self.count | bits
            return value > clock ? value &- (1 << Self.count) : value
        }
    }
}

extension Host {
    /// Answers a SYN and forgets it.
    func sendCookie(
        _ syn: SegmentHeader, tuple: FourTuple, listener: Listener, link: HostLink, ecn: ECNField, at now: Instant
    ) {
        var syn = syn
        let offset = secrets.timestampOffset(for: tuple)
        if syn.options.timestamps == nil || !listener.configuration.timestamps {
            // What the number has no place for is not agreed on.
            syn.options.timestamps = nil
            syn.options.windowScale = nil
            syn.options.sackPermitted = false
        }
        let size = syn.options.maximumSegmentSize ?? 536
        let sizes = SynCookies.segmentSizes(isIPv4: tuple.local.address.isIPv4)
        let index = sizes.lastIndex { $0 <= size } ?? 0
        let number = secrets.synCookies.sequenceNumber(
            for: tuple, irs: syn.sequenceNumber, sizeIndex: index, at: now)
        let halfOpen = HalfOpen(
            tuple: tuple, link: link.id, listener: listener, iss: number, timestampOffset: offset, syn: syn, text: nil,
            at: now)
        if link.properties.carriesECN, syn.options.timestamps != nil {
            // There is one bit: accurate feedback (RFC 9768) falls back to RFC 3168's.
            halfOpen.agreeOnMarks(syn.controlBits.subtracting(.ae), synCameWith: ecn)
        }
        var answer = halfOpen.synAck(effective(link.properties), at: now)
        if let timestamps = answer.options.timestamps {
            let bits = SynCookies.TimestampBits(halfOpen.offer, marks: halfOpen.feedback != .none)
            answer.options.timestamps = Timestamps(
                value: bits.encoded(before: timestamps.value &- offset) &+ offset, echoReply: timestamps.echoReply)
        }
        listener.cookieSentAt = now
        statistics.synCookiesSent += 1
        reply(answer, for: listener, tuple: tuple, link: link)
    }

    /// An ACK that fits no connection, for a listener: true if it ends a handshake of which only the cookie is left.
    func takesCookie(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, listener: Listener, link: HostLink,
        ecn: ECNField, at now: Instant
    ) -> Bool {
        guard synCookies != .never, header.controlBits.isDisjoint(with: [.syn, .rst]),
            let sentAt = listener.cookieSentAt, now - sentAt <= SynCookies.longestLife, !listener.announcesConnections
        else { return false }
        let irs = header.sequenceNumber - 1
        let number = header.acknowledgmentNumber - 1
        let index: Int
        switch secrets.synCookies.verdict(on: number, for: tuple, irs: irs, at: now) {
        case .good(let sizeIndex): index = sizeIndex
        case .later:
            // A reset would end a connection of which only the first segment is missing: it comes again.
            return true
        case .bad:
            statistics.synCookiesRefused += 1
            return false
        }
        guard mayOpen(listener) else {
            // The peer believes that it is connected: its data will bring the same ACK again.
            statistics.acceptsDeferred += 1
            return true
        }
        statistics.synCookiesAccepted += 1
        establish(
            rebuilt(
                header, irs: irs, iss: number, sizeIndex: index, tuple: tuple, listener: listener, link: link, at: now),
            header, payload: payload, link: link, ecn: ecn, at: now)
        return true
    }

    /// The record of the handshake as it would have been.
    private func rebuilt(
        _ header: SegmentHeader, irs: SequenceNumber, iss: SequenceNumber, sizeIndex: Int, tuple: FourTuple,
        listener: Listener, link: HostLink, at now: Instant
    ) -> HalfOpen {
        var syn = SegmentHeader(
            sourcePort: tuple.remote.port, destinationPort: tuple.local.port, sequenceNumber: irs, controlBits: .syn,
            window: header.window)
        let offset = secrets.timestampOffset(for: tuple)
        syn.options.maximumSegmentSize = SynCookies.segmentSizes(isIPv4: tuple.local.address.isIPv4)[sizeIndex]
        if let timestamps = header.options.timestamps, listener.configuration.timestamps {
            let bits = SynCookies.TimestampBits(echo: timestamps.echoReply &- offset)
            syn.options.timestamps = timestamps
            syn.options.windowScale = bits.windowScale
            syn.options.sackPermitted = bits.selectiveAcks
            if bits.marks { syn.controlBits.formUnion([.ece, .cwr]) }
        }
        let halfOpen = HalfOpen(
            tuple: tuple, link: link.id, listener: listener, iss: iss, timestampOffset: offset, syn: syn, text: nil,
            at: now)
        halfOpen.isFromCookie = true
        if link.properties.carriesECN { halfOpen.agreeOnMarks(syn.controlBits, synCameWith: .notCapable) }
        return halfOpen
    }
}
