// Local ports: reservations by bind, and the choice of ephemeral ones (RFC 6056).
import TCPSegments

/// Which local endpoints are reserved by bind.
struct PortReservations {
    private var reserved: [Endpoint: Int] = [:]

    /// True if `endpoint` collides with a reservation: the same port on the same or on any address.
    func isTaken(_ endpoint: Endpoint) -> Bool {
        if reserved.isEmpty { return false }
        if reserved[endpoint] != nil { return true }
        if endpoint.address.isUnspecified { return reserved.keys.contains { $0.port == endpoint.port } }
        return reserved[Endpoint(.anyIPv4, endpoint.port)] != nil || reserved[Endpoint(.anyIPv6, endpoint.port)] != nil
    }

    mutating func reserve(_ endpoint: Endpoint) { reserved[endpoint, default: 0] += 1 }

    mutating func release(_ endpoint: Endpoint) {
        guard let n = reserved[endpoint] else { return }
        reserved[endpoint] = n > 1 ? n - 1 : nil
    }
}

/// Where the search for a free ephemeral port begins (RFC 6056 3.3.4, algorithm 4, double-hash).
struct EphemeralPorts {
    private var counters = [UInt64](repeating: 0, count: 64)
    private let range: ClosedRange<UInt16>

    init(range: ClosedRange<UInt16>) { self.range = range }

    /// The first ephemeral port that `isFree` accepts, beginning where the hash and its counter say.
    mutating func choose(offset: UInt64, slot: UInt64, _ isFree: (UInt16) -> Bool) -> UInt16? {
        let size = UInt64(range.upperBound - range.lowerBound) + 1
        let index = Int(slot % UInt64(counters.count))
        for _ in 0..<size {
            let port = range.lowerBound + UInt16((offset &+ counters[index]) % size)
            counters[index] &+= 1
            if isFree(port) { return port }
        }
        return nil
    }
}
