// A capture's stream from the daemon's side to the lines that people read.
import Glibc
import Impairments
import NetworkLayer
import TCPSegments
import Testing

@testable import ChitcpCommand

/// A segment for a capture.
private struct Seen {
    var local = Endpoint(IPAddress(127, 0, 0, 1), 50_000)
    var remote = Endpoint(IPAddress(127, 0, 0, 2), 7)
    var isOutgoing = true
    var impairment: SegmentImpairment?
    var device: String?
    var ecn = ECNField.notCapable
    var sequence: UInt32 = 1000
    var ack: UInt32?
    var bits: ControlBits = []
    var options = TCPOptions()
    var count = 0

    func record(in capture: LiveCapture, at time: Int64) {
        let (from, to) = isOutgoing ? (local, remote) : (remote, local)
        let header = SegmentHeader(
            sourcePort: from.port, destinationPort: to.port, sequenceNumber: SequenceNumber(sequence),
            acknowledgmentNumber: SequenceNumber(ack ?? 0), controlBits: ack == nil ? bits : bits.union(.ack),
            window: WindowField(500), options: options)
        var bytes = [UInt8](repeating: 0, count: header.encodedLength + count)
        bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { header.encode(into: base) } }
        let tuple = FourTuple(local: local, remote: remote)
        bytes.withUnsafeBytes {
            capture.record(
                TappedSegment(
                    bytes: $0, tuple: tuple, isOutgoing: isOutgoing, impairment: impairment, device: device, ecn: ecn,
                    time: time))
        }
    }
}

private func dropped(_ reason: ImpairmentDrop) -> SegmentImpairment {
    var impairment = SegmentImpairment()
    impairment.drop = reason
    return impairment
}

/// What a capture of these segments streams.
private func stream(_ segments: [Seen], filters: [LiveCapture.Filter] = [], limit: Int? = nil) throws -> [UInt8] {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    defer { close(ends[0]) }
    let capture = LiveCapture(descriptor: ends[1], filters: filters, limit: limit, time: 5_000_000_000)
    for (index, segment) in segments.enumerated() { segment.record(in: capture, at: 5_000_000_000 + Int64(index)) }
    capture.finish()
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let n = read(ends[0], &buffer, buffer.count)
        if n <= 0 { return bytes }
        bytes += buffer[..<n]
    }
}

/// The lines for a stream, without their times, and what it says of its interfaces.
private func lines(
    _ bytes: [UInt8], absolute: Bool = false, piece: Int = .max
) throws -> ([String], [PcapngReader.Interface]) {
    var reader = PcapngReader()
    var writer = SegmentLines(isAbsolute: absolute)
    var lines: [String] = []
    var at = 0
    while at < bytes.count {
        let end = min(bytes.count, piece == .max ? bytes.count : at + piece)
        for case .packet(let packet, _) in try reader.feed(bytes[at..<end]) {
            let line = writer.line(for: packet, on: reader.interfaces[packet.interface].name)
            lines.append(String(line.drop { $0 != " " }.dropFirst()))
        }
        at = end
    }
    return (lines, reader.interfaces)
}

