// Which local endpoints are reserved by bind.
import TCPSegments

/// How a socket holds on to its port.
public struct PortUse: Hashable, Sendable {
    /// Others that say so too may have the same endpoint (SO_REUSEPORT).
    public var sharesPort = false
    /// `::` does not stand for the IPv4 addresses (IPV6_V6ONLY).
    public var isIPv6Only = false
    /// Old connections that still occupy the port do not matter (SO_REUSEADDR).
    public var reusesOld = false

    /// A socket of its own, for both families.
    public init() {}
}

/// Which local endpoints are reserved by bind.
struct PortReservations {
    private struct Reservation {
        let address: IPAddress
        let use: PortUse
        var count: Int
    }

    private var ports: [UInt16: [Reservation]] = [:]

    /// True if `endpoint` collides with a reservation: the same port on the same or on any address.
    func isTaken(_ endpoint: Endpoint, _ use: PortUse = PortUse()) -> Bool {
        guard let reservations = ports[endpoint.port] else { return false }
        return reservations.contains {
            !($0.use.sharesPort && use.sharesPort)
                && Self.overlap(endpoint.address, use.isIPv6Only, $0.address, $0.use.isIPv6Only)
        }
    }

    private static func overlap(_ a: IPAddress, _ aIsV6Only: Bool, _ b: IPAddress, _ bIsV6Only: Bool) -> Bool {
        if a == b { return true }
        return covers(a, aIsV6Only, b) || covers(b, bIsV6Only, a)
    }

    /// True if the unspecified address `all` stands for `one` as well.
    private static func covers(_ all: IPAddress, _ isV6Only: Bool, _ one: IPAddress) -> Bool {
        guard all.isUnspecified else { return false }
        return all.isIPv4 ? one.isIPv4 : !(isV6Only && one.isIPv4)
    }

    mutating func reserve(_ endpoint: Endpoint, _ use: PortUse) {
        var reservations = ports[endpoint.port, default: []]
        if let i = reservations.firstIndex(where: { $0.address == endpoint.address && $0.use == use }) {
            reservations[i].count += 1
        } else {
            reservations.append(Reservation(address: endpoint.address, use: use, count: 1))
        }
        ports[endpoint.port] = reservations
    }

    mutating func release(_ endpoint: Endpoint, _ use: PortUse) {
        guard var reservations = ports[endpoint.port],
            let i = reservations.firstIndex(where: { $0.address == endpoint.address && $0.use == use })
        else { return }
        reservations[i].count -= 1
        if reservations[i].count == 0 { reservations.remove(at: i) }
        ports[endpoint.port] = reservations.isEmpty ? nil : reservations
    }
}
