// The filter point in virtual time: which rule a segment meets, what is held back, and in which order it goes on.
import Impairments
import TCPSegments
import Testing

@testable import NetworkLayer

/// A link that only writes down what passes.
private final class Wire: SegmentCarrier {
    struct Passed: Equatable {
        let port: UInt16
        let at: Instant
        let flippedBit: Int?
    }
    var sent: [Passed] = []
    var delivered: [(bytes: [UInt8], at: Instant)] = []

    func carry(_ segment: OutgoingSegment, at now: Instant) {
        sent.append(Passed(port: segment.header.sourcePort, at: now, flippedBit: segment.flippedBit))
    }
    func deliver(_ segment: IncomingSegment, at now: Instant) { delivered.append((segment.bytes, now)) }
}

private let here = IPAddress(10, 0, 0, 1), there = IPAddress(10, 0, 0, 2), elsewhere = IPAddress(10, 0, 0, 3)

private func milliseconds(_ n: Int64) -> Instant { .origin + .milliseconds(n) }

private func rules(_ words: String...) throws -> ImpairmentFilter {
    let filter = ImpairmentFilter()
    for text in words { for rule in try ImpairmentRule.parse(text) { #expect(filter.set(rule)) } }
    return filter
}

extension ImpairmentFilter {
    /// Lets an empty segment, told from others by its port, go out; false if no rule is about it.
    fileprivate func send(_ port: UInt16, to peer: IPAddress = there, over wire: Wire, at now: Instant) -> Bool {
        let tuple = FourTuple(local: Endpoint(here, port), remote: Endpoint(peer, 7))
        let (header, _, _) = segment(from: port).segment(0)
        let out = OutgoingSegment(
            header: header, payload: Payload(), offset: 0, count: 0, tuple: tuple, link: LinkID(1))
        guard let passage = admit(.out, tuple, length: 20, at: now) else { return false }
        carry(out, passage, by: wire, at: now)
        return true
    }

    /// Everything up to `end`, at the moments the filter asks for.
    fileprivate func run(until end: Instant) {
        while let next = nextTimeout, next <= end { handleTimeout(at: next) }
    }
}

@Suite("The filter point for impairments")
struct ImpairmentFilterTests {
    @Test("without rules nothing is touched, and nothing is asked for")
    func off() throws {
        let filter = ImpairmentFilter()
        #expect(!filter.actsOut && !filter.actsIn && filter.nextTimeout == nil)
        #expect(!filter.send(1, over: Wire(), at: .origin))
    }

    @Test("a delay holds segments in their order, and the rule for a host comes before that for all")
    func delays() throws {
        let filter = try rules("delay=20ms", "delay=5ms,to=\(elsewhere)")
        let wire = Wire()
        #expect(filter.send(1, over: wire, at: .origin) && filter.send(2, over: wire, at: .origin))
        #expect(filter.send(3, to: elsewhere, over: wire, at: milliseconds(1)))
        #expect(wire.sent.isEmpty && filter.nextTimeout == milliseconds(6))
        filter.run(until: milliseconds(100))
        #expect(wire.sent.map(\.port) == [3, 1, 2])
        #expect(wire.sent.map(\.at) == [milliseconds(6), milliseconds(20), milliseconds(20)])
        #expect(filter.statuses.allSatisfy { $0.heldSegments == 0 && $0.heldBytes == 0 })
    }

    @Test("each direction has its own rules")
    func directions() throws {
        let filter = try rules("delay=5ms,direction=in")
        #expect(filter.actsIn && !filter.actsOut)
        #expect(!filter.send(1, over: Wire(), at: .origin))
        #expect(filter.clear([.out], at: .origin) == 0 && filter.actsIn)
        #expect(filter.clear([.in], at: .origin) == 1 && !filter.actsIn)
    }

    @Test("a new rule takes the old one's place while segments are under way, and clearing lets them go at once")
    func change() throws {
        let filter = try rules("delay=1s")
        let wire = Wire()
        for port in [1, 2, 3] as [UInt16] { #expect(filter.send(port, over: wire, at: .origin)) }
        for rule in try ImpairmentRule.parse("delay=10ms") { #expect(filter.set(rule)) }
        #expect(filter.send(4, over: wire, at: .origin))
        filter.run(until: milliseconds(20))
        #expect(wire.sent.map(\.port) == [4])
        for rule in try ImpairmentRule.parse("delay=1s") { #expect(filter.set(rule)) }
        for port in [5, 6] as [UInt16] { #expect(filter.send(port, over: wire, at: milliseconds(20))) }
        #expect(filter.clear([.out, .in], at: milliseconds(30)) == 1)
        filter.run(until: milliseconds(30))
        #expect(wire.sent.map(\.port) == [4, 5, 6])
        #expect(!filter.send(7, over: wire, at: milliseconds(30)))
        // What older rules had sent on its way arrives all the same.
        filter.run(until: milliseconds(1000))
        #expect(wire.sent.map(\.port) == [4, 5, 6, 1, 2, 3])
    }

    @Test("duplicates go twice, losses not at all, and a rate spaces segments and drops behind its queue")
    func kinds() throws {
        let twice = Wire()
        #expect(try rules("duplicate=100%").send(1, over: twice, at: .origin))
        #expect(twice.sent.map(\.port) == [1, 1])
        let never = Wire()
        let lossy = try rules("loss=100%")
        #expect(lossy.send(1, over: never, at: .origin) && never.sent.isEmpty)
        #expect(lossy.statuses.map(\.counters.lost) == [1])
        // 40 bytes with the IP header take 40 ms; two more fit into the queue.
        let slow = Wire()
        let filter = try rules("rate=8kbit,queue=120")
        for port in [1, 2, 3, 4] as [UInt16] { #expect(filter.send(port, over: slow, at: .origin)) }
        filter.run(until: milliseconds(1000))
        #expect(slow.sent.map(\.at) == [milliseconds(40), milliseconds(80), milliseconds(120)])
        #expect(filter.statuses.map(\.counters.queueDropped) == [1])
    }

    @Test("whoever watches is told what happens to a segment: the delay, and the bit that is flipped")
    func effects() throws {
        let filter = try rules(
            "corrupt=100%,delay=20ms,duplicate=50%,reorder=50%/5ms,loss=10%,seed=3",
            "corrupt=100%,delay=20ms,duplicate=50%,reorder=50%/5ms,loss=10%,seed=4,direction=in")
        let tuple = FourTuple(local: Endpoint(here, 1), remote: Endpoint(there, 7))
        let (header, _, _) = segment().segment(0)
        let bytes = [UInt8](repeating: 0x5A, count: 60)
        var kinds: [String: Int] = [:]
        for round in 0..<200 {
            let now = Instant.origin + .seconds(Int64(round)), limit = now + .milliseconds(999)
            let wire = Wire()
            let out = OutgoingSegment(
                header: header, payload: Payload(), offset: 0, count: 0, tuple: tuple, link: LinkID(1))
            let passage = try #require(filter.admit(.out, tuple, length: header.encodedLength, at: now))
            filter.carry(out, passage, by: wire, at: now)
            filter.run(until: limit)
            let effect = passage.effect
            #expect(wire.sent.count == (effect.drop != nil ? 0 : effect.isDuplicated ? 2 : 1))
            #expect(wire.sent.allSatisfy { $0.at == now + effect.delay })
            #expect(wire.sent.first?.flippedBit == effect.flippedBit)
            #expect(effect.drop != nil || effect.delay == .milliseconds(effect.isReordered ? 25 : 20))
            // On its way in, without a checksum, so that it comes through.
            let came = try #require(filter.admit(.in, tuple, length: bytes.count, at: now))
            let caught = bytes.withUnsafeBytes {
                filter.deliver(
                    $0, tuple, on: LinkID(1), ecn: .notCapable, isProtected: false, came, to: wire, at: now)
            }
            filter.run(until: limit)
            #expect(caught == 0)
            if let first = wire.delivered.first {
                let bit = try #require(came.effect.flippedBit)
                #expect(bytes.indices.filter { first.bytes[$0] != bytes[$0] } == [bit / 8])
                #expect(first.bytes[bit / 8] ^ bytes[bit / 8] == 1 << UInt8(bit % 8))
                #expect(first.at == now + came.effect.delay)
            } else {
                #expect(came.effect.drop == .lost)
            }
            for (kind, isSo) in [
                ("dropped", effect.drop != nil), ("twice", effect.isDuplicated), ("reordered", effect.isReordered),
            ] where isSo { kinds[kind, default: 0] += 1 }
        }
        #expect(kinds.count == 3, "\(kinds)")
    }

    @Test("what is held back is bounded, and what finds no room is dropped and counted")
    func bound() throws {
        let filter = try rules("delay=1s")
        let wire = Wire()
        let tuple = FourTuple(local: Endpoint(here, 1), remote: Endpoint(there, 7))
        let (header, _, _) = segment().segment(0)
        let chunk = Chunk(capacity: 65_000)
        var payload = Payload()
        payload.append(ChunkRange(chunk, offset: 0, count: 65_000))
        var drops = 0
        for _ in 0..<2000 {
            let passage = try #require(filter.admit(.out, tuple, length: 65_020, at: .origin))
            if passage.fate.drop == .noRoom { drops += 1 }
            let out = OutgoingSegment(
                header: header, payload: payload, offset: 0, count: 65_000, tuple: tuple, link: LinkID(1))
            filter.carry(out, passage, by: wire, at: .origin)
        }
        let status = try #require(filter.statuses.first)
        #expect(status.heldBytes <= 64 << 20 && status.heldSegments == 2000 - drops && drops > 500)
        #expect(status.overflowed == drops)
        filter.run(until: milliseconds(1000))
        #expect(wire.sent.count == 2000 - drops)
    }

    @Test("a flipped bit is caught by the checksum where there is one", arguments: [true, false])
    func corruption(isProtected: Bool) throws {
        let filter = try rules("corrupt=100%,direction=in")
        let wire = Wire()
        let tuple = FourTuple(local: Endpoint(here, 7), remote: Endpoint(there, 4000))
        var bytes = [UInt8](repeating: 0, count: 1020)
        let (header, _, _) = segment().segment(0)
        bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { _ = header.encode(into: base) } }
        var caught: UInt64 = 0
        for _ in 0..<100 {
            let passage = try #require(filter.admit(.in, tuple, length: bytes.count, at: .origin))
            caught += bytes.withUnsafeBytes {
                filter.deliver(
                    $0, tuple, on: LinkID(1), ecn: .notCapable, isProtected: isProtected, passage, to: wire, at: .origin
                )
            }
        }
        #expect(caught == (isProtected ? 100 : 0) && wire.delivered.count == (isProtected ? 0 : 100))
        for (copy, _) in wire.delivered {
            let flipped = zip(copy, bytes).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount }
            #expect(flipped == 1)
        }
    }

    @Test("rules are counted, and there is an end to them")
    func limit() throws {
        let filter = ImpairmentFilter()
        for n in 0..<ImpairmentFilter.maximumRules {
            let peer = IPAddress(10, 1, UInt8(n / 250), UInt8(n % 250))
            #expect(filter.set(ImpairmentRule(.out, peer: peer, ImpairmentConfiguration())))
        }
        #expect(!filter.set(ImpairmentRule(.out, ImpairmentConfiguration())))
        #expect(filter.set(ImpairmentRule(.out, peer: IPAddress(10, 1, 0, 0), ImpairmentConfiguration())))
        #expect(filter.clear([.out, .in], at: .origin) == ImpairmentFilter.maximumRules && filter.statuses.isEmpty)
    }
}
