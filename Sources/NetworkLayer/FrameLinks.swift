// Links over real TCP: which real connection serves which pair of hosts, dialling, and segments in and out.
import CLinux
import Glibc
import Impairments
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

/// All real connections of a daemon. Not thread-safe: the event loop's thread calls it.
public final class FrameLinks {
    /// How it was set up.
    public let configuration: FrameLinksConfiguration
    /// What was counted so far.
    public private(set) var statistics = FrameLinksStatistics()
    /// Watches all segments.
    public let tap: SegmentTap
    /// What happens to segments on their way.
    public let filter: ImpairmentFilter

    let registry: any EventRegistry
    let readBuffer = Chunk(capacity: 512 * 1024)
    private unowned let receiver: any SegmentReceiver
    private let log: (String) -> Void
    private var listeners: [ListeningSocket] = []
    private var table = LinkTable()
    /// When those that ran out of descriptors accept again.
    private var acceptAgain: Instant?
    private var dials: [AddressPair: RealConnection] = [:]
    private var wanted: Set<AddressPair> = []
    private var backoffs: [AddressPair: (until: Instant, interval: TimeInterval)] = [:]
    private var flushQueue: [RealConnection] = []
    private var lastID: UInt32 = 0
    private var lastUsed: RealConnection?
    private var localAddresses: [IPAddress: (address: IPAddress, second: Int)] = [:]

    /// `log` takes sentences about links: refused peers, malformed frames.
    public init(
        configuration: FrameLinksConfiguration, registry: any EventRegistry, receiver: any SegmentReceiver,
        tap: SegmentTap = SegmentTap(), filter: ImpairmentFilter = ImpairmentFilter(), log: @escaping (String) -> Void
    ) {
        self.tap = tap
        self.filter = filter
        self.configuration = configuration
        self.registry = registry
        self.receiver = receiver
        self.log = log
    }

    /// Starts to listen; afterwards peers can dial.
    public func listen() throws(SystemError) {
        let all = configuration.addresses.isEmpty ? [IPAddress.anyIPv4, .anyIPv6] : configuration.addresses
        for address in all {
            do {
                listeners.append(try ListeningSocket(Endpoint(address, configuration.port), owner: self))
            } catch  where address == .anyIPv6 && error.errno == EAFNOSUPPORT {
                // A kernel without IPv6 is no reason not to serve IPv4.
                continue
            }
        }
    }

    /// Closes everything. Segments that wait are written as far as the kernel takes them at once.
    public func close(at now: Instant) {
        flush(at: now)
        for l in listeners { l.close() }
        listeners = []
        for connection in table.all { connection.close() }
        for connection in dials.values { connection.close() }
        table = LinkTable()
        dials = [:]
    }

    var properties: LinkProperties {
        LinkProperties(
            maximumSegmentSize: UInt16(FrameHeader.maximumSegment - 20),
            maximumSegmentLifetime: configuration.maximumSegmentLifetime,
            computesChecksum: computesChecksum)
    }

    /// Whether segments that leave now have a checksum.
    private var computesChecksum: Bool {
        switch configuration.checksums {
        case .never: false
        case .whereCorrupted: filter.corruptsOut
        case .always: true
        }
    }

    // MARK: Links

    /// Somebody needs a link: answered, now or later, by `linkAvailable` or `linkUnavailable`. Fresh requests dial at
    /// once; others obey the backoff after failures.
    public func want(_ addresses: AddressPair, fresh: Bool, at now: Instant) {
        if let connection = table.chosen(for: addresses) {
            receiver.linkAvailable(connection.id, properties, for: addresses, at: now)
            return
        }
        if dials[addresses] != nil {
            wanted.insert(addresses)
            return
        }
        if !fresh, let backoff = backoffs[addresses], now < backoff.until {
            receiver.linkUnavailable(addresses, .noAnswer, at: now)
            return
        }
        wanted.insert(addresses)
        dial(addresses, at: now)
    }

