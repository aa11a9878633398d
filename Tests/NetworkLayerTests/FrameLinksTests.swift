// Links between hosts on loopback addresses.

import Glibc
import NetworkLayer
import TCPSegments
import Testing

@Suite struct FrameLinksTests {
    @Test("a wanted link is dialled, carries segments both ways, and both sides name it by their addresses")
    func exchange() throws {
        let street = Neighbourhood()
        let (a, atA) = try street.add(IPAddress(127, 77, 1, 1))
        let (b, atB) = try street.add(IPAddress(127, 77, 1, 2))
        let pair = AddressPair(local: IPAddress(127, 77, 1, 1), remote: IPAddress(127, 77, 1, 2))
        a.want(pair, fresh: true, at: monotonicNow())
        #expect(street.run { !atA.available.isEmpty })
        #expect(atA.available.first?.1 == pair)
        #expect(atB.opened.isEmpty, "nothing has come over it yet")
        let text = String(repeating: "abcdefghij", count: 500)
        let there = FourTuple(local: Endpoint(pair.local, 4000), remote: Endpoint(pair.remote, 7))
        a.transmit(segment(text), there, on: atA.available[0].0, at: monotonicNow())
        #expect(street.run { atB.arrivals.count == 4 })
        #expect(atB.arrivals.flatMap(\.payload) == Array(text.utf8))
        #expect(atB.arrivals.map(\.header.sequenceNumber.value) == [0xFFFF_FFF0, 1444, 2904, 4364])
        #expect(atB.arrivals.map { $0.header.controlBits.contains(.psh) } == [false, false, false, true])
        #expect(atB.arrivals.allSatisfy { $0.tuple == there.reversed })
        #expect(atB.opened.map(\.1) == [AddressPair(local: pair.remote, remote: pair.local)])
        b.transmit(segment(from: 7, to: 4000), there.reversed, on: atB.arrivals[0].link, at: monotonicNow())
        #expect(street.run { atA.arrivals.count == 1 })
        #expect(atA.arrivals.first?.tuple == there)
    }

    @Test("a peer where nobody listens is refused at once, and a redial waits")
    func refused() throws {
        let street = Neighbourhood()
        let (a, atA) = try street.add(IPAddress(127, 77, 2, 1))
        let pair = AddressPair(local: IPAddress(127, 77, 2, 1), remote: IPAddress(127, 77, 2, 2))
        a.want(pair, fresh: true, at: monotonicNow())
        #expect(street.run { atA.unavailable.count == 1 })
        #expect(atA.unavailable.first?.1 == .refused)
        a.want(pair, fresh: false, at: monotonicNow())
        #expect(atA.unavailable.last?.1 == .noAnswer)
    }

    @Test("a daemon's link to itself: segments sent on the dialled end are reported on it")
    func toItself() throws {
        let street = Neighbourhood()
        let own = IPAddress(127, 77, 3, 1)
        let (a, atA) = try street.add(own)
        a.want(AddressPair(local: own, remote: own), fresh: true, at: monotonicNow())
        #expect(street.run { atA.available.count == 1 })
        let dialled = try #require(atA.available.last).0
        let tuple = FourTuple(local: Endpoint(own, 4000), remote: Endpoint(own, 7))
        a.transmit(segment("hello"), tuple, on: dialled, at: monotonicNow())
        #expect(street.run { atA.arrivals.count == 1 })
        #expect(atA.arrivals.first?.link == dialled)
        #expect(atA.arrivals.first?.tuple == tuple.reversed)
    }

    @Test("when both sides dial at once, both use the connection that the lower address dialled")
    func simultaneous() throws {
        let street = Neighbourhood()
        let (a, atA) = try street.add(IPAddress(127, 77, 4, 1))
        let (b, atB) = try street.add(IPAddress(127, 77, 4, 2))
        let pair = AddressPair(local: IPAddress(127, 77, 4, 1), remote: IPAddress(127, 77, 4, 2))
        let back = AddressPair(local: pair.remote, remote: pair.local)
        a.want(pair, fresh: true, at: monotonicNow())
        b.want(back, fresh: true, at: monotonicNow())
        #expect(street.run { atA.available.count == 1 && atB.available.count == 1 })
        // The first segments go where each has dialled.
        let there = FourTuple(local: Endpoint(pair.local, 1), remote: Endpoint(pair.remote, 2))
        a.transmit(segment("x"), there, on: atA.available[0].0, at: monotonicNow())
        b.transmit(segment("y", from: 2, to: 1), there.reversed, on: atB.available[0].0, at: monotonicNow())
        #expect(street.run { atA.arrivals.count == 1 && atB.arrivals.count == 1 })
        a.want(pair, fresh: true, at: monotonicNow())
        b.want(back, fresh: true, at: monotonicNow())
        #expect(atA.available.last?.0 == atA.available[0].0)
        #expect(atB.available.last?.0 != atB.available[0].0)
        #expect(atA.arrivals.map(\.link) == [atA.available[0].0])
        #expect(atB.arrivals.map(\.link) == [atB.available[1].0])
    }

