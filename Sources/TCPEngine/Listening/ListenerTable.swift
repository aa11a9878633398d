// Which listener a SYN belongs to.
import TCPSegments

/// The listeners of a host by where they listen. Several may share an endpoint (SO_REUSEPORT).
struct ListenerTable {
    private var groups: [Endpoint: [Listener]] = [:]

    /// True if somebody listens exactly there.
    func isTaken(_ local: Endpoint) -> Bool { groups[local] != nil }

    /// Adds a listener; false if the endpoint is taken by one that does not share it, or would not be shared.
    mutating func add(_ listener: Listener) -> Bool {
        let others = groups[listener.local, default: []]
        guard others.isEmpty || (listener.sharesPort && others.allSatisfy(\.sharesPort)) else { return false }
        groups[listener.local] = others + [listener]
        return true
    }

    mutating func remove(_ listener: Listener) {
        guard let group = groups[listener.local] else { return }
        let others = group.filter { $0 !== listener }
        groups[listener.local] = others.isEmpty ? nil : others
    }

    /// The listener for a SYN to `local`: an exact one before one of all addresses. `::` takes IPv4 as well unless it
    /// is for IPv6 only (RFC 3493 5.3). Of those that share an endpoint, `hash` chooses, so that a connection's SYNs
    /// meet the same one.
    func listener(for local: Endpoint, hash: () -> UInt64) -> Listener? {
        if groups.isEmpty { return nil }
        if let group = groups[local] { return choose(group, hash) }
        if local.address.isIPv4, let group = groups[Endpoint(.anyIPv4, local.port)] { return choose(group, hash) }
        guard let group = groups[Endpoint(.anyIPv6, local.port)] else { return nil }
        guard local.address.isIPv4 else { return choose(group, hash) }
        return choose(group.filter { !$0.isIPv6Only }, hash)
    }

    private func choose(_ group: [Listener], _ hash: () -> UInt64) -> Listener? {
        group.count > 1 ? group[Int(hash() % UInt64(group.count))] : group.first
    }
}
