// A link that carries real IP packets through a TUN device, so that any machine's TCP is a peer, first of all the kernel's.
import CLinux
import Glibc
import Impairments
import TCPSegments

/// How a TUN device is used.
public struct TunConfiguration: Sendable {
    /// The interface's name.
    public var name: String
    /// This host's addresses on it, each with the network that is reached through it.
    public var addresses: [IPPrefix]
    /// Further networks that are reached through it.
    public var routes: [IPPrefix] = []
    /// The largest packet, in bytes: 1280 to 65,535 (576 without IPv6).
    public var mtu = 1500
    /// RFC 9293 3.4.2: packets may wander. TIME-WAIT lasts twice this.
    public var maximumSegmentLifetime = TimeInterval.seconds(30)

    /// One with these values.
    public init(name: String, addresses: [IPPrefix]) {
        self.name = name
        self.addresses = addresses
    }
}

/// What a TUN link counted, in packets.
public struct TunStatistics: Sendable {
    /// Taken from the device, and given to it.
    public internal(set) var received: UInt64 = 0, sent: UInt64 = 0
    /// Dropped: no IP packet that can be read, or no segment.
    public internal(set) var malformed: UInt64 = 0
    /// Dropped: fragments.
    public internal(set) var fragments: UInt64 = 0
    /// Dropped for a wrong checksum.
    public internal(set) var badChecksums: UInt64 = 0
    /// For other addresses than ours, or of other protocols than TCP and ICMP.
    public internal(set) var foreign: UInt64 = 0
    /// Echo requests answered.
    public internal(set) var echoes: UInt64 = 0
    /// Not taken by the device: it was down, or full.
    public internal(set) var notSent: UInt64 = 0
}

/// The segments' way through a TUN device. One link for each family, whoever the peer is.
public final class TunLink: EventHandler {
    /// How it was set up.
    public let configuration: TunConfiguration
    /// What was counted so far.
    public private(set) var statistics = TunStatistics()

    private let device: TunDevice
    private let registry: any EventRegistry
    private unowned let receiver: any SegmentReceiver
    private let tap: SegmentTap
    private let filter: ImpairmentFilter
    private let log: (String) -> Void
    private let input = Chunk(capacity: TunPacketHeader.length + 65_536)
    /// Packets to ourselves: the kernel would not send them back.
    private var looped: [[UInt8]] = []
    private var saidNotSent = false

    // The upper half of the numbers belongs to TUN links.
    private static let link4 = LinkID(0x8000_0000)
    private static let link6 = LinkID(0x8000_0001)

    /// True if this number names a TUN link.
    public static func owns(_ link: LinkID) -> Bool { link.value >= link4.value }

    /// Begins to read from `device`, which is opened if nobody has done so yet.
    public init(
        configuration: TunConfiguration, device opened: TunDevice? = nil, registry: any EventRegistry,
        receiver: any SegmentReceiver,
        tap: SegmentTap = SegmentTap(), filter: ImpairmentFilter = ImpairmentFilter(), log: @escaping (String) -> Void
    ) throws(SystemError) {
        self.configuration = configuration
        self.registry = registry
        self.receiver = receiver
        self.tap = tap
        self.filter = filter
        self.log = log
        if let opened {
            device = opened
        } else {
            device = try TunDevice(name: configuration.name, mtu: configuration.mtu, log: log)
        }
        try registry.register(device.descriptor, self)
        for own in configuration.addresses {
            want(AddressPair(local: own.address, remote: own.address), at: .origin)
        }
    }

    /// Ends reading and writing.
    public func close() { registry.deregister(device.descriptor) }

    // MARK: Links and routes

    /// This host's address for reaching `remote`, with the length of the route that says so; nil if none does.
    public func route(to remote: IPAddress) -> (local: IPAddress, length: Int)? {
        var best: (local: IPAddress, length: Int)?
        func consider(_ network: IPPrefix, from local: IPAddress) {
            if network.contains(remote), network.length > best?.length ?? -1 { best = (local, network.length) }
        }
        for own in configuration.addresses { consider(own, from: own.address) }
        for network in configuration.routes {
            if let own = configuration.addresses.first(where: { $0.address.isIPv4 == network.address.isIPv4 }) {
                consider(network, from: own.address)
            }
        }
        return best
    }

    /// True for this host's addresses.
    public func isOurs(_ address: IPAddress) -> Bool { configuration.addresses.contains { $0.address == address } }

