// Header, options, checksum, numbers and addresses.
import TCPSegments
import Testing

private func bytes(of header: SegmentHeader, payload: [UInt8] = []) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xEE, count: 60)
    let n = buffer.withUnsafeMutableBytes { $0.baseAddress.map { header.encode(into: $0) } ?? 0 }
    return Array(buffer[..<n]) + payload
}

private func decoded(_ bytes: [UInt8]) throws -> (header: SegmentHeader, payloadOffset: Int) {
    try bytes.withUnsafeBytes { try SegmentDecoder.decode($0) }
}

@Suite struct CodecTests {
    static func everything() -> SegmentHeader {
        var header = SegmentHeader(
            sourcePort: 49152, destinationPort: 7, sequenceNumber: SequenceNumber(.max),
            acknowledgmentNumber: SequenceNumber(1 << 31), controlBits: [.syn, .ack, .psh, .ae],
            window: WindowField(513), urgentPointer: 3)
        header.options.maximumSegmentSize = 1460
        header.options.windowScale = 7
        header.options.sackPermitted = true
        header.options.timestamps = Timestamps(value: 0xDEAD_BEEF, echoReply: 1)
        header.options.sackBlocks.append(SequenceRange(start: SequenceNumber(.max - 1), length: 10))
        return header
    }

    @Test("what is encoded is decoded again, all options included")
    func roundTrip() throws {
        let header = Self.everything()
        let wire = bytes(of: header, payload: [1, 2, 3])
        #expect(wire.count == header.encodedLength + 3)
        let (back, offset) = try decoded(wire)
        #expect(offset == header.encodedLength)
        #expect(back.description == header.description)
        #expect(back.options.timestamps == header.options.timestamps)
        #expect(back.options.sackPermitted)
        #expect(back.options.sackBlocks.count == 1)
        #expect(back.options.sackBlocks[0] == header.options.sackBlocks[0])
        #expect(back.urgentPointer == 3)
        #expect(bytes(of: back) == bytes(of: header))
    }

    @Test("timestamps alone are read wherever they lie among the options, and written as RFC 7323 appendix A says")
    func timestampsAlone() throws {
        var header = SegmentHeader(
            sourcePort: 1, destinationPort: 2, sequenceNumber: SequenceNumber(3), controlBits: .ack)
        header.options.timestamps = Timestamps(value: 0x0102_0304, echoReply: 0x0506_0708)
        let option: [UInt8] = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8]
        #expect(Array(bytes(of: header)[20...]) == [1, 1] + option)
        for layout in [[1, 1] + option, option + [0, 0], option + [1, 1], [1] + option + [0]] {
            var wire = bytes(of: header)
            wire.replaceSubrange(20..., with: layout)
            #expect(try decoded(wire).header.options.timestamps == header.options.timestamps)
        }
    }

    @Test("a header is laid out as RFC 9293 3.1 draws it")
    func golden() {
        var header = SegmentHeader(
            sourcePort: 0x1234, destinationPort: 7, sequenceNumber: SequenceNumber(0x0102_0304),
            acknowledgmentNumber: SequenceNumber(0x0506_0708), controlBits: [.syn, .ack], window: WindowField(0xFFFF))
        header.options.maximumSegmentSize = 536
        #expect(
            bytes(of: header) == [
                0x12, 0x34, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0x60, 0x12, 0xFF, 0xFF, 0, 0, 0, 0, 2, 4, 2, 0x18,
            ])
    }

    @Test("unknown options are preserved byte for byte")
    func unknown() throws {
        var wire = bytes(
            of: SegmentHeader(
                sourcePort: 1, destinationPort: 2, sequenceNumber: SequenceNumber(0), controlBits: .syn))
        wire[12] = 0x70
        wire += [254, 6, 1, 2, 3, 4, 1, 0]
        let (header, offset) = try decoded(wire)
        #expect(offset == 28)
        #expect(header.options.unknown.withBytes { Array($0) } == [254, 6, 1, 2, 3, 4])
        #expect(bytes(of: header)[20..<26] == [254, 6, 1, 2, 3, 4])
    }

    @Test("every truncation is an error, never a trap")
    func truncated() {
        let wire = bytes(of: Self.everything())
        for length in 0..<wire.count {
            #expect(throws: SegmentError.truncated) { try decoded(Array(wire[..<length])) }
        }
    }

    @Test("malformed options are an error", arguments: [[2, 0], [2, 1], [2, 5], [8], [5, 41, 0, 0]] as [[UInt8]])
    func malformed(option: [UInt8]) {
        var wire = [UInt8](repeating: 0, count: 20) + option
        while wire.count % 4 != 0 { wire.insert(1, at: 20) }
        wire[12] = UInt8(wire.count / 4) << 4
        #expect(throws: SegmentError.malformedOption) { try decoded(wire) }
    }

    @Test("random bytes never trap, and what decodes encodes to at most 60 bytes")
    func random() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let wire = (0..<Int.random(in: 0...70, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
            }
            if let (header, offset) = try? decoded(wire) {
                #expect(offset <= wire.count && bytes(of: header).count <= 60)
            }
        }
    }
}

