// Two hosts joined by a wire in virtual time: header and payload travel as values, nothing is encoded.
import TCPEngine
import TCPSegments
import Testing

/// A pair of hosts, a clock, and the segments on their way. `drop` decides about each segment by its number.
final class TwoHosts {
    struct InFlight {
        let at: Instant
        let order: Int
        let toServer: Bool
        let header: SegmentHeader
        let payload: [UInt8]
        let tuple: FourTuple
    }

    let client: Host
    let server: Host
    var now = Instant(nanoseconds: 1_000_000_000)
    var delay = TimeInterval.milliseconds(10)
    /// How coarsely the hosts' clocks tick; zero: not at all.
    var clockTick = TimeInterval.zero
    var inFlight: [InFlight] = []
    /// Segments with data that had been sent before.
    var repeated = 0
    private var highestSent: [SequenceNumber?] = [nil, nil]
    var sent = 0
    var log: [String] = []
    var events: [String] = []
    /// Returns true to lose the segment.
    var drop: (_ number: Int, _ toServer: Bool, _ header: SegmentHeader, _ count: Int) -> Bool = { _, _, _, _ in false }
    var onIncoming: (Listener) -> Void = { _ in }
    var onEvent: (Connection, ConnectionEvent) -> Void = { _, _ in }

    static let clientAddress = IPAddress(10, 0, 0, 1)
    static let serverAddress = IPAddress(10, 0, 0, 2)

    init(
        iss: UInt32 = 1000, mss: UInt16 = 1460, configuration: ConnectionConfiguration = ConnectionConfiguration(),
        serverConfiguration: ConnectionConfiguration? = nil
    ) {
        var c = HostConfiguration()
        c.initialSequenceNumber = SequenceNumber(iss)
        c.connection = configuration
        client = Host(configuration: c, seed: 1)
        c.initialSequenceNumber = SequenceNumber(iss &+ 77)
        c.connection = serverConfiguration ?? configuration
        server = Host(configuration: c, seed: 2)
        let properties = LinkProperties(
            maximumSegmentSize: mss, maximumSegmentLifetime: .seconds(1), computesChecksum: false)
        client.addLink(
            LinkID(1), properties, for: AddressPair(local: Self.clientAddress, remote: Self.serverAddress), at: now)
        server.addLink(
            LinkID(1), properties, for: AddressPair(local: Self.serverAddress, remote: Self.clientAddress), at: now)
        self.properties = properties
    }
    let properties: LinkProperties

    func listen(backlog: Int = 16) throws -> Listener {
        try server.listen(on: Endpoint(Self.serverAddress, 7), backlog: backlog)
    }

    func connect() throws -> Connection {
        try client.open(
            from: nil, localAddress: Self.clientAddress, to: Endpoint(Self.serverAddress, 7), at: now)
    }

    /// What the hosts take for the present.
    private var seen: Instant {
        guard clockTick > .zero else { return now }
        return Instant(nanoseconds: now.nanoseconds - now.nanoseconds % clockTick.nanoseconds)
    }

    private func noteRepetition(_ header: SegmentHeader, count: Int, by sender: Int) {
        guard count > 0 else { return }
        let end = header.sequenceNumber + UInt32(count)
        if let highest = highestSent[sender], !highest.isBefore(end) {
            repeated += 1
        } else {
            highestSent[sender] = end
        }
    }

    func drain() {
        var progress = true
        while progress {
            progress = false
            for (host, isClient) in [(client, true), (server, false)] {
                while let output = host.poll(at: seen) {
                    progress = true
                    take(output, of: host, isClient: isClient)
                }
            }
        }
    }

    private func take(_ output: Output, of host: Host, isClient: Bool) {
        switch output {
        case .event(let connection, let event):
            events.append("\(isClient ? "client" : "server") \(event)")
            onEvent(connection, event)
        case .incoming(let listener):
            onIncoming(listener)
        case .pending(let pending):
            _ = host.open(pending, userData: nil, eventMask: [], at: now)
        case .linkWanted(let addresses, _):
            host.addLink(LinkID(1), properties, for: addresses, at: now)
        case .transmit(let transmission, let tuple, _):
            for i in 0..<transmission.segmentCount {
                let (header, offset, count) = transmission.segment(i)
                sent += 1
                noteRepetition(header, count: count, by: isClient ? 0 : 1)
                var payload = [UInt8](repeating: 0, count: count)
                payload.withUnsafeMutableBytes {
                    if let base = $0.baseAddress {
                        transmission.payload.copyBytes(from: offset, count: count, to: base)
                    }
                }
                let lost = drop(sent, isClient, header, count)
                log.append(
                    "\(now) #\(sent) \(isClient ? ">" : "<") seq \(header.sequenceNumber) ack \(header.acknowledgmentNumber)"
                        + " bits \(header.controlBits.rawValue) win \(header.window.value) len \(count)\(lost ? " LOST" : "")"
                )
                if lost { continue }
                inFlight.append(
                    InFlight(
                        at: now + delay, order: sent, toServer: isClient, header: header, payload: payload,
                        tuple: tuple.reversed))
            }
        }
    }

    /// Moves to the next arrival or deadline. False if nothing is left before `limit`.
    func step(until limit: Instant) -> Bool {
        drain()
        let arrival = inFlight.min { ($0.at, $0.order) < ($1.at, $1.order) }
        let deadline = [client.nextTimeout, server.nextTimeout].compactMap { $0 }.min().map { deadline in
            // The hosts see it at the next tick.
            clockTick > .zero
                ? deadline
                    + .nanoseconds(clockTick.nanoseconds - 1 - (deadline.nanoseconds - 1) % clockTick.nanoseconds)
                : deadline
        }
        let next = [arrival?.at, deadline].compactMap { $0 }.min()
        guard let next, next <= limit else { return false }
        now = max(now, next)
        if let arrival, arrival.at <= now {
            inFlight.removeAll { $0.order == arrival.order }
            let host = arrival.toServer ? server : client
            arrival.payload.withUnsafeBytes {
                host.handle(arrival.header, payload: $0, tuple: arrival.tuple, on: LinkID(1), at: seen)
            }
        } else {
            client.handleTimeout(at: seen)
            server.handleTimeout(at: seen)
        }
        drain()
        let broken = client.invariantViolations(at: seen) + server.invariantViolations(at: seen)
        #expect(broken.isEmpty, "\(broken)\n\(trace)")
        return broken.isEmpty
    }

    /// Runs for `duration`, or until `done`.
    func run(for duration: TimeInterval = .seconds(600), until done: () -> Bool = { false }) {
        let limit = now + duration
        while !done(), step(until: limit) {}
    }

    var trace: String { log.suffix(40).joined(separator: "\n") }
}

/// Bytes that differ at every position modulo a prime, so that a shift or a repetition shows.
func pattern(_ count: Int, salt: Int = 0) -> [UInt8] {
    if salt == 0, count <= shortPattern.count { return Array(shortPattern[..<count]) }
    return makePattern(count, salt: salt)
}

/// The beginning of the pattern, made once: thousands of cells ask for it.
private let shortPattern = makePattern(2048, salt: 0)

private func makePattern(_ count: Int, salt: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 &+ salt) % 251 &+ ($0 / 251) % 13) }
}

/// The finaliser of SplitMix64: neighbouring numbers give unrelated ones, the same on every machine.
func mixed(_ n: Int) -> UInt64 {
    var z = UInt64(truncatingIfNeeded: n) &* 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
}
