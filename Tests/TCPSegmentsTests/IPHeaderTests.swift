// IP headers and ICMP messages: what is written is read again, and nothing that comes in traps.
import TCPSegments
import Testing

private let v4 = (IPAddress(10, 77, 0, 1), IPAddress(10, 77, 0, 2))
private let v6 = (IPAddress(high: 0xfd00 << 48, low: 1), IPAddress(high: 0xfd00 << 48, low: 2))

private func packet(_ header: IPHeader, _ payload: [UInt8]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: header.encodedLength)
    bytes.withUnsafeMutableBytes {
        if let base = $0.baseAddress { header.encode(payloadLength: payload.count, into: base) }
    }
    return bytes + payload
}

private func decode(_ bytes: [UInt8]) throws(IPError) -> (IPHeader, [UInt8]) {
    let result = bytes.withUnsafeBytes { buffer in
        Result { () throws(IPError) in try IPHeader.decode(buffer) }
    }
    let (header, payload) = try result.get()
    return (header, Array(bytes[payload]))
}

/// The IPv4 header's checksum, put right after a change.
private func mended(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    bytes[10] = 0
    bytes[11] = 0
    var sum = InternetChecksum()
    bytes[..<(Int(bytes[0] & 0xF) * 4)].withUnsafeBytes { sum.add($0) }
    bytes[10] = UInt8(sum.value >> 8)
    bytes[11] = UInt8(sum.value & 0xFF)
    return bytes
}

@Suite("IP headers") struct IPHeaderTests {
    @Test(
        "what is encoded is decoded again", arguments: [v4, v6],
        [ECNField.notCapable, .capable0, .congestionExperienced])
    func roundTrip(_ addresses: (IPAddress, IPAddress), _ ecn: ECNField) throws {
        let header = IPHeader(
            source: addresses.0, destination: addresses.1, protocolNumber: 6, hopLimit: 17,
            differentiatedServices: 0x2E,
            ecn: ecn, identification: addresses.0.isIPv4 ? 0xBEEF : 0)
        let (decoded, payload) = try decode(packet(header, [1, 2, 3]) + [0, 0])
        #expect(decoded == header)
        #expect(payload == [1, 2, 3], "padding of the link does not count")
    }

    @Test("an IPv4 header is laid out as RFC 791 3.1 draws it")
    func layout() {
        let bytes = packet(
            IPHeader(
                source: v4.0, destination: v4.1, protocolNumber: 6, differentiatedServices: 1, ecn: .capable0), [])
        #expect(bytes[..<10] == [0x45, 0x06, 0, 20, 0, 0, 0x40, 0, 64, 6])
        #expect(bytes[12...] == [10, 77, 0, 1, 10, 77, 0, 2])
    }

    @Test("IPv4 options are skipped")
    func options() throws {
        var bytes = packet(IPHeader(source: v4.0, destination: v4.1, protocolNumber: 6), [7, 8])
        bytes[0] = 0x46
        bytes[3] = 26
        bytes.insert(contentsOf: [1, 1, 1, 0], at: 20)
        #expect(try decode(mended(bytes)).1 == [7, 8])
    }

    @Test("IPv6 extension headers are skipped, to a limit", arguments: [1, 7, 8, 40])
    func extensions(_ count: Int) throws {
        var payload: [UInt8] = []
        for i in 0..<count { payload += [i + 1 < count ? 60 : 6, 0, 0, 0, 0, 0, 0, 0] }
        let header = IPHeader(source: v6.0, destination: v6.1, protocolNumber: 60)
        let bytes = packet(header, payload + [9])
        if count < 8 {
            let (decoded, rest) = try decode(bytes)
            #expect(decoded.protocolNumber == 6)
            #expect(rest == [9])
        } else {
            #expect(throws: IPError.badExtensions) { try decode(bytes) }
        }
    }

    @Test("what is no whole packet of ours is an error that says why")
    func errors() {
        let good = packet(IPHeader(source: v4.0, destination: v4.1, protocolNumber: 6), [1, 2, 3, 4])
        func changed(_ index: Int, _ value: UInt8, mend: Bool = true) -> [UInt8] {
            var bytes = good
            bytes[index] = value
            return mend ? mended(bytes) : bytes
        }
        let good6 = packet(IPHeader(source: v6.0, destination: v6.1, protocolNumber: 44), [1, 2, 3, 4, 5, 6, 7, 8])
        /// An IPv4 address mapped into IPv6 as source (8) or destination (24).
        func mapped(_ offset: Int) -> [UInt8] {
            var bytes = packet(IPHeader(source: v6.0, destination: v6.1, protocolNumber: 6), [])
            bytes.replaceSubrange(
                offset..<(offset + 16), with: [UInt8](repeating: 0, count: 10) + [255, 255, 10, 0, 0, 1])
            return bytes
        }
        let cases: [([UInt8], IPError)] = [
            (mapped(8), .badSource), (mapped(24), .badSource), ([], .truncated), ([0x45], .truncated),
            (Array(good.dropLast()), .truncated),
            (changed(0, 0x25), .unknownVersion), (changed(0, 0x44, mend: false), .badHeaderLength),
            (changed(3, 19), .badHeaderLength), (changed(8, 1, mend: false), .badChecksum),
            (changed(6, 0x20), .fragment), (changed(7, 1), .fragment), (good6, .fragment),
            (Array(good6.dropLast()), .truncated), (changed(12, 224), .badSource),
            (packet(IPHeader(source: .anyIPv6, destination: v6.1, protocolNumber: 6), []), .badSource),
        ]
        for (bytes, error) in cases { #expect(throws: error, "\(bytes)") { try decode(bytes) } }
    }

    @Test("random bytes never trap")
    func random() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...80)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if !bytes.isEmpty, Bool.random() { bytes[0] = Bool.random() ? 0x45 : 0x60 }
            if bytes.count > 20, bytes[0] == 0x45 { bytes = mended(bytes) }
            _ = try? decode(bytes)
            bytes.withUnsafeBytes { buffer in
                _ = ICMPMessage.decode(
                    buffer, IPHeader(source: v4.0, destination: v4.1, protocolNumber: 1))
            }
        }
    }
}