@Suite struct ChecksumTests {
    /// The definition of RFC 1071, word by word.
    static func naive(_ bytes: [UInt8], from: IPAddress, to: IPAddress) -> UInt16 {
        var words: [UInt32] = []
        for a in [from, to] {
            if a.isIPv4 {
                words += [a.v4Bits >> 16, a.v4Bits & 0xFFFF]
            } else {
                for half in [a.high, a.low] {
                    for shift in [48, 32, 16, 0] as [UInt64] { words.append(UInt32(half >> shift & 0xFFFF)) }
                }
            }
        }
        words += [UInt32(bytes.count >> 16), UInt32(bytes.count & 0xFFFF), 6]
        for i in stride(from: 0, to: bytes.count, by: 2) {
            words.append(UInt32(bytes[i]) << 8 | (i + 1 < bytes.count ? UInt32(bytes[i + 1]) : 0))
        }
        var sum = words.reduce(UInt64(0)) { $0 + UInt64($1) }
        while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
        return ~UInt16(sum)
    }

    @Test("the checksum is RFC 1071's for every length and alignment, IPv4 and IPv6")
    func likeNaive() {
        let v4 = (IPAddress(127, 0, 0, 1), IPAddress(192, 0, 2, 255))
        let v6 = (IPAddress(high: 0x2001_0db8_0000_0000, low: 1), IPAddress(high: .max, low: .max))
        for (from, to) in [v4, v6] {
            for length in Array(0...130) + [1459, 1460, 65_535] {
                for offset in 0..<3 {
                    let storage = (0..<(length + offset)).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ length) }
                    let expected = Self.naive(Array(storage[offset...]), from: from, to: to)
                    let sum = storage.withUnsafeBytes {
                        InternetChecksum.checksum(
                            of: UnsafeRawBufferPointer(rebasing: $0[offset...]), from: from, to: to)
                    }
                    #expect(sum == expected, "length \(length), offset \(offset)")
                }
            }
        }
    }

    @Test("a sum of all ones is written as 0, and 0xFFFF is taken for the same", arguments: [true, false])
    func allOnes(isIPv4: Bool) {
        let from = isIPv4 ? IPAddress(10, 77, 0, 1) : IPAddress(high: 0xfd77 << 48, low: 1)
        let to = isIPv4 ? IPAddress(10, 77, 0, 2) : IPAddress(high: 0xfd77 << 48, low: 2)
        var segment = [UInt8](repeating: 0, count: 20)
        segment[12] = 5 << 4
        // What the checksum would be, as a word of the segment, makes the sum all ones.
        let rest = segment.withUnsafeBytes { InternetChecksum.checksum(of: $0, from: from, to: to) }
        segment[4] = UInt8(rest >> 8)
        segment[5] = UInt8(rest & 0xFF)
        #expect(Self.naive(segment, from: from, to: to) == 0)
        #expect(segment.withUnsafeBytes { InternetChecksum.checksum(of: $0, from: from, to: to) } == 0)
        segment[16...17] = [0xFF, 0xFF]
        #expect(segment.withUnsafeBytes { InternetChecksum.isValid($0, from: from, to: to) })
    }

    @Test("pieces of any length give the sum of the whole", arguments: [1, 2, 3, 7, 16, 33])
    func pieces(size: Int) {
        let whole = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var one = InternetChecksum()
        whole.withUnsafeBytes { one.add($0) }
        var many = InternetChecksum()
        for start in stride(from: 0, to: whole.count, by: size) {
            whole[start..<min(start + size, whole.count)].withUnsafeBytes { many.add($0) }
        }
        #expect(one.value == many.value)
    }

    @Test("summing while copying gives the same sum and the same bytes", arguments: [0, 1, 3, 64, 127, 1460, 65_535])
    func copying(length: Int) {
        for fill in [UInt8(0xFF), 0x5A] {
            let source = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 89) | fill }
            var target = [UInt8](repeating: 0, count: length + 8)
            var plain = InternetChecksum()
            var copied = InternetChecksum()
            source.withUnsafeBytes { bytes in
                plain.add(bytes)
                target.withUnsafeMutableBytes { copied.add(copying: bytes, to: $0.baseAddress! + 3) }
            }
            #expect(plain.value == copied.value)
            #expect(Array(target[3..<(3 + length)]) == source)
            #expect(target[..<3].allSatisfy { $0 == 0 } && target[(3 + length)...].allSatisfy { $0 == 0 })
        }
    }
}

