// Who may have which port, and which of several listeners a connection belongs to.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite("Ports and listeners")
struct PortTests {
    private static let one = IPAddress(10, 0, 0, 1)
    private static let other = IPAddress(10, 0, 0, 2)
    private static let v6 = IPAddress(high: 0x2001_0db8 << 32, low: 1)

    @Test(
        "a reserved port is taken where the addresses overlap",
        arguments: [
            (IPAddress.anyIPv4, one, false, true), (one, one, false, true), (one, other, false, false),
            (one, .anyIPv4, false, true), (v6, .anyIPv4, false, false), (.anyIPv6, one, false, true),
            (.anyIPv6, one, true, false), (.anyIPv6, v6, true, true), (.anyIPv6, .anyIPv4, false, true),
            (.anyIPv6, .anyIPv4, true, false), (.anyIPv4, v6, false, false), (v6, .anyIPv6, true, true),
        ] as [(IPAddress, IPAddress, Bool, Bool)])
    func overlap(_ reserved: IPAddress, _ asked: IPAddress, _ isIPv6Only: Bool, _ isTaken: Bool) {
        var use = PortUse()
        use.isIPv6Only = isIPv6Only
        var reservations = PortReservations()
        // The option belongs to the socket that has `::`, whichever of the two that is.
        let firstIsAny = reserved == .anyIPv6
        reservations.reserve(Endpoint(reserved, 80), firstIsAny ? use : PortUse())
        #expect(reservations.isTaken(Endpoint(asked, 80), firstIsAny ? PortUse() : use) == isTaken)
        #expect(!reservations.isTaken(Endpoint(asked, 81)))
        reservations.release(Endpoint(reserved, 80), firstIsAny ? use : PortUse())
        #expect(!reservations.isTaken(Endpoint(asked, 80)))
    }

    @Test(
        "a port is shared only if all say so",
        arguments: [(true, true, false), (true, false, true), (false, true, true)])
    func sharing(_ first: Bool, _ second: Bool, _ isTaken: Bool) {
        var reservations = PortReservations()
        var use = PortUse()
        use.sharesPort = first
        reservations.reserve(Endpoint(Self.one, 80), use)
        use.sharesPort = second
        #expect(reservations.isTaken(Endpoint(Self.one, 80), use) == isTaken)
    }

    @Test("listeners that share an endpoint get their part of the connections, and a connection always the same one")
    func spreading() throws {
        let host = Host(configuration: HostConfiguration(), seed: 7)
        var use = PortUse()
        use.sharesPort = true
        let local = Endpoint(Self.one, 80)
        let listeners = try (0..<3).map { _ in try host.listen(on: local, backlog: 8, use: use) }
        #expect(throws: ConnectionError.addressInUse) { try host.listen(on: local, backlog: 8) }
        var counts = [0, 0, 0]
        for port in UInt16(1000)..<4000 {
            let tuple = FourTuple(local: local, remote: Endpoint(Self.other, port))
            let chosen = try #require(host.listener(for: tuple))
            #expect(host.listener(for: tuple) === chosen)
            counts[try #require(listeners.firstIndex { $0 === chosen })] += 1
        }
        #expect(counts.allSatisfy { (800...1200).contains($0) }, "\(counts)")
        host.close(listeners[0], at: Instant(nanoseconds: 0))
        for port in UInt16(1000)..<1100 {
            let chosen = host.listener(for: FourTuple(local: local, remote: Endpoint(Self.other, port)))
            #expect(chosen === listeners[1] || chosen === listeners[2])
        }
    }

    @Test("an exact listener comes before one of all addresses, and `::` for IPv6 only takes no IPv4")
    func choice() throws {
        let host = Host(configuration: HostConfiguration(), seed: 7)
        var only = PortUse()
        only.isIPv6Only = true
        let all = try host.listen(on: Endpoint(.anyIPv6, 80), backlog: 8)
        let exact = try host.listen(on: Endpoint(Self.one, 80), backlog: 8)
        let six = try host.listen(on: Endpoint(.anyIPv6, 81), backlog: 8, use: only)
        func chosen(_ address: IPAddress, _ port: UInt16) -> Listener? {
            host.listener(for: FourTuple(local: Endpoint(address, port), remote: Endpoint(address, 9)))
        }
        #expect(chosen(Self.one, 80) === exact)
        #expect(chosen(Self.other, 80) === all)
        #expect(chosen(Self.v6, 80) === all)
        #expect(chosen(Self.v6, 81) === six)
        #expect(chosen(Self.one, 81) == nil)
    }

    @Test("a limit of unsent bytes holds the user back, and tells when there is room again")
    func unsentLimit() throws {
        var configuration = ConnectionConfiguration()
        configuration.unsentLimit = 20_000
        let hosts = TwoHosts(configuration: configuration)
        let listener = try hosts.listen()
        let client = try hosts.connect()
        hosts.run { listener.acceptQueueCount > 0 }
        let server = try #require(hosts.server.accept(listener))
        // Nobody reads: the peer's window fills, and then what is not sent stays below the limit.
        let bytes = pattern(4096)
        var total = 0
        func write() throws {
            while true {
                let n = try bytes.withUnsafeBytes { try hosts.client.send(client, $0, at: hosts.now) }
                total += n
                if n < bytes.count { return }
            }
        }
        var rounds = 0
        repeat {
            try write()
            #expect(client.unsentBytes <= 20_000)
            hosts.events = []
            hosts.run(for: .seconds(1))
            rounds += 1
        } while hosts.events.contains("client writable") && rounds < 10_000
        // Less than a third of the limit is no news worth a wake-up.
        #expect((13_334...20_000).contains(client.unsentBytes))
        #expect(total == client.unsentBytes + server.receivedCount)
        // Without the limit the send buffer takes the rest.
        hosts.client.reconfigure(client, at: hosts.now) { $0.unsentLimit = .max }
        try write()
        #expect(client.sendQueued > 900_000)
    }
}