@Suite("ICMP") struct ICMPTests {
    /// A message with its checksum, from the router v4.1 or v6.1.
    private func message(_ type: UInt8, _ code: UInt8, _ word: UInt32, about quoted: [UInt8], v6 isV6: Bool)
        -> (IPHeader, [UInt8])
    {
        let addresses = isV6 ? v6 : v4
        let header = IPHeader(
            source: addresses.1, destination: addresses.0, protocolNumber: isV6 ? 58 : 1)
        var bytes: [UInt8] = [type, code, 0, 0]
        withUnsafeBytes(of: word.bigEndian) { bytes += $0 }
        bytes += quoted
        var sum = InternetChecksum()
        if isV6 {
            sum.addPseudoHeader(from: header.source, to: header.destination, length: bytes.count, protocolNumber: 58)
        }
        bytes.withUnsafeBytes { sum.add($0) }
        bytes[2] = UInt8(sum.value >> 8)
        bytes[3] = UInt8(sum.value & 0xFF)
        return (header, bytes)
    }

    private func read(_ message: (IPHeader, [UInt8])) -> ICMPMessage? {
        message.1.withUnsafeBytes { ICMPMessage.decode($0, message.0) }
    }

    private func quoted(v6 isV6: Bool) -> [UInt8] {
        let addresses = isV6 ? v6 : v4
        return packet(
            IPHeader(source: addresses.0, destination: addresses.1, protocolNumber: 6), [0, 7, 1, 0, 0, 0, 0, 42])
    }

    @Test(
        "errors are read with the segment that they are about",
        arguments: [
            (3, 0, 0, false, PathError.unreachable), (3, 1, 0, false, .unreachable), (3, 3, 0, false, .rejected),
            (3, 13, 0, false, .rejected), (3, 4, 1400, false, .tooBig(mtu: 1400)), (11, 0, 0, false, .soft),
            (1, 0, 0, true, .unreachable), (1, 3, 0, true, .unreachable), (1, 4, 0, true, .rejected),
            (2, 0, 1280, true, .tooBig(mtu: 1280)), (3, 0, 0, true, .soft),
        ] as [(UInt8, UInt8, UInt32, Bool, PathError)])
    func errors(_ type: UInt8, _ code: UInt8, _ word: UInt32, _ isV6: Bool, _ error: PathError) {
        let addresses = isV6 ? v6 : v4
        let segment = QuotedSegment(
            tuple: FourTuple(local: Endpoint(addresses.0, 7), remote: Endpoint(addresses.1, 256)),
            sequenceNumber: SequenceNumber(42))
        #expect(read(message(type, code, word, about: quoted(v6: isV6), v6: isV6)) == .error(error, about: segment))
    }

    @Test("an echo request is answered with its own bytes", arguments: [false, true])
    func echo(_ isV6: Bool) {
        let request = message(isV6 ? 128 : 8, 0, 0x0001_0002, about: [5, 6, 7], v6: isV6)
        #expect(read(request) == .echoRequest)
        let reply = request.1.withUnsafeBytes { ICMPMessage.echoReply(to: $0, request.0) }
        #expect(reply[0] == (isV6 ? 129 : 0))
        #expect(reply[4...] == request.1[4...])
        let back = IPHeader(
            source: request.0.destination, destination: request.0.source,
            protocolNumber: request.0.protocolNumber)
        #expect(read((back, reply)) == .other, "its checksum is right")
    }

    @Test("a wrong checksum, a cut-off message and other protocols' packets say nothing", arguments: [false, true])
    func nothing(_ isV6: Bool) {
        var wrong = message(3, 1, 0, about: quoted(v6: isV6), v6: isV6)
        wrong.1[9] ^= 1
        #expect(read(wrong) == nil)
        #expect(read((wrong.0, Array(wrong.1[..<7]))) == nil)
        var udp = quoted(v6: isV6)
        udp[isV6 ? 6 : 9] = 17
        #expect(read(message(3, 1, 0, about: udp, v6: isV6)) == .other)
        #expect(read(message(3, 1, 0, about: [], v6: isV6)) == .other)
    }
}
