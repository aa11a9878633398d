// Links over real TCP: which real connection serves which pair of hosts, and dialling.
import CLinux
import Glibc
import Impairments
import TCPSegments

/// All real connections of a daemon. Not thread-safe: the event loop's thread calls it.
public final class FrameLinks {
    /// How it was set up.
    public let configuration: FrameLinksConfiguration
    /// What was counted so far.
    public internal(set) var statistics = FrameLinksStatistics()
    /// Watches all segments.
    public let tap: SegmentTap
    /// What happens to segments on their way.
    public let filter: ImpairmentFilter

    let registry: any EventRegistry
    let readBuffer = Chunk(capacity: 512 * 1024)
    unowned let receiver: any SegmentReceiver
    private let log: (String) -> Void
    private var listeners: [ListeningSocket] = []
    var table = LinkTable()
    /// When those that ran out of descriptors accept again.
    private var acceptAgain: Instant?
    private var dials: [AddressPair: RealConnection] = [:]
    private var wanted: Set<AddressPair> = []
    private var backoffs: [AddressPair: (until: Instant, interval: TimeInterval)] = [:]
    var flushQueue: [RealConnection] = []
    private var lastID: UInt32 = 0
    var lastUsed: RealConnection?
    private var localAddresses: LocalAddresses

    /// `log` takes sentences about links: refused peers, malformed frames.
    public init(
        configuration: FrameLinksConfiguration, registry: any EventRegistry, receiver: any SegmentReceiver,
        tap: SegmentTap = SegmentTap(), filter: ImpairmentFilter = ImpairmentFilter(), log: @escaping (String) -> Void
    ) {
        self.tap = tap
        self.filter = filter
        self.configuration = configuration
        localAddresses = LocalAddresses(ours: configuration.addresses)
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
    var computesChecksum: Bool {
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
    func becameLink(_ connection: RealConnection) {
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

    /// The local address from which `remote` is reached: what the kernel says, if it is one of ours; else our first of that family.
    public func localAddress(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress {
        try localAddresses.address(toReach: remote)
    }
}