    @Test("a link that is gone is reported, and the pair is linked again when wanted")
    func again() throws {
        let street = Neighbourhood()
        let (a, atA) = try street.add(IPAddress(127, 77, 5, 1))
        let (b, _) = try street.add(IPAddress(127, 77, 5, 2))
        let pair = AddressPair(local: IPAddress(127, 77, 5, 1), remote: IPAddress(127, 77, 5, 2))
        a.want(pair, fresh: true, at: monotonicNow())
        #expect(street.run { atA.available.count == 1 })
        b.close(at: monotonicNow())
        #expect(street.run { atA.gone.count == 1 })
        try b.listen()
        a.want(pair, fresh: true, at: monotonicNow())
        #expect(street.run { atA.available.count == 2 })
        #expect(atA.available[0].0 != atA.available[1].0)
    }

    @Test("a link whose peer does not read is held back at 1 MiB and let go at half of it")
    func backPressure() throws {
        let street = Neighbourhood()
        let (a, atA) = try street.add(IPAddress(127, 77, 6, 1))
        // The peer listens but its loop is not run: the kernel accepts for it and nobody reads.
        let quiet = Neighbourhood(port: street.port)
        let (_, atB) = try quiet.add(IPAddress(127, 77, 6, 2))
        let pair = AddressPair(local: IPAddress(127, 77, 6, 1), remote: IPAddress(127, 77, 6, 2))
        a.want(pair, fresh: true, at: monotonicNow())
        #expect(street.run { atA.available.count == 1 })
        let tuple = FourTuple(local: Endpoint(pair.local, 1), remote: Endpoint(pair.remote, 2))
        let block = segment(String(repeating: "y", count: 65_000), size: 65_000)
        var sent = 0
        while atA.writable.isEmpty, sent < 1000 {
            a.transmit(block, tuple, on: atA.available[0].0, at: monotonicNow())
            sent += 1
        }
        #expect(atA.writable == [false])
        #expect(
            street.run {
                quiet.step()
                return atB.arrivals.count == sent
            })
        #expect(atA.writable == [false, true])
        #expect(atB.arrivals.allSatisfy { $0.payload.count == 65_000 })
    }

    @Test("an address that is taken is said in a sentence that helps")
    func taken() throws {
        let street = Neighbourhood()
        _ = try street.add(IPAddress(127, 77, 7, 1))
        let error = #expect(throws: SystemError.self) { _ = try street.add(IPAddress(127, 77, 7, 1)) }
        #expect(
            error?.description
                == "cannot listen on 127.77.7.1:\(street.port): address already in use (another chitcpd? choose an address with"
                + " --address, or a port with -p or CHITCPD_PORT)")
    }

    @Test("a peer that sends what is not a frame loses its connection, and nobody else's")
    func malformed() throws {
        let street = Neighbourhood()
        let (a, atA) = try street.add(IPAddress(127, 77, 8, 1))
        let (b, atB) = try street.add(IPAddress(127, 77, 8, 2))
        let pair = AddressPair(local: IPAddress(127, 77, 8, 2), remote: IPAddress(127, 77, 8, 1))
        b.want(pair, fresh: true, at: monotonicNow())
        #expect(street.run { atB.available.count == 1 })
        let stray = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(stray) }
        _ = SocketAddress(Endpoint(IPAddress(127, 77, 8, 3), 0)).withPointer { bind(stray, $0, $1) }
        let peer = SocketAddress(Endpoint(pair.remote, street.port))
        #expect(peer.withPointer { connect(stray, $0, $1) } == 0)
        let junk = Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        #expect(send(stray, junk, junk.count, Int32(MSG_NOSIGNAL)) == junk.count)
        #expect(street.run { a.statistics.malformedFrames == 1 })
        b.transmit(
            segment("still"), FourTuple(local: Endpoint(pair.local, 1), remote: Endpoint(pair.remote, 2)),
            on: atB.available[0].0, at: monotonicNow())
        #expect(street.run { atA.arrivals.count == 1 })
        #expect(atB.gone.isEmpty)
    }

    @Test("replies to a peer that never reads are dropped at twice the limit, so that it cannot fill the memory")
    func bounded() throws {
        let street = Neighbourhood()
        let (a, atA) = try street.add(IPAddress(127, 77, 9, 1))
        let quiet = Neighbourhood(port: street.port)
        _ = try quiet.add(IPAddress(127, 77, 9, 2))
        let pair = AddressPair(local: IPAddress(127, 77, 9, 1), remote: IPAddress(127, 77, 9, 2))
        a.want(pair, fresh: true, at: monotonicNow())
        #expect(street.run { atA.available.count == 1 })
        let tuple = FourTuple(local: Endpoint(pair.local, 1), remote: Endpoint(pair.remote, 2))
        let reply = segment()
        for _ in 0..<100_000 { a.transmit(reply, tuple, on: atA.available[0].0, at: monotonicNow()) }
        #expect(atA.writable == [false])
        #expect(a.statistics.droppedAtLimit > 0)
        #expect(a.statistics.framesSent + a.statistics.droppedAtLimit == 100_000)
    }

    @Test("a program that connects to the port from the daemon's own address does not become its link to itself")
    func strayFromOwnAddress() throws {
        let street = Neighbourhood()
        let own = IPAddress(127, 77, 10, 1)
        let (a, atA) = try street.add(own)
        let stray = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(stray) }
        _ = SocketAddress(Endpoint(own, 0)).withPointer { bind(stray, $0, $1) }
        #expect(SocketAddress(Endpoint(own, street.port)).withPointer { connect(stray, $0, $1) } == 0)
        for _ in 0..<3 { street.step() }
        #expect(atA.available.isEmpty)
        a.want(AddressPair(local: own, remote: own), fresh: true, at: monotonicNow())
        #expect(street.run { atA.available.count == 1 })
        let tuple = FourTuple(local: Endpoint(own, 4000), remote: Endpoint(own, 7))
        a.transmit(segment("me"), tuple, on: atA.available[0].0, at: monotonicNow())
        #expect(street.run { atA.arrivals.count == 1 })
    }

    /// A connection to `remote` from `local`, as any program of that host could make it.
    private func stray(from local: IPAddress, to remote: IPAddress, port: UInt16) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        _ = SocketAddress(Endpoint(local, 0)).withPointer { bind(descriptor, $0, $1) }
        try #require(SocketAddress(Endpoint(remote, port)).withPointer { connect(descriptor, $0, $1) } == 0)
        return descriptor
    }

    private func frame() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 36)
        bytes.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            FrameHeader.encode(payloadLength: 20, into: base)
            segment().header.encode(into: base + 16)
        }
        return bytes
    }

    @Test(
        "connections from a peer's address do not become the way to it: what was dialled is",
        arguments: [(speaks: false, count: 1), (false, 3), (true, 2)])
    func strays(_ c: (speaks: Bool, count: Int)) throws {
        let street = Neighbourhood()
        let (own, peer) = (IPAddress(127, 77, 11, 2), IPAddress(127, 77, 11, 1))
        let (b, atB) = try street.add(own)
        _ = try street.add(peer)
        let strays = try (0..<c.count).map { _ in try stray(from: peer, to: own, port: street.port) }
        defer { for descriptor in strays { close(descriptor) } }
        if c.speaks {
            for descriptor in strays { #expect(send(descriptor, frame(), 36, Int32(MSG_NOSIGNAL)) == 36) }
            #expect(street.run { atB.arrivals.count == c.count })
        }
        b.want(AddressPair(local: own, remote: peer), fresh: true, at: monotonicNow())
        #expect(street.run { atB.available.count == 1 })
        #expect(!atB.opened.dropLast().contains { $0.0 == atB.available[0].0 }, "a stray was chosen")
        let dialled = atB.available[0].0
        let late = try stray(from: peer, to: own, port: street.port)
        defer { close(late) }
        for _ in 0..<10 { street.step() }
        b.want(AddressPair(local: own, remote: peer), fresh: true, at: monotonicNow())
        #expect(atB.available.last?.0 == dialled)
    }

    @Test("past the bound the oldest silent connection makes room, and one that has spoken stays")
    func crowded() throws {
        let street = Neighbourhood()
        let (own, peer) = (IPAddress(127, 77, 12, 1), IPAddress(127, 77, 12, 2))
        let (a, atA) = try street.add(own) { $0.maximumConnectionsPerHost = 3 }
        let first = try stray(from: peer, to: own, port: street.port)
        defer { close(first) }
        #expect(send(first, frame(), 36, Int32(MSG_NOSIGNAL)) == 36)
        #expect(street.run { atA.arrivals.count == 1 })
        let others = try (0..<5).map { _ in try stray(from: peer, to: own, port: street.port) }
        defer { for descriptor in others { close(descriptor) } }
        #expect(street.run { a.statistics.refusedConnections == 3 })
        #expect(send(others[4], frame(), 36, Int32(MSG_NOSIGNAL)) == 36)
        #expect(send(first, frame(), 36, Int32(MSG_NOSIGNAL)) == 36)
        #expect(street.run { atA.arrivals.count == 3 })
        #expect(Set(atA.opened.map(\.0)).count == 2)
    }
}