    private func dial(_ addresses: AddressPair, at now: Instant) {
        let family = addresses.remote.isIPv4 ? AF_INET : AF_INET6
        let fd = socket(
            family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else {
            log("cannot dial \(addresses.remote): \(String(cString: strerror(errno)))")
            fail(addresses, .noAnswer, at: now)
            return
        }
        var result = SocketAddress(Endpoint(addresses.local, 0)).withPointer { bind(fd, $0, $1) }
        if result == 0 {
            result = SocketAddress(Endpoint(addresses.remote, configuration.port)).withPointer {
                Glibc.connect(fd, $0, $1)
            }
        }
        if result < 0, errno != EINPROGRESS {
            let failure = Self.failure(of: errno)
            _ = Glibc.close(fd)
            fail(addresses, failure, at: now)
            return
        }
        lastID &+= 1
        let connection = RealConnection(
            id: LinkID(lastID), addresses: addresses, dialled: true, descriptor: fd, owner: self)
        connection.dialDeadline = now + configuration.dialTimeout
        dials[addresses] = connection
        do {
            try registry.register(fd, connection)
        } catch {
            log("\(error)")
            dialFailed(connection, .noAnswer, at: now)
        }
    }

    static func failure(of error: Int32) -> LinkFailure {
        switch error {
        case ECONNREFUSED, ECONNRESET: return .refused
        case EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL, EACCES, EPERM, EINVAL: return .unreachable
        default: return .noAnswer
        }
    }

    func dialSucceeded(_ connection: RealConnection, at now: Instant) {
        let addresses = connection.addresses
        dials[addresses] = nil
        backoffs[addresses] = nil
        connection.connectedAt = now
        table.insert(connection)
        receiver.linkOpened(connection.id, properties, for: addresses)
        wanted.remove(addresses)
        let best = table.chosen(for: addresses) ?? connection
        receiver.linkAvailable(best.id, properties, for: addresses, at: now)
    }

    func dialFailed(_ connection: RealConnection, _ failure: LinkFailure, at now: Instant) {
        dials[connection.addresses] = nil
        connection.close()
        fail(connection.addresses, failure, at: now)
    }

    private func fail(_ addresses: AddressPair, _ failure: LinkFailure, at now: Instant) {
        if backoffs.count > 4096 { backoffs = [:] }
        let interval = min((backoffs[addresses]?.interval ?? .milliseconds(100)) * 2, .seconds(30))
        backoffs[addresses] = (now + interval, interval)
        wanted.remove(addresses)
        if let connection = table.newest(for: addresses) {
            // The peer's own dial has given the pair a link.
            receiver.linkAvailable(connection.id, properties, for: addresses, at: now)
        } else {
            receiver.linkUnavailable(addresses, failure, at: now)
        }
    }

    /// Somebody has dialled. Until a segment comes, it may be anybody who has found the port: nothing is sent there.
    func accepted(_ descriptor: Int32, local: IPAddress, remote: IPAddress, at now: Instant) {
        let addresses = AddressPair(local: local, remote: remote)
        if !makeRoom(for: addresses, at: now) {
            statistics.refusedConnections += 1
            _ = Glibc.close(descriptor)
            return
        }
        lastID &+= 1
        let connection = RealConnection(
            id: LinkID(lastID), addresses: addresses, dialled: false, descriptor: descriptor, owner: self)
        connection.connectedAt = now
        do {
            try registry.register(descriptor, connection)
        } catch {
            log("\(error)")
            _ = Glibc.close(descriptor)
            return
        }
        table.insert(connection)
    }

    /// Keeps to the bounds: past them the oldest connection that never brought a segment makes room. False if all have.
    private func makeRoom(for addresses: AddressPair, at now: Instant) -> Bool {
        let crowded: RealConnection?
        if table.count(of: addresses) >= configuration.maximumConnectionsPerHost {
            crowded = table.oldestSilent(of: addresses)
        } else if table.count >= configuration.maximumConnections {
            crowded = table.oldestSilent()
        } else {
            return true
        }
        guard let crowded else { return false }
        statistics.refusedConnections += 1
        ended(crowded, at: now)
        return true
    }

    /// The first segment has come over an accepted connection: from now on it is a link.
    private func becameLink(_ connection: RealConnection) {
        connection.hasBroughtSegments = true
        // To itself a daemon sends on the end it dialled only.
        guard connection.addresses.local != connection.addresses.remote else { return }
        receiver.linkOpened(connection.id, properties, for: connection.addresses)
    }

    /// No descriptor is left to accept with: the next try is soon.
    func acceptLater(at now: Instant) { acceptAgain = now + .milliseconds(100) }

    func ended(_ connection: RealConnection, at now: Instant) {
        guard !connection.isClosed else { return }
        connection.close()
        if lastUsed === connection { lastUsed = nil }
        table.remove(connection)
        receiver.linkGone(connection.id, at: now)
    }

    func malformed(_ connection: RealConnection, _ error: FrameError, at now: Instant) {
        statistics.malformedFrames += 1
        log("closed the real connection with \(connection.addresses.remote): malformed frame (\(error))")
        ended(connection, at: now)
    }

    func writabilityChanged(_ connection: RealConnection, writable: Bool) {
        receiver.linkWritable(connection.id, writable, at: .origin)
    }

    // MARK: Segments

    func arrived(_ segment: UnsafeRawBufferPointer, over connection: RealConnection, at now: Instant) {
        guard !connection.isClosed else { return }
        statistics.framesReceived += 1
        let addresses = connection.addresses
        let header: SegmentHeader
        let offset: Int
        do {
            (header, offset) = try SegmentDecoder.decode(segment)
        } catch {
            statistics.malformedSegments += 1
            return
        }
        // A checksum of 0 means that the real connection protects the bytes; any other is verified.
        if segment[16] != 0 || segment[17] != 0,
            !InternetChecksum.isValid(segment, from: addresses.remote, to: addresses.local)
        {
            statistics.badChecksums += 1
            return
        }
        if !connection.dialled, !connection.hasBroughtSegments { becameLink(connection) }
        let tuple = FourTuple(
            local: Endpoint(addresses.local, header.destinationPort),
            remote: Endpoint(addresses.remote, header.sourcePort))
        let payload = UnsafeRawBufferPointer(rebasing: segment[offset...])
        let link = table.answering(connection).id
        if filter.actsIn, arrivedImpaired(segment, header, count: payload.count, tuple, on: link, at: now) { return }
        if tap.isOn { tap.received(segment, header, count: payload.count, tuple) }
        receiver.segmentArrived(header, payload: payload, tuple: tuple, on: link, ecn: .notCapable, at: now)
    }

    /// The way of a segment for which there may be an impairment; false if there is none.
    private func arrivedImpaired(
        _ segment: UnsafeRawBufferPointer, _ header: SegmentHeader, count: Int, _ tuple: FourTuple, on link: LinkID,
        at now: Instant
    ) -> Bool {
        guard let passage = filter.admit(.in, tuple, length: segment.count, at: now) else { return false }
        if tap.isOn { tap.received(segment, header, count: count, tuple, impairment: passage.effect) }
        // Without a checksum it is as if it had one, unless nothing has here: the wire is an imagined one.
        let isProtected = configuration.checksums != .never || segment[16] != 0 || segment[17] != 0
        statistics.badChecksums += filter.deliver(
            segment, tuple, on: link, ecn: .notCapable, isProtected: isProtected, passage, to: self, at: now)
        return true
    }

    /// Sends segments over a link. They wait in memory until `flush`.
    public func transmit(_ transmission: Transmission, _ tuple: FourTuple, on link: LinkID, at now: Instant) {
        guard let connection = connection(of: link) else { return }
        // The engine does not poll connections past the limit; what still comes at twice the limit are replies without a
        // connection, which a peer that never reads could otherwise pile up.
        guard connection.queuedBytes < 2 * RealConnection.outputLimit else {
            statistics.droppedAtLimit += UInt64(transmission.segmentCount)
            return
        }
        let isWatched = tap.isOn || filter.actsOut
        let checksum = computesChecksum
        for index in 0..<transmission.segmentCount {
            let (header, offset, count) = transmission.segment(index)
            guard isWatched else {
                statistics.framesSent += 1
                connection.queue(header, transmission.payload, offset: offset, count: count, checksum: checksum)
                continue
            }
            let segment = OutgoingSegment(
                header: header, payload: transmission.payload, offset: offset, count: count, tuple: tuple, link: link)
            transmitWatched(segment, over: connection, at: now)
        }
    }

    private func connection(of link: LinkID) -> RealConnection? {
        guard let connection = lastUsed?.id == link ? lastUsed : table[link], !connection.isClosed else { return nil }
        lastUsed = connection
        return connection
    }

    /// The way of a segment that somebody watches or impairs.
    private func transmitWatched(_ segment: OutgoingSegment, over connection: RealConnection, at now: Instant) {
        let length = segment.header.encodedLength + segment.count
        let passage = filter.actsOut ? filter.admit(.out, segment.tuple, length: length, at: now) : nil
        if tap.isOn {
            encode(segment, checksum: computesChecksum).withUnsafeBytes {
                tap.sent($0, segment.header, count: segment.count, segment.tuple, impairment: passage?.effect)
            }
        }
        if let passage {
            filter.carry(segment, passage, by: self, at: now)
        } else {
            send(segment, over: connection)
        }
    }

    private func send(_ segment: OutgoingSegment, over connection: RealConnection) {
        statistics.framesSent += 1
        guard let bit = segment.flippedBit else {
            connection.queue(
                segment.header, segment.payload, offset: segment.offset, count: segment.count,
                checksum: computesChecksum)
            return
        }
        var bytes = encode(segment, checksum: configuration.checksums != .never)
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
        bytes.withUnsafeBytes { connection.queue(segment: $0) }
    }

    /// A segment's bytes in one piece.
    private func encode(_ segment: OutgoingSegment, checksum: Bool) -> [UInt8] {
        let length = segment.header.encodedLength + segment.count
        var bytes = [UInt8](repeating: 0, count: 60 + segment.count)
        bytes.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            // Bounds: at most 60 bytes of header.
            let n = segment.header.encode(into: base)
            segment.payload.copyBytes(from: segment.offset, count: segment.count, to: base + n)
        }
        bytes.removeLast(bytes.count - length)
        guard checksum else { return bytes }
        let sum = bytes.withUnsafeBytes {
            InternetChecksum.checksum(of: $0, from: segment.tuple.local.address, to: segment.tuple.remote.address)
        }
        // A sum of 0 would mean "not computed" on this network layer; 0xFFFF is the same number.
        let value = sum == 0 ? 0xFFFF : sum
        bytes[16] = UInt8(value >> 8)
        bytes[17] = UInt8(value & 0xFF)
        return bytes
    }

