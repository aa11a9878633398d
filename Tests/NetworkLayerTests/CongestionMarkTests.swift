// The mark in IP headers: only where the ends understand it, and the header's checksum stays right.
import NetworkLayer
import TCPSegments
import Testing

@Suite("The mark for congestion")
struct CongestionMarkTests {
    /// An IP header with this ECN field, and a little behind it.
    private func packet(isIPv4: Bool, ecn: UInt8) -> [UInt8] {
        let a = isIPv4 ? IPAddress(10, 0, 0, 1) : IPAddress(high: 0xfd00 << 48, low: 1)
        let b = isIPv4 ? IPAddress(10, 0, 0, 2) : IPAddress(high: 0xfd00 << 48, low: 2)
        let ip = IPHeader(source: a, destination: b, protocolNumber: 6)
        var bytes = [UInt8](repeating: 0, count: ip.encodedLength + 100)
        bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { ip.encode(payloadLength: 100, into: base) } }
        guard isIPv4 else {
            bytes[1] |= ecn << 4
            return bytes
        }
        bytes[1] |= ecn
        bytes[10] = 0
        bytes[11] = 0
        var sum = InternetChecksum()
        bytes.withUnsafeBytes { sum.add(UnsafeRawBufferPointer(rebasing: $0[..<20])) }
        bytes[10] = UInt8(sum.value >> 8)
        bytes[11] = UInt8(sum.value & 0xFF)
        return bytes
    }

    @Test("ECT becomes CE, and the rest stays", arguments: [true, false], [1, 2] as [UInt8])
    func marks(isIPv4: Bool, ecn: UInt8) {
        let before = packet(isIPv4: isIPv4, ecn: ecn)
        var after = before
        #expect(after.withUnsafeMutableBytes { CongestionMark.set(on: $0) })
        #expect((isIPv4 ? after[1] : after[1] >> 4) & 3 == 3)
        var expected = packet(isIPv4: isIPv4, ecn: 3)
        #expect(after == expected)
        // Marked again it stays as it is.
        #expect(!after.withUnsafeMutableBytes { CongestionMark.set(on: $0) })
        expected[0] = 0
        #expect(!expected.withUnsafeMutableBytes { CongestionMark.set(on: $0) })
    }

    @Test("who does not understand marks gets none", arguments: [true, false])
    func leaves(isIPv4: Bool) {
        let before = packet(isIPv4: isIPv4, ecn: 0)
        var after = before
        #expect(!after.withUnsafeMutableBytes { CongestionMark.set(on: $0) })
        #expect(after == before)
        var short: [UInt8] = [0x45, 1]
        #expect(!short.withUnsafeMutableBytes { CongestionMark.set(on: $0) })
    }

    @Test("places are names, or names in namespaces")
    func places() {
        #expect(PacketRelay.Place("tun0").map { "\($0)" } == "tun0")
        #expect(PacketRelay.Place("tun0@left").map { "\($0)" } == "tun0@left")
        for wrong in ["", "@", "tun0@", "@left", "a@b@c", "a/b", "a@../b", "sixteen-letters!"] {
            #expect(PacketRelay.Place(wrong) == nil, "\(wrong)")
        }
    }
}