@Suite struct PayloadTests {
    @Test("bytes are gathered from as many ranges as there are, and summed on the way", arguments: 1...5)
    func gather(ranges: Int) {
        var payload = Payload()
        var whole: [UInt8] = []
        for r in 0..<ranges {
            let chunk = Chunk(capacity: 64)
            for i in 0..<64 { chunk.base.storeBytes(of: UInt8(r * 40 + i), toByteOffset: i, as: UInt8.self) }
            payload.append(ChunkRange(chunk, offset: r, count: 21 + r))
            whole += (0..<(21 + r)).map { UInt8(r * 40 + r + $0) }
        }
        #expect(payload.count == whole.count)
        for from in stride(from: 0, to: whole.count, by: 7) {
            for count in stride(from: 0, through: whole.count - from, by: 5) {
                let expected = Array(whole[from..<(from + count)])
                var plain = [UInt8](repeating: 0, count: count + 1)
                var summed = plain
                var sum = InternetChecksum()
                var expectedSum = InternetChecksum()
                expected.withUnsafeBytes { expectedSum.add($0) }
                plain.withUnsafeMutableBytes { payload.copyBytes(from: from, count: count, to: $0.baseAddress!) }
                summed.withUnsafeMutableBytes {
                    payload.copyBytes(from: from, count: count, to: $0.baseAddress!, checksum: &sum)
                }
                #expect(Array(plain[..<count]) == expected && Array(summed[..<count]) == expected)
                #expect(sum.value == expectedSum.value)
            }
        }
    }
}

@Suite struct NumberTests {
    @Test(
        "sequence numbers compare by distance, across the wrap too",
        arguments: [0, 1, 1 << 31, .max, .max - 1, 12345] as [UInt32])
    func distance(start: UInt32) {
        let a = SequenceNumber(start)
        for d in [1, 1000, Int32.max] as [Int32] {
            let b = a + UInt32(d)
            #expect(a.distance(to: b) == d && a.isBefore(b) && b.isAfter(a) && !b.isBefore(a))
            #expect(SequenceRange(start: a, end: b).contains(a) && !SequenceRange(start: a, end: b).contains(b))
        }
    }

    @Test("stream positions survive the trip over the wire", arguments: [0, 5, .max, 1 << 31] as [UInt32])
    func unwrap(iss: UInt32) {
        let initial = SequenceNumber(iss)
        for position in [0, 1, 1 << 31, 1 << 32, 1 << 40, (1 << 40) + 12345] as [UInt64] {
            for shift in [-1000, 0, 1000] where Int64(position) + Int64(shift) >= 0 {
                let offset = StreamOffset(position) + shift
                #expect(
                    StreamOffset.unwrap(offset.wrapped(from: initial), from: initial, near: StreamOffset(position))
                        == offset)
            }
        }
    }

    @Test("time saturates instead of trapping")
    func saturation() {
        let end = Instant(nanoseconds: .max)
        #expect(end + .seconds(1) == end)
        #expect(TimeInterval.seconds(.max).nanoseconds == .max)
        #expect(Instant(nanoseconds: .min) - end == TimeInterval(nanoseconds: .min))
        #expect(TimeInterval(nanoseconds: .min) / -1 == TimeInterval(nanoseconds: .max))
    }

    @Test(
        "addresses read as they are written (RFC 5952)",
        arguments: ["127.0.0.1", "0.0.0.0", "::", "::1", "2001:db8::1", "fe80::1:0:0:1", "1:2:3:4:5:6:7:8"])
    func addresses(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == text)
    }

    @Test(
        "what is no address is none",
        arguments: ["", "1.2.3", "1.2.3.256", "1.2.3.4.5", ":::", "1::2::3", "g::", "12345::", "1:2:3:4:5:6:7"])
    func noAddresses(text: String) { #expect(IPAddress(text) == nil) }
}