    /// A link is always there.
    public func want(_ addresses: AddressPair, at now: Instant) {
        let isIPv4 = addresses.local.isIPv4
        let properties = LinkProperties(
            maximumSegmentSize: UInt16(clamping: configuration.mtu - (isIPv4 ? 40 : 60)),
            maximumSegmentLifetime: configuration.maximumSegmentLifetime, computesChecksum: true, carriesECN: true,
            hidesMTU: true)
        receiver.linkAvailable(isIPv4 ? Self.link4 : Self.link6, properties, for: addresses, at: now)
    }

    // MARK: Out

    /// Sends segments, as few packets as the kernel takes.
    public func transmit(_ transmission: Transmission, _ tuple: FourTuple, at now: Instant) {
        let first = transmission.header
        let count = transmission.segmentCount
        var perPacket = 1
        // The kernel's cutting knows nothing of urgent pointers, and leaves CWR to the first piece, where it may be a bit of a
        // counter (RFC 9768 3.2.2).
        if device.offloads, count > 1, !tap.isOn, !filter.actsOut, first.controlBits.isDisjoint(with: [.urg, .cwr]),
            !isOurs(tuple.remote.address)
        {
            perPacket = max(1, (65_535 - 40 - first.encodedLength) / transmission.segmentSize)
        }
        var index = 0
        while index < count {
            let last = min(index + perPacket, count) - 1
            let (firstHeader, offset, _) = transmission.segment(index)
            let (lastHeader, lastOffset, lastCount) = transmission.segment(last)
            var header = firstHeader
            // Cut by the kernel, PSH and FIN stay with the last piece.
            header.controlBits.formUnion(lastHeader.controlBits)
            let segment = OutgoingSegment(
                header: header, payload: transmission.payload, offset: offset, count: lastOffset + lastCount - offset,
                tuple: tuple, link: tuple.local.address.isIPv4 ? Self.link4 : Self.link6, ecn: transmission.ecn,
                differentiatedServices: transmission.differentiatedServices)
            index = last + 1
            if filter.actsOut,
                let passage = filter.admit(.out, tuple, length: header.encodedLength + segment.count, at: now)
            {
                if tap.isOn { show(segment, passage.effect) }
                filter.carry(segment, passage, by: self, at: now)
            } else {
                if tap.isOn { show(segment, nil) }
                send(segment, cutTo: segment.count > transmission.segmentSize ? transmission.segmentSize : 0)
            }
        }
    }

    /// Has the tap see a segment with its checksum.
    private func show(_ segment: OutgoingSegment, _ impairment: SegmentImpairment?) {
        var bytes = [UInt8](repeating: 0, count: 60)
        let headerLength = bytes.withUnsafeMutableBytes { space in
            // Bounds: at most 60 bytes.
            space.baseAddress.map { segment.header.encode(into: $0) } ?? 0
        }
        bytes.removeLast(60 - headerLength)
        segment.payload.forEachRange(from: segment.offset, count: segment.count) { bytes += $0.bytes }
        let sum = bytes.withUnsafeBytes {
            InternetChecksum.checksum(of: $0, from: segment.tuple.local.address, to: segment.tuple.remote.address)
        }
        bytes[16] = UInt8(sum >> 8)
        bytes[17] = UInt8(sum & 0xFF)
        bytes.withUnsafeBytes {
            tap.sent(
                $0, segment.header, count: segment.count, segment.tuple, impairment: impairment,
                through: configuration.name, ecn: segment.ecn)
        }
    }

    /// Sends one packet, which the kernel cuts into segments of `segmentSize` if that is not 0.
    private func send(_ outgoing: OutgoingSegment, cutTo segmentSize: Int) {
        let (header, payload, offset, count) = (outgoing.header, outgoing.payload, outgoing.offset, outgoing.count)
        let tuple = outgoing.tuple
        let ip = IPHeader(
            source: tuple.local.address, destination: tuple.remote.address, protocolNumber: 6,
            differentiatedServices: outgoing.differentiatedServices, ecn: outgoing.ecn)
        let isLooped = isOurs(tuple.remote.address)
        withUnsafeTemporaryAllocation(byteCount: TunPacketHeader.length + 40 + 60, alignment: 8) { space in
            guard let base = space.baseAddress else { return }
            let packet = base + TunPacketHeader.length
            let segment = packet + ip.encodedLength
            // Bounds: 10 + at most 40 + at most 60 bytes.
            let headerLength = header.encode(into: segment)
            ip.encode(payloadLength: headerLength + count, into: packet)
            var sum = InternetChecksum()
            sum.addPseudoHeader(from: ip.source, to: ip.destination, length: headerLength + count)
            var front = TunPacketHeader()
            let leavesChecksum = device.offloads && !isLooped && outgoing.flippedBit == nil
            if leavesChecksum {
                front.flags = TunPacketHeader.needsChecksum
                front.checksumStart = UInt16(ip.encodedLength)
                front.checksumOffset = 16
            } else {
                sum.add(UnsafeRawBufferPointer(start: segment, count: headerLength))
                payload.forEachRange(from: offset, count: count) { sum.add($0.bytes) }
            }
            // Left to the kernel, the field holds the pseudo-header's sum, not its complement.
            let field = leavesChecksum ? ~sum.value : sum.value
            segment.storeBytes(of: field.bigEndian, toByteOffset: 16, as: UInt16.self)
            if segmentSize > 0 {
                front.segmentation = ip.isIPv4 ? 1 : 4
                front.headerLength = UInt16(ip.encodedLength + headerLength)
                front.segmentSize = UInt16(clamping: segmentSize)
            }
            front.encode(into: base)
            let headers = UnsafeMutableRawBufferPointer(
                start: base, count: TunPacketHeader.length + ip.encodedLength + headerLength)
            if isLooped || outgoing.flippedBit != nil {
                sendWhole(UnsafeRawBufferPointer(headers), outgoing, ipLength: ip.encodedLength, looped: isLooped)
            } else {
                write(headers, payload, offset, count)
            }
        }
    }

