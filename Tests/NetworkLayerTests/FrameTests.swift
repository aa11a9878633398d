// Frames byte by byte, and the assembler over every way to cut a stream.

import NetworkLayer
import TCPSegments
import Testing

@Suite struct FrameTests {
    @Test("a frame header is the length in network order, protocol 1 and zeros", arguments: [20, 40, 0x1234, 65_515])
    func encoding(length: Int) {
        var bytes = [UInt8](repeating: 0xEE, count: 16)
        bytes.withUnsafeMutableBytes { FrameHeader.encode(payloadLength: length, into: $0.baseAddress!) }
        #expect(bytes == [UInt8(length >> 8), UInt8(length & 0xFF), 1] + [UInt8](repeating: 0, count: 13))
    }

    private static func frame(_ payload: [UInt8]) -> [UInt8] {
        [UInt8(payload.count >> 8), UInt8(payload.count & 0xFF), 1] + [UInt8](repeating: 0, count: 13) + payload
    }

    @Test("three frames come out whole wherever the stream is cut in two or three")
    func splits() throws {
        let payloads: [[UInt8]] = [
            Array(1...20), (0..<37).map { UInt8($0) }, [UInt8](repeating: 9, count: 21),
        ]
        let stream = payloads.flatMap(Self.frame)
        for first in 0...stream.count {
            for second in stride(from: first, through: stream.count, by: 5) {
                var held: [UInt8] = []
                var seen: [[UInt8]] = []
                for piece in [stream[..<first], stream[first..<second], stream[second...]] {
                    held += piece
                    let used = try held.withUnsafeBytes { try FrameParser.parse($0) { seen.append(Array($0)) } }
                    held.removeFirst(used)
                }
                #expect(seen == payloads, "cut at \(first) and \(second)")
                #expect(held.isEmpty)
            }
        }
    }

    @Test(
        "a frame that cannot be is an error as soon as its header is there",
        arguments: [
            ([0, 40, 2], FrameError.unknownProtocol(2)), ([0, 40, 0], .unknownProtocol(0)), ([0, 0, 1], .empty),
        ] as [([UInt8], FrameError)])
    func malformed(beginning: [UInt8], expected: FrameError) throws {
        let bytes = beginning + [UInt8](repeating: 0, count: 13)
        #expect(try bytes[..<15].withUnsafeBytes { try FrameParser.parse($0) { _ in } } == 0)
        #expect(throws: expected) { try bytes.withUnsafeBytes { try FrameParser.parse($0) { _ in } } }
    }
}

@Suite struct CaptureTests {
    @Test("a capture record is a pcap header, an IPv4 header with TTL 233 and its checksum, and the segment")
    func record() {
        var segment = [UInt8](repeating: 0, count: 20)
        segment.replaceSubrange(0..<4, with: [0x0F, 0xA0, 0, 7])
        segment[12] = 0x50
        segment[13] = 0x10
        let from = IPAddress(127, 77, 0, 1)
        let to = IPAddress(127, 77, 0, 2)
        let tuple = FourTuple(local: Endpoint(from, 4000), remote: Endpoint(to, 7))
        let bytes = segment.withUnsafeBytes {
            CaptureWriter.bytes(of: TappedSegment(bytes: $0, tuple: tuple, isOutgoing: true, time: 3_000_000_005))
        }
        #expect(Array(bytes[..<16]) == [3, 0, 0, 0, 5, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0])
        let ip = Array(bytes[16..<36])
        #expect(ip[0] == 0x45 && ip[2] == 0 && ip[3] == 40 && ip[8] == 233 && ip[9] == 6)
        #expect(Array(ip[12...]) == [127, 77, 0, 1, 127, 77, 0, 2])
        var sum = stride(from: 0, to: 20, by: 2).reduce(0) { $0 + Int(ip[$1]) << 8 + Int(ip[$1 + 1]) }
        while sum > 0xFFFF { sum = (sum & 0xFFFF) + sum >> 16 }
        #expect(sum == 0xFFFF)
        let valid = Array(bytes[36...]).withUnsafeBytes { InternetChecksum.isValid($0, from: from, to: to) }
        #expect(valid)
        #expect(Array(CaptureWriter.fileHeader[..<8]) == [0x4D, 0x3C, 0xB2, 0xA1, 2, 0, 4, 0])
    }
}

@Suite struct MinimalLineTests {
    @Test(
        "a line of the MINIMAL log is read back as it was written",
        arguments: [
            "1700000000.000000012 [S3] SENT 127.0.0.1.49152 > 127.0.0.2.7 [S.] seq=1 ack=2 win=65535 len=0",
            "0.999999999 [S-] DROP_RCVD 2001:db8::1.1 > ::1.65535 [none] seq=4294967295 ack=0 win=0 len=65495",
            "12.000000000 [S0] SYN_SENT -> ESTABLISHED",
        ])
    func roundTrip(text: String) {
        #expect(MinimalLine(parsing: text)?.description == text)
    }

    @Test(
        "what is not a line of the MINIMAL log is refused",
        arguments: [
            "", "12.0 [S0] A -> B", "12.000000000 [S1] SENT", "12.000000000 [S1] -> B C",
            "12.000000000 [S1] SENT 127.0.0.1.1 > 127.0.0.2.7 [S] seq=-1 ack=2 win=65535 len=0",
        ])
    func refused(text: String) {
        #expect(MinimalLine(parsing: text) == nil)
    }
}
