// Overlapping, duplicated and reordered segments: ours and the byte map must agree on bytes, RCV.NXT and SACK blocks.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct ReassemblyTests {
    /// A segment's place and whether it ends the stream. Its bytes depend on position and segment, so that it shows which
    /// segment a byte was taken from.
    struct Piece: CustomStringConvertible, Sendable {
        let start: Int
        let count: Int
        var fin = false
        var description: String { "[\(start), \(start + count))\(fin ? " FIN" : "")" }

        func bytes(_ salt: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: (start + $0) &* 7 &+ salt &* 59) }
        }
    }

    /// Plays the pieces to a connection and to the map, and compares after each. What differs, or nil.
    static func differs(
        _ pieces: [Piece], window: Int, irs: UInt32, readEach: Bool = false, timestamps: Bool = false
    ) throws -> String? {
        let one = OneHost(irs: irs) {
            $0.connection.receiveBufferSize = window
            $0.connection.windowScaling = false
        }
        try one.establish {
            $0.sackPermitted = true
            if timestamps { $0.timestamps = Timestamps(value: 1, echoReply: 0) }
        }
        var map = ByteMap(edge: 1 + window)
        var got: [UInt8] = []
        for (i, piece) in pieces.enumerated() {
            let bytes = piece.bytes(i)
            let wasClosed = map.isClosed
            let answers = one.inject(piece.fin ? [.ack, .fin] : .ack, seq: piece.start, ack: 1, bytes)
            map.receive(bytes, at: piece.start, fin: piece.fin)
            if readEach { got += one.read() }
            let all = answers + one.sent() + (one.connection?.state == .established ? one.wait(.milliseconds(40)) : [])
            func report(_ what: String) -> String {
                "\(pieces.prefix(i + 1)), window \(window), IRS \(irs): \(what); sent \(all.map(one.describe))"
            }
            guard let first = all.first, let last = all.last else {
                // RFC 9293 3.10.7.4: text in the window after the peer's FIN is ignored.
                if wasClosed { continue }
                return report("no answer")
            }
            guard one.acknowledged(last) == map.next else {
                return report("RCV.NXT \(one.acknowledged(last)), expected \(map.next)")
            }
            // RFC 2018 4 and RFC 2883 4: the duplicate first, then the runs, the newest first.
            let duplicate = map.duplicate.map { [$0] } ?? []
            let expected = Array((duplicate + map.runs).prefix(timestamps ? 3 : 4))
            guard one.blocks(first) == expected else {
                return report("blocks \(one.blocks(first)), expected \(expected)")
            }
            map.edge = max(map.edge, one.acknowledged(last) + Int(last.header.window.value))
            let broken = one.host.invariantViolations(at: one.now)
            guard broken.isEmpty else { return report("\(broken)") }
        }
        got += one.read()
        guard got == map.stream else { return "\(pieces), window \(window): got \(got), expected \(map.stream)" }
        guard map.isClosed == (one.connection?.state != .established) else {
            return "\(pieces), window \(window): \(String(describing: one.connection?.state)), closed \(map.isClosed)"
        }
        return nil
    }

    /// Initial sequence numbers whose windows straddle a wrap, and one whose does not.
    static let starts: [UInt32] = [0 &- 4, (1 << 31) - 4, 5]

    private static func check(_ failures: [String], of count: Int) {
        #expect(failures.isEmpty, "\(failures.count) of \(count): \(failures.prefix(5).joined(separator: "\n"))")
    }

    @Test("every two segments over a small window", arguments: starts)
    func pairs(irs: UInt32) throws {
        // The window is [1, 5); places from left of it to right of it.
        var pieces: [Piece] = []
        for start in -1...6 {
            for count in 0...5 {
                if count > 0 { pieces.append(Piece(start: start, count: count)) }
                if count < 2 { pieces.append(Piece(start: start, count: count, fin: true)) }
            }
        }
        var failures: [String] = []
        var n = 0
        // All of them around 2^32, a slice elsewhere.
        let stride = irs == Self.starts[0] ? 1 : 7
        for a in pieces {
            for b in pieces {
                n += 1
                guard n % stride == 0 else { continue }
                if let failure = try Self.differs([a, b], window: 4, irs: irs) { failures.append(failure) }
            }
        }
        Self.check(failures, of: n)
    }

    @Test("every three segments over a small window", arguments: starts.prefix(1))
    func triples(irs: UInt32) throws {
        var pieces: [Piece] = []
        for start in 1...4 { for count in 1...(5 - start) { pieces.append(Piece(start: start, count: count)) } }
        var failures: [String] = []
        var n = 0
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    n += 1
                    if let failure = try Self.differs([a, b, c], window: 4, irs: irs) { failures.append(failure) }
                }
            }
        }
        Self.check(failures, of: n)
    }

    @Test("thousands of random segments, with FINs, around the wraps, read at once or not", arguments: 0..<16)
    func random(seed: Int) throws {
        var state = mixed(seed + 1)
        func next(_ bound: Int) -> Int {
            state = mixed(Int(truncatingIfNeeded: state &+ 1))
            return Int(state % UInt64(bound))
        }
        var failures: [String] = []
        for _ in 0..<12 {
            let window = [7, 30, 100, 700][next(4)]
            let irs = [UInt32.max &- UInt32(next(2 * window)), (1 << 31) &- UInt32(next(2 * window))][next(2)]
            let finAt = 1 + next(2 * window)
            var pieces: [Piece] = []
            for _ in 0..<(4 + next(24)) {
                let start = max(-5, next(2 * window + 8) - 4)
                let count = 1 + next(max(1, window / (1 + next(6))))
                // Nearly all segments agree on the end; one in sixteen contradicts.
                if start <= finAt, start + count >= finAt, next(16) > 0 {
                    pieces.append(Piece(start: start, count: finAt - start, fin: true))
                } else {
                    pieces.append(Piece(start: start, count: count, fin: next(64) == 0))
                }
            }
            let failure = try Self.differs(
                pieces, window: window, irs: irs, readEach: next(2) == 0, timestamps: next(2) == 0)
            if let failure { failures.append(failure) }
        }
        Self.check(failures, of: 12)
    }

    @Test("a stream in one-byte segments, shuffled, comes out whole", arguments: [1, 2, 3])
    func shuffled(seed: Int) throws {
        let one = OneHost()
        try one.establish()
        let count = 500
        let order = (0..<count).sorted { mixed($0 * 31 + seed * 7919) < mixed($1 * 31 + seed * 7919) }
        for i in order { one.inject(.ack, seq: 1 + i, ack: 1, [UInt8(truncatingIfNeeded: i)]) }
        #expect(one.read() == (0..<count).map { UInt8(truncatingIfNeeded: $0) })
        #expect(one.connection?.info.outOfOrderQueued == 0)
    }

    @Test("a peer that sends nothing but scattered bytes costs bounded memory, and the connection goes on")
    func scattered() throws {
        let one = OneHost { $0.connection.receiveBufferSize = 60_000 }
        try one.establish()
        for i in 0..<20_000 { one.inject(.ack, seq: 3 + 2 * i % 50_000, ack: 1, [1]) }
        let blocks = try #require(one.connection).reassembly?.blocks.count ?? 0
        #expect(blocks <= max(64, 60_000 / 256))
        one.inject(.ack, seq: 1, ack: 1, pattern(2048))
        #expect(one.read().count >= 2048)
    }
}