    /// The way of a packet that stays here, or that has a flipped bit: its bytes in one piece.
    private func sendWhole(
        _ headers: UnsafeRawBufferPointer, _ segment: OutgoingSegment, ipLength: Int, looped isLooped: Bool
    ) {
        var bytes = [UInt8](headers)
        bytes.reserveCapacity(headers.count + segment.count)
        segment.payload.forEachRange(from: segment.offset, count: segment.count) { bytes += $0.bytes }
        // Bounds: a bit of the segment behind both headers.
        if let bit = segment.flippedBit { bytes[TunPacketHeader.length + ipLength + bit / 8] ^= 1 << UInt8(bit % 8) }
        if isLooped {
            statistics.sent += 1
            looped.append(bytes)
        } else {
            bytes.withUnsafeMutableBytes { write($0, Payload(), 0, 0) }
        }
    }

    private func write(
        _ headers: UnsafeMutableRawBufferPointer, _ payload: Payload, _ offset: Int, _ count: Int
    ) {
        var pieces: [iovec] = [iovec(iov_base: headers.baseAddress, iov_len: headers.count)]
        payload.forEachRange(from: offset, count: count) {
            pieces.append(iovec(iov_base: $0.chunk.base + $0.offset, iov_len: $0.count))
        }
        if pieces.withUnsafeMutableBufferPointer({ device.write($0) }) {
            statistics.sent += 1
            saidNotSent = false
            return
        }
        // Like any loss: TCP sends again.
        statistics.notSent += 1
        guard !saidNotSent, errno != EAGAIN, errno != ENOBUFS else { return }
        saidNotSent = true
        log("\(device.name) does not take packets: \(String(cString: strerror(errno)).lowercased())")
    }

    /// Delivers what was sent to ourselves. Call once a turn of the loop; true if there was anything.
    public func flush(at now: Instant) -> Bool {
        guard !looped.isEmpty else { return false }
        let packets = looped
        looped = []
        for packet in packets { packet.withUnsafeBytes { received($0, at: now) } }
        return true
    }

    // MARK: In

    /// Reads what the device has.
    public func descriptorReady(_ readiness: Readiness, at now: Instant) {
        guard !readiness.isDisjoint(with: [.readable, .hangup, .readHangup]) else { return }
        // What happens to segments happens to those the sender made, not to what its kernel has put together.
        // The same holds for what a capture shows.
        let takesLarge = !filter.actsIn && !tap.isOn
        if takesLarge != device.takesLargePackets { device.takeLargePackets(takesLarge) }
        // A turn of 64 packets, then others get theirs.
        for _ in 0..<64 {
            let n = read(device.descriptor, input.base, input.capacity)
            if n < 0, errno == EINTR { continue }
            guard n > 0 else { return }
            received(UnsafeRawBufferPointer(start: input.base, count: n), at: now)
        }
        registry.again(self)
    }

    private func received(_ bytes: UnsafeRawBufferPointer, at now: Instant) {
        statistics.received += 1
        guard bytes.count > TunPacketHeader.length else {
            statistics.malformed += 1
            return
        }
        let trusted = bytes[0] & (TunPacketHeader.needsChecksum | TunPacketHeader.checksumIsValid) != 0
        let packet = UnsafeRawBufferPointer(rebasing: bytes[TunPacketHeader.length...])
        let ip: IPHeader
        let range: Range<Int>
        do throws(IPError) { (ip, range) = try IPHeader.decode(packet) } catch {
            switch error {
            case .fragment: statistics.fragments += 1
            case .badChecksum: statistics.badChecksums += 1
            case .truncated, .unknownVersion, .badHeaderLength, .badExtensions, .badSource: statistics.malformed += 1
            }
            return
        }
        let payload = UnsafeRawBufferPointer(rebasing: packet[range])
        guard isOurs(ip.destination) else {
            statistics.foreign += 1
            return
        }
        switch ip.protocolNumber {
        case 6: segmentArrived(payload, ip, trusted: trusted, at: now)
        case 1, 58: messageArrived(payload, ip, at: now)
        default: statistics.foreign += 1
        }
    }

