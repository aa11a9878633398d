// The real connections of a daemon, and which of them serves a pair of hosts (design: network layer, links).
import DequeModule
import TCPSegments

/// Real connections by number and by the pair of addresses they join.
///
/// A connection that was dialled ends at the peer's port: it is the peer's. One that was accepted may be anybody's who can
/// use the peer's address. It is a link once it has brought a segment, and even then it carries what belongs to the
/// conversations that came over it; others go the way that was dialled, if there is one.
struct LinkTable {
    private var byID: [LinkID: RealConnection] = [:]
    private var byAddresses: [AddressPair: [RealConnection]] = [:]
    /// Accepted connections in the order of their coming, until somebody looks for one that never brought a segment.
    private var silent = Deque<RealConnection>()

    /// Both sides dialled at once if our dial had not been completed for longer than this when the peer's came.
    private static let atOnce = TimeInterval.seconds(3)

    /// How many there are, in all.
    var count: Int { byID.count }

    /// All of them, in no particular order.
    var all: [RealConnection] { Array(byID.values) }

    /// How many join these addresses.
    func count(of addresses: AddressPair) -> Int { byAddresses[addresses]?.count ?? 0 }

    subscript(id: LinkID) -> RealConnection? { byID[id] }

    mutating func insert(_ connection: RealConnection) {
        byID[connection.id] = connection
        byAddresses[connection.addresses, default: []].append(connection)
        guard !connection.dialled else { return }
        // What has ended or spoken need not wait here; so the queue is no longer than the table.
        while let first = silent.first, first.isClosed || first.hasBroughtSegments { silent.removeFirst() }
        if silent.count > 2 * byID.count + 16 { silent.removeAll { $0.isClosed || $0.hasBroughtSegments } }
        silent.append(connection)
    }

    mutating func remove(_ connection: RealConnection) {
        byID[connection.id] = nil
        byAddresses[connection.addresses]?.removeAll { $0 === connection }
        if byAddresses[connection.addresses]?.isEmpty ?? false { byAddresses[connection.addresses] = nil }
    }

    /// The oldest accepted connection of a pair, or of all, that never brought a segment.
    func oldestSilent(of addresses: AddressPair) -> RealConnection? {
        byAddresses[addresses]?.first { !$0.dialled && !$0.hasBroughtSegments }
    }

    mutating func oldestSilent() -> RealConnection? {
        while let first = silent.popFirst() {
            if !first.isClosed, !first.hasBroughtSegments { return first }
        }
        return nil
    }

    /// The connection on which what is new between `addresses` is sent: to itself the dialled end; if both sides dialled at
    /// once, the one that the lower address dialled; else the one that was dialled here; else the link that the peer
    /// dialled. Where there are several of these, a dial finds out where the peer is: nil.
    func chosen(for addresses: AddressPair) -> RealConnection? {
        guard let all = byAddresses[addresses] else { return nil }
        guard let dialled = all.last(where: \.dialled) else {
            let links = all.filter(\.hasBroughtSegments)
            return addresses.local != addresses.remote && links.count == 1 ? links[0] : nil
        }
        guard addresses.remote < addresses.local, let rival = rival(of: dialled, among: all) else { return dialled }
        return rival
    }

    /// The newest link between `addresses`, for want of a better one.
    func newest(for addresses: AddressPair) -> RealConnection? {
        byAddresses[addresses]?.last { $0.dialled || ($0.hasBroughtSegments && addresses.local != addresses.remote) }
    }

    /// The link on which the answer to a segment that came over `connection` goes out: the same, unless both sides dialled
    /// at once, or the daemon talks to itself.
    func answering(_ connection: RealConnection) -> RealConnection {
        guard let all = byAddresses[connection.addresses], all.count > 1 else { return connection }
        if connection.addresses.local != connection.addresses.remote {
            guard let dialled = all.last(where: \.dialled), let rival = rival(of: dialled, among: all),
                connection === dialled || connection === rival
            else { return connection }
        }
        return chosen(for: connection.addresses) ?? connection
    }

    /// The connection that the peer dialled while `dialled` was being dialled here; nil if there is none, or more than one.
    private func rival(of dialled: RealConnection, among all: [RealConnection]) -> RealConnection? {
        var rival: RealConnection?
        for connection in all
        where !connection.dialled && connection.hasBroughtSegments
            && connection.connectedAt - dialled.connectedAt < Self.atOnce
        {
            guard rival == nil else { return nil }
            rival = connection
        }
        return rival
    }
}