@Suite struct CaptureStreamTests {
    @Test(
        "a handshake, text and an end, as tcpdump would write them; numbers count from the SYN",
        arguments: [1, 7, .max])
    func connection(piece: Int) throws {
        var options = TCPOptions()
        options.maximumSegmentSize = 1460
        options.sackPermitted = true
        options.windowScale = 7
        var sack = TCPOptions()
        sack.sackBlocks.append(SequenceRange(start: SequenceNumber(1011), length: 5))
        let bytes = try stream([
            Seen(bits: .syn, options: options),
            Seen(isOutgoing: false, sequence: 9000, ack: 1001, bits: .syn),
            Seen(sequence: 1001, ack: 9001, bits: .psh, count: 10),
            Seen(impairment: dropped(.lost), sequence: 1011, ack: 9001, count: 5),
            Seen(isOutgoing: false, sequence: 9001, ack: 1011, options: sack),
            Seen(isOutgoing: false, impairment: dropped(.queueFull), sequence: 9001, ack: 1011, bits: .fin),
        ])
        let (text, interfaces) = try lines(bytes, piece: piece)
        let there = "IP 127.0.0.1.50000 > 127.0.0.2.7:", back = "IP 127.0.0.2.7 > 127.0.0.1.50000:"
        #expect(
            text == [
                "Out \(there) Flags [S], seq 1000, win 500, options [mss 1460,sackOK,wscale 7], length 0",
                "In  \(back) Flags [S.], seq 9000, ack 1, win 500, length 0",
                "Out \(there) Flags [P.], seq 1:11, ack 1, win 500, length 10",
                "Out \(there) Flags [.], seq 11:16, ack 1, win 500, length 5"
                    + " (dropped before it left: lost by an impairment)",
                "In  \(back) Flags [.], ack 11, win 500, options [sack 1 {1011:1016}], length 0",
                "In  \(back) Flags [F.], seq 1, ack 11, win 500, length 0"
                    + " (dropped on arrival: the queue of an impairment's rate was full)",
            ])
        #expect(interfaces == [PcapngReader.Interface(name: "frames 127.0.0.1-127.0.0.2", received: 6, missed: 0)])
        let absolute = try lines(bytes, absolute: true).0
        #expect(absolute[2].contains("seq 1001:1011, ack 9001,"))
    }

    @Test(
        "what an impairment does to a segment stands in its comments, a sentence for each thing",
        arguments: [
            (.zero, false, false, nil, []),
            (.milliseconds(20), false, false, nil, ["delayed by an impairment: 20ms"]),
            (.nanoseconds(20_112_600), false, false, nil, ["delayed by an impairment: 20.113ms"]),
            (.nanoseconds(3), false, false, nil, ["delayed by an impairment: 1us"]),
            (
                .milliseconds(25), true, false, nil,
                ["held back by an impairment, so that later ones overtake it: 25ms"]
            ),
            (.zero, false, true, nil, ["duplicated by an impairment: it arrives twice"]),
            (.zero, false, false, 107, ["corrupted by an impairment: bit 3 of byte 13 of the TCP header"]),
            (.zero, false, false, (20 + 17) * 8, ["corrupted by an impairment: bit 0 of byte 17 of the payload"]),
            (
                .milliseconds(1), false, true, 167,
                [
                    "delayed by an impairment: 1ms", "duplicated by an impairment: it arrives twice",
                    "corrupted by an impairment (one of the two): bit 7 of byte 0 of the payload",
                ]
            ),
        ] as [(TimeInterval, Bool, Bool, Int?, [String])])
    func comments(
        delay: TimeInterval, isReordered: Bool, isDuplicated: Bool, flippedBit: Int?, expected: [String]
    ) throws {
        var impairment = SegmentImpairment()
        impairment.delay = delay
        impairment.isReordered = isReordered
        impairment.isDuplicated = isDuplicated
        impairment.flippedBit = flippedBit
        var reader = PcapngReader()
        for isOutgoing in [true, false] {
            let bytes = try stream([Seen(isOutgoing: isOutgoing, impairment: impairment, count: 40)])
            let packets = try reader.feed(bytes).compactMap {
                if case .packet(let packet, _) = $0 { packet } else { nil }
            }
            #expect(packets.map(\.comments) == [expected])
        }
        let line = try lines(try stream([Seen(impairment: impairment, count: 40)])).0[0]
        #expect(line.hasSuffix("length 40" + expected.map { " (\($0))" }.joined()))
    }

    @Test(
        "a mark is said of packets that can have it",
        arguments: [ECNField.notCapable, .capable0, .capable1, .congestionExperienced])
    func marks(ecn: ECNField) throws {
        var impairment = SegmentImpairment()
        impairment.isMarked = true
        let line = try lines(try stream([Seen(impairment: impairment, device: "tun0", ecn: ecn)])).0[0]
        let isSaid = line.hasSuffix(" (marked by an impairment: congestion experienced)")
        #expect(isSaid == [.capable0, .capable1].contains(ecn), "\(line)")
    }

    @Test("links are interfaces: one for each pair of hosts, one for a TUN device, IPv6 among them")
    func interfaces() throws {
        let six = try #require(IPAddress("fd00::1")), other = try #require(IPAddress("fd00::2"))
        let (text, interfaces) = try lines(
            try stream([
                Seen(bits: .syn),
                Seen(
                    local: Endpoint(six, 1), remote: Endpoint(other, 2), ecn: .congestionExperienced, bits: .rst,
                    count: 3),
                Seen(device: "tun0", ecn: .capable0, bits: .syn),
                Seen(ack: 5),
            ]))
        #expect(interfaces.map(\.name) == ["frames 127.0.0.1-127.0.0.2", "frames fd00::1-fd00::2", "tun0"])
        #expect(interfaces.map(\.received) == [2, 1, 1])
        #expect(text[1] == "Out IP6 (CE) fd00::1.1 > fd00::2.2: Flags [R], seq 0:3, win 500, length 3")
        #expect(text[2].hasPrefix("tun0 Out IP (ECT(0)) "))
    }

    @Test("filters pass either end; a limit cuts packets and leaves their lengths")
    func filters() throws {
        let segments = [
            Seen(bits: .syn), Seen(remote: Endpoint(IPAddress(127, 0, 0, 3), 7), bits: .syn),
            Seen(remote: Endpoint(IPAddress(127, 0, 0, 2), 8), ack: 1, count: 1000),
        ]
        func count(_ filters: [LiveCapture.Filter]) throws -> Int {
            try lines(try stream(segments, filters: filters)).0.count
        }
        let two = IPAddress(127, 0, 0, 2)
        #expect(try count([.init(address: two, port: 7)]) == 1)
        #expect(try count([.init(address: two, port: 0)]) == 2)
        #expect(try count([.init(address: nil, port: 7)]) == 2)
        #expect(try count([.init(address: IPAddress(127, 0, 0, 1), port: 50_000)]) == 3)
        #expect(try count([.init(address: two, port: 9)]) == 0)
        #expect(try count([.init(address: two, port: 8), .init(address: nil, port: 7)]) == 3)
        let whole = try stream(segments), cut = try stream(segments, limit: 100)
        #expect(cut.count < whole.count - 900)
        #expect(try lines(cut).0 == lines(whole).0)
    }

    @Test("a stream that is none is an error, whatever it is, and never a trap")
    func malformed() throws {
        let good = try stream([Seen(bits: .syn), Seen(ack: 1, count: 20), Seen(impairment: dropped(.lost), ack: 2)])
        for seed in 0..<5000 {
            var random = SeededGenerator(seed: UInt64(seed))
            var bad = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bad[Int.random(in: 0..<bad.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            _ = try? lines(Array(bad.prefix(Int.random(in: 0...bad.count, using: &random))))
        }
        #expect(throws: PcapngReader.Malformed.self) { try lines([UInt8](repeating: 0xFF, count: 64)) }
    }

    @Test(
        "filters as people write them",
        arguments: [
            ("127.0.0.1:80", ["127.0.0.1:80"], 80), (":80", [nil], 80), ("127.0.0.1", ["127.0.0.1:0"], 0),
            ("[::1]:80", ["[::1]:80"], 80), ("::1", ["[::1]:0"], 0), ("[::1]", ["[::1]:0"], 0), ("a:b", nil, 0),
            ("", nil, 0), (":", nil, 0), ("1.2.3.4:0", nil, 0), ("1.2.3.4:70000", nil, 0), ("[::1:80", nil, 0),
            ("[]:80", [nil], 80), ("host port 80", nil, 0), ("10.0.0.0/8", nil, 0), ("1::2::3", nil, 0),
            (":80:", nil, 0),
            ("fe80::1%lo", ["[fe80::1]:0"], 0), ("[fe80::1%lo]:7", ["[fe80::1]:7"], 7),
        ] as [(String, [String?]?, UInt16)])
    func filterText(_ text: String, hosts: [String?]?, port: UInt16) throws {
        guard let hosts else {
            #expect(!CaptureFilter.isOne(text))
            return
        }
        let filters = try CaptureFilter.parse(text)
        #expect(
            filters.map { $0.host.map { "\($0)" } } == hosts)
        #expect(filters.allSatisfy { $0.port == port })
    }
}
