// The option of Fast Open on the wire, in both of its forms.
import TCPSegments
import Testing

@Suite struct FastOpenOptionTests {
    private func encoded(_ options: TCPOptions) -> [UInt8] {
        let header = SegmentHeader(
            sourcePort: 1, destinationPort: 2, sequenceNumber: SequenceNumber(0), controlBits: .syn, options: options)
        var bytes = [UInt8](repeating: 0, count: 60)
        let length = bytes.withUnsafeMutableBytes { $0.baseAddress.map { header.encode(into: $0) } ?? 0 }
        return Array(bytes[20..<length])
    }

    private func decoded(_ options: [UInt8]) throws -> TCPOptions {
        var bytes = [UInt8](repeating: 0, count: 20) + options
        bytes[12] = UInt8(bytes.count / 4) << 4
        return try bytes.withUnsafeBytes { try SegmentDecoder.decode($0).header.options }
    }

    @Test(
        "the option is padded with no-operations to whole words",
        arguments: [
            ([], false, [34, 2, 1, 1]), ([1, 2, 3, 4, 5, 6, 7, 8], false, [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]),
            ([1, 2, 3, 4, 5, 6], false, [34, 8, 1, 2, 3, 4, 5, 6]), ([], true, [254, 4, 0xF9, 0x89]),
            ([1, 2, 3, 4], true, [254, 8, 0xF9, 0x89, 1, 2, 3, 4]),
        ] as [([UInt8], Bool, [UInt8])])
    func layout(cookie: [UInt8], experimental: Bool, expected: [UInt8]) throws {
        let option = FastOpenOption(try #require(FastOpenCookie(cookie)), isExperimental: experimental)
        var options = TCPOptions()
        options.append(option)
        #expect(encoded(options) == expected)
        #expect(try decoded(expected).fastOpen == option)
        #expect(try #require(try decoded(expected).fastOpen).cookie.bytes == cookie)
    }

    @Test("it is found behind and in front of other options")
    func amongOthers() throws {
        let options = try decoded([2, 4, 5, 180, 253, 3, 9, 1, 34, 6, 1, 2, 3, 4, 254, 4, 1, 1, 1, 1])
        #expect(options.fastOpen?.cookie.bytes == [1, 2, 3, 4])
        #expect(options.maximumSegmentSize == 1460)
    }

    @Test(
        "a length that RFC 7413 does not allow counts as no option",
        arguments: [
            [34, 3, 1, 0], [34, 4, 1, 2], [34, 5, 1, 2, 3, 0, 0, 0], [34, 7, 1, 2, 3, 4, 5, 0],
            [34, 20] + [UInt8](repeating: 7, count: 18), [254, 6, 0xF9, 0x89, 1, 2, 0, 0], [254, 4, 0xF9, 0x88],
            [254, 3, 0xF9, 0], [254, 2, 0, 0],
        ] as [[UInt8]])
    func malformed(bytes: [UInt8]) throws { #expect(try decoded(bytes).fastOpen == nil) }

    @Test("a cookie has an even number of bytes from 4 to 16, or none")
    func lengths() {
        let allowed = (0...20).filter { FastOpenCookie([UInt8](repeating: 1, count: $0)) != nil }
        #expect(allowed == [0, 4, 6, 8, 10, 12, 14, 16])
    }

    @Test("the longest cookie fits beside all that a SYN offers")
    func longest() throws {
        var options = TCPOptions()
        options.maximumSegmentSize = 1460
        options.windowScale = 7
        options.sackPermitted = true
        options.timestamps = Timestamps(value: 1, echoReply: 2)
        let option = FastOpenOption(try #require(FastOpenCookie([UInt8](1...16))))
        options.append(option)
        #expect(encoded(options).count == 40)
        #expect(try decoded(encoded(options)).fastOpen == option)
    }
}
