// The differentiated services codepoint that IP_TOS and IPV6_TCLASS give to what leaves.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct CodepointTests {
    private func codepoints(_ one: OneHost) -> [UInt8] {
        var found: [UInt8] = []
        while let output = one.host.poll(at: one.now) {
            switch output {
            case .transmit(let transmission, _, _): found.append(transmission.differentiatedServices)
            case .incoming(let listener): one.connection = one.host.accept(listener) ?? one.connection
            case .event, .pending, .linkWanted: break
            }
        }
        return found
    }

    private func inject(_ one: OneHost, _ bits: ControlBits, seq: UInt32, ack: UInt32, text: Int = 0) -> [UInt8] {
        let header = SegmentHeader(
            sourcePort: one.tuple.remote.port, destinationPort: one.tuple.local.port, sequenceNumber: one.irs + seq,
            acknowledgmentNumber: one.iss + ack, controlBits: bits, window: WindowField(65_535))
        pattern(text).withUnsafeBytes {
            one.host.handle(header, payload: $0, tuple: one.tuple, on: LinkID(1), at: one.now)
        }
        return codepoints(one)
    }

    @Test("SYN-ACK, ACKs and data bear the codepoint of their family, and follow its change", arguments: [false, true])
    func passive(ipv6: Bool) throws {
        let one = OneHost(ipv6: ipv6) {
            $0.connection.differentiatedServicesIPv4 = 10
            $0.connection.differentiatedServicesIPv6 = 46
        }
        let expected: UInt8 = ipv6 ? 46 : 10
        try one.listen()
        #expect(inject(one, .syn, seq: 0, ack: 0) == [expected])
        #expect(inject(one, .ack, seq: 1, ack: 1).isEmpty)
        try one.send(100)
        #expect(codepoints(one) == [expected])
        #expect(inject(one, [.ack, .psh], seq: 1, ack: 101, text: 20) == [expected])
        let connection = try #require(one.connection)
        one.host.reconfigure(connection, at: one.now) {
            $0.differentiatedServicesIPv4 = 63
            $0.differentiatedServicesIPv6 = 63
        }
        try one.send(100)
        #expect(codepoints(one) == [63])
    }

    @Test("a SYN and its reset bear it, too; what answers a stranger bears none")
    func active() throws {
        let one = OneHost { $0.connection.differentiatedServicesIPv4 = 10 }
        one.connection = try one.host.open(
            from: one.tuple.local, localAddress: one.tuple.local.address, to: one.tuple.remote, at: one.now)
        _ = codepoints(one)
        one.addLink()
        #expect(codepoints(one) == [10])
        one.host.abort(try #require(one.connection), at: one.now)
        _ = codepoints(one)
        #expect(inject(one, .ack, seq: 1, ack: 1) == [0])
    }
}
