// Ends that no connection may have (RFC 9293 3.9.2.3).
import TCPEngine
import TCPSegments
import Testing

@Suite struct AddressTests {
    static let many = [
        IPAddress(224, 0, 0, 1), IPAddress(239, 255, 255, 255), IPAddress(255, 255, 255, 255),
        IPAddress(high: 0xFF02 << 48, low: 1),
    ]

    @Test("an OPEN to a multicast or broadcast address is an error (MUST-46)", arguments: many)
    func open(address: IPAddress) {
        let one = OneHost()
        #expect(throws: ConnectionError.unreachable) {
            try one.host.open(
                from: nil, localAddress: one.tuple.local.address, to: Endpoint(address, 7), at: one.now)
        }
        #expect(one.host.connectionCount == 0)
    }

    @Test("a SYN from or to such an address is ignored silently (MUST-57, MUST-63)", arguments: many, [true, false])
    func syn(address: IPAddress, from: Bool) throws {
        let one = OneHost()
        _ = try one.host.listen(on: Endpoint(.anyIPv6, 7), backlog: 4)
        let tuple =
            from
            ? FourTuple(local: one.tuple.local, remote: Endpoint(address, 4000))
            : FourTuple(local: Endpoint(address, 7), remote: one.tuple.remote)
        for (bits, port) in [(ControlBits.syn, UInt16(7)), (.ack, 7), (.syn, 8)] {
            let header = SegmentHeader(
                sourcePort: 4000, destinationPort: port, sequenceNumber: one.irs, controlBits: bits)
            var aimed = tuple
            aimed.local.port = port
            one.host.handle(
                header, payload: UnsafeRawBufferPointer(start: nil, count: 0), tuple: aimed, on: LinkID(1), at: one.now)
            #expect(one.sent().isEmpty)
        }
        #expect(one.host.connectionCount == 0)
    }
}