    func wantsFlush(_ connection: RealConnection) {
        guard !connection.isQueuedForFlush else { return }
        connection.isQueuedForFlush = true
        flushQueue.append(connection)
    }

    /// Hands what waits to the kernel. Call once a turn of the loop: many segments, one system call.
    public func flush(at now: Instant) {
        while let connection = flushQueue.popLast() {
            connection.isQueuedForFlush = false
            connection.flush(at: now)
        }
    }

    // MARK: Time

    /// When `handleTimeout` is to be called next.
    public var nextTimeout: Instant? {
        let dial = dials.values.compactMap(\.dialDeadline).min()
        return [dial, acceptAgain].compactMap { $0 }.min()
    }

    /// Gives up dials without an answer, and accepts again after a pause.
    public func handleTimeout(at now: Instant) {
        if let moment = acceptAgain, moment <= now {
            acceptAgain = nil
            for listener in listeners { listener.descriptorReady(.readable, at: now) }
        }
        for connection in dials.values where connection.dialDeadline.map({ $0 <= now }) ?? false {
            dialFailed(connection, .noAnswer, at: now)
        }
    }

    // MARK: Addresses

    /// The local address from which `remote` is reached: what the kernel says, if it is one of ours; else our first of
    /// that family.
    public func localAddress(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress {
        let candidates = configuration.addresses.lazy.filter { $0.isIPv4 == remote.isIPv4 }
        if candidates.count == 1, let only = candidates.first { return only }
        let now = Self.monotonicSeconds()
        if let known = localAddresses[remote], known.second == now { return known.address }
        let found = try findLocalAddress(toReach: remote)
        // Bounded, and asked again every second: routes change.
        if localAddresses.count >= 1024 { localAddresses = [:] }
        localAddresses[remote] = (found, now)
        return found
    }

    private static func monotonicSeconds() -> Int {
        var t = timespec()
        clock_gettime(CLOCK_MONOTONIC, &t)
        return t.tv_sec
    }

    private func findLocalAddress(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress {
        let fd = socket(
            remote.isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { throw .unreachable }
        defer { _ = Glibc.close(fd) }
        let ours = configuration.addresses
        if SocketAddress(Endpoint(remote, 9)).withPointer({ Glibc.connect(fd, $0, $1) }) == 0 {
            var name = SocketAddress()
            if name.fill({ getsockname(fd, $0, $1) }) == 0, let local = name.endpoint?.address,
                ours.isEmpty || ours.contains(local)
            {
                return local
            }
        } else if ours.isEmpty {
            throw .unreachable
        }
        guard let first = ours.first(where: { $0.isIPv4 == remote.isIPv4 }) else { throw .unreachable }
        return first
    }
}

extension FrameLinks: SegmentCarrier {
    func carry(_ segment: OutgoingSegment, at now: Instant) {
        // What was held back may pile up past the link's limit: no more than was under way, because until it has gone the
        // connections of this link are not polled.
        if let connection = connection(of: segment.link) { send(segment, over: connection) }
    }

    func deliver(_ segment: IncomingSegment, at now: Instant) {
        segment.bytes.withUnsafeBytes { bytes in
            guard let (header, offset) = try? SegmentDecoder.decode(bytes) else {
                statistics.malformedSegments += 1
                return
            }
            // Where no checksum protects the ports, a flipped bit may have changed them.
            let tuple = FourTuple(
                local: Endpoint(segment.tuple.local.address, header.destinationPort),
                remote: Endpoint(segment.tuple.remote.address, header.sourcePort))
            receiver.segmentArrived(
                header, payload: UnsafeRawBufferPointer(rebasing: bytes[offset...]), tuple: tuple, on: segment.link,
                ecn: .notCapable, at: now)
        }
    }
}