    private func segmentArrived(
        _ segment: UnsafeRawBufferPointer, _ ip: IPHeader, trusted: Bool, at now: Instant
    ) {
        // What the kernel hands over without a checksum has not been on any wire.
        guard trusted || InternetChecksum.isValid(segment, from: ip.source, to: ip.destination) else {
            statistics.badChecksums += 1
            return
        }
        guard let (header, offset) = try? SegmentDecoder.decode(segment) else {
            statistics.malformed += 1
            return
        }
        let tuple = FourTuple(
            local: Endpoint(ip.destination, header.destinationPort), remote: Endpoint(ip.source, header.sourcePort))
        let payload = UnsafeRawBufferPointer(rebasing: segment[offset...])
        let link = ip.isIPv4 ? Self.link4 : Self.link6
        if filter.actsIn, let passage = filter.admit(.in, tuple, length: segment.count, at: now) {
            if tap.isOn { show(segment, header, count: payload.count, tuple, passage.effect, ecn: ip.ecn) }
            statistics.badChecksums += filter.deliver(
                segment, tuple, on: link, ecn: ip.ecn, isProtected: true, passage, to: self, at: now)
            return
        }
        if tap.isOn { show(segment, header, count: payload.count, tuple, nil, ecn: ip.ecn) }
        receiver.segmentArrived(header, payload: payload, tuple: tuple, on: link, ecn: ip.ecn, at: now)
    }

    /// Has the tap see a segment that came in, with its checksum: the kernel's first packets may have come without.
    private func show(
        _ segment: UnsafeRawBufferPointer, _ header: SegmentHeader, count: Int, _ tuple: FourTuple,
        _ impairment: SegmentImpairment?, ecn: ECNField
    ) {
        let (from, to) = (tuple.remote.address, tuple.local.address)
        guard !InternetChecksum.isValid(segment, from: from, to: to) else {
            tap.received(
                segment, header, count: count, tuple, impairment: impairment, through: configuration.name, ecn: ecn)
            return
        }
        var bytes = Array(segment)
        bytes[16] = 0
        bytes[17] = 0
        let sum = bytes.withUnsafeBytes { InternetChecksum.checksum(of: $0, from: from, to: to) }
        bytes[16] = UInt8(sum >> 8)
        bytes[17] = UInt8(sum & 0xFF)
        bytes.withUnsafeBytes {
            tap.received($0, header, count: count, tuple, impairment: impairment, through: configuration.name, ecn: ecn)
        }
    }

    private func messageArrived(_ message: UnsafeRawBufferPointer, _ ip: IPHeader, at now: Instant) {
        switch ICMPMessage.decode(message, ip) {
        case nil: statistics.malformed += 1
        case .other: statistics.foreign += 1
        case .error(let error, let segment):
            receiver.pathError(error, about: segment, at: now)
        case .echoRequest:
            statistics.echoes += 1
            let reply = ICMPMessage.echoReply(to: message, ip)
            let back = IPHeader(
                source: ip.destination, destination: ip.source, protocolNumber: ip.protocolNumber)
            var bytes = [UInt8](repeating: 0, count: TunPacketHeader.length + back.encodedLength)
            bytes.withUnsafeMutableBytes { space in
                guard let base = space.baseAddress else { return }
                back.encode(payloadLength: reply.count, into: base + TunPacketHeader.length)
            }
            bytes += reply
            bytes.withUnsafeMutableBytes { write($0, Payload(), 0, 0) }
        }
    }
}

extension TunLink: SegmentCarrier {
    func carry(_ segment: OutgoingSegment, at now: Instant) { send(segment, cutTo: 0) }

    func deliver(_ segment: IncomingSegment, at now: Instant) {
        segment.bytes.withUnsafeBytes { bytes in
            guard let (header, offset) = try? SegmentDecoder.decode(bytes) else {
                statistics.malformed += 1
                return
            }
            receiver.segmentArrived(
                header, payload: UnsafeRawBufferPointer(rebasing: bytes[offset...]), tuple: segment.tuple,
                on: segment.link, ecn: segment.ecn, at: now)
        }
    }
}
