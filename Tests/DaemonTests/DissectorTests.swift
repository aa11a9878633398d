// The dissector for Wireshark, by tshark: frames that lie awkwardly in the real connection's segments.
import Glibc
import NetworkLayer
import TCPSegments
import Testing

@Suite("Wireshark dissector", .enabled(if: TShark.isThere, "tshark is not installed"), .timeLimit(.minutes(15)))
struct DissectorTests {
    private static let client = IPAddress(127, 0, 0, 1)
    private static let server = IPAddress(127, 0, 0, 2)

    /// A segment with `payload`, its checksum left out as frames leave it out.
    private static func segment(
        from port: UInt16, to other: UInt16, _ sequence: UInt32, ack: UInt32, _ bits: ControlBits,
        _ payload: [UInt8] = []
    ) -> [UInt8] {
        let header = SegmentHeader(
            sourcePort: port, destinationPort: other, sequenceNumber: SequenceNumber(sequence),
            acknowledgmentNumber: SequenceNumber(ack), controlBits: bits, window: WindowField(1000))
        var bytes = [UInt8](repeating: 0, count: header.encodedLength)
        bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { header.encode(into: base) } }
        return bytes + payload
    }

    private static func frame(_ segment: [UInt8]) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: FrameHeader.length)
        header.withUnsafeMutableBytes {
            if let base = $0.baseAddress { FrameHeader.encode(payloadLength: segment.count, into: base) }
        }
        return header + segment
    }

    /// A capture of a real connection that carries `stream` from the client to the server, cut at `cuts`; `missing` packets are
    /// not in it.
    private static func capture(
        _ stream: [UInt8], cutAt cuts: [Int], without missing: Set<Int> = [], port: UInt16 = 23300
    ) -> [UInt8] {
        let tuple = FourTuple(local: Endpoint(client, 40_000), remote: Endpoint(server, port))
        var file = CaptureWriter.fileHeader
        var start = 0
        for (number, end) in (cuts + [stream.count]).enumerated() {
            defer { start = end }
            if missing.contains(number) { continue }
            let real = segment(
                from: 40_000, to: port, UInt32(1 + start), ack: 1, [.ack, .psh], Array(stream[start..<end]))
            file += real.withUnsafeBytes {
                CaptureWriter.bytes(
                    of: TappedSegment(bytes: $0, tuple: tuple, isOutgoing: true, time: Int64(start) * 1000))
            }
        }
        return file
    }

    /// What tshark makes of a capture.
    private func rows(_ file: [UInt8], _ fields: [String], options: [String] = []) throws -> [[Substring]] {
        let folder = try TemporaryFolder()
        let path = folder.path + "/real.pcap"
        let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
        #expect(write(descriptor, file, file.count) == file.count)
        close(descriptor)
        let script = BuildFolder.sources + "../../scripts/wireshark/chitcp.lua"
        // Segments leave the checksum 0, and the real connection's own are right.
        return try TShark.rows(
            of: path, fields, options: ["-X", "lua_script:\(script)", "-o", "tcp.check_checksum:FALSE"] + options,
            in: folder)
    }

    /// A request and its way to the end: a SYN, two segments of text, a FIN.
    private static let request = Array("GET /frames HTTP/1.1\r\nHost: chitcp\r\n\r\n".utf8)
    private static let segments: [[UInt8]] = [
        segment(from: 50_000, to: 80, 1000, ack: 0, [.syn]),
        segment(from: 50_000, to: 80, 1001, ack: 2001, [.ack], Array(request[..<10])),
        segment(from: 50_000, to: 80, 1011, ack: 2001, [.ack, .psh], Array(request[10...])),
        segment(from: 50_000, to: 80, 1001 + UInt32(request.count), ack: 2001, [.ack, .fin]),
    ]

    /// Where a stream of 4 frames is cut: nowhere, in headers, between frames, everywhere.
    private static let cuts: [[Int]] = [
        [], [1], [5, 20], [36], [16, 36, 52], [35, 37], [3, 36, 40, 80, 100], Array(stride(from: 1, to: 190, by: 1)),
    ]

    @Test(
        "segments are found however their frames are cut, and TCP's dissector reads them with the right addresses",
        arguments: cuts)
    func frames(cuts: [Int]) throws {
        let stream = Self.segments.flatMap { Self.frame($0) }
        let rows = try rows(
            Self.capture(stream, cutAt: cuts.filter { $0 < stream.count }),
            [
                "chitcp.length", "tcp.srcport", "tcp.seq_raw", "tcp.flags.fin", "ip.src", "ip.dst", "http.request.uri",
                "_ws.malformed",
            ])
        func values(_ column: Int) -> [Substring] {
            rows.flatMap { $0[column].split(separator: ",") }
        }
        #expect(values(0).map { Int($0) } == Self.segments.map(\.count))
        // The real connection's own segments come from port 40000.
        let inner = rows.flatMap { row in
            zip(row[1].split(separator: ","), row[2].split(separator: ",")).filter { $0.0 == "50000" }.map { $0.1 }
        }
        #expect(inner == ["1000", "1001", "1011", "\(1001 + Self.request.count)"])
        #expect(values(6) == ["/frames"], "the request is put together across segments")
        #expect(values(7).isEmpty)
        #expect(rows.allSatisfy { $0[4] == "127.0.0.1" && $0[5] == "127.0.0.2" })
    }

    @Test("TCP's own analysis sees the connection inside: numbers relative to its SYN, no retransmission")
    func analysis() throws {
        let stream = Self.segments.flatMap { Self.frame($0) }
        let rows = try rows(
            Self.capture(stream, cutAt: [36, 82]),
            ["tcp.seq", "tcp.stream", "tcp.analysis.retransmission", "_ws.col.Protocol"])
        // Stream 0 is the real connection.
        let inner = rows.flatMap { row in
            zip(row[1].split(separator: ","), row[0].split(separator: ",")).filter { $0.0 != "0" }.map { Int($0.1) }
        }
        #expect(inner == [0, 1, 11, 1 + Self.request.count])
        #expect(rows.allSatisfy { $0[2].isEmpty })
        #expect(rows.allSatisfy { $0[3].contains("chiTCP/") })
    }

    @Test("what is no segment is shown as such: other protocols, short payloads, empty frames")
    func strange() throws {
        var raw = Self.frame([UInt8](repeating: 7, count: 30))
        raw[2] = 2
        let stream = raw + Self.frame([1, 2, 3]) + Self.frame([]) + Self.frame(Self.segments[0])
        let rows = try rows(
            Self.capture(stream, cutAt: []), ["chitcp.protocol", "chitcp.length", "_ws.expert.message", "tcp.srcport"])
        #expect(rows.map { $0[0] } == ["2,1,1,1"])
        #expect(rows.map { $0[1] } == ["30,3,0,20"])
        #expect(rows[0][2].contains("No TCP segment") && rows[0][2].contains("Shorter than a TCP header"))
        #expect(rows[0][3] == "40000,50000")
    }

    @Test("after a gap in the capture, frames are found again where one begins a packet")
    func gap() throws {
        // Each frame in packets of its own; of the large one the first is missing.
        let large = Self.segment(from: 50_000, to: 80, 1001, ack: 2001, [.ack], pattern(5000))
        let stream = Self.frame(Self.segments[0]) + Self.frame(large) + Self.frame(Self.segments[3])
        let cuts = [36, 1036, 2036, 36 + 5036]
        let rows = try rows(
            Self.capture(stream, cutAt: cuts, without: [1]), ["chitcp.length", "_ws.expert.message", "_ws.malformed"])
        #expect(rows.flatMap { $0[0].split(separator: ",") } == ["20", "20"])
        #expect(rows.contains { $0[1].contains("Not the beginning of a frame") })
        #expect(rows.allSatisfy { $0[2].isEmpty })
    }

    @Test("another port is chosen by preference")
    func port() throws {
        let file = Self.capture(Self.frame(Self.segments[0]), cutAt: [], port: 23456)
        let fields = ["tcp.srcport", "chitcp.length"]
        #expect(try rows(file, fields).map { $0.joined(separator: " ") } == ["40000 "])
        let chosen = try rows(file, fields, options: ["-o", "chitcp.ports:23300,23456"])
        #expect(chosen.map { $0.joined(separator: " ") } == ["40000,50000 20"])
    }
}
