// Windows: what is sent into the peer's, and what ours announces (RFC 9293 3.8.6).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct WindowTests {
    private static func receiver(_ size: Int, mss: UInt16 = 1460) throws -> OneHost {
        let one = OneHost {
            $0.connection.receiveBufferSize = size
            $0.connection.windowScaling = false
        }
        try one.establish()
        return one
    }

    // MARK: The sender

    @Test("the window rides on data and on ACKs alike; only newer segments change it (SND.WL1, SND.WL2)")
    func piggyback() throws {
        let one = OneHost()
        try one.establish(window: 1000)
        let connection = try #require(one.connection)
        one.inject(.ack, seq: 1, ack: 1, pattern(10), window: 700)
        #expect(connection.info.sndWnd == 700)
        one.inject(.ack, seq: 11, ack: 1, window: 650)
        #expect(connection.info.sndWnd == 650)
        // An older segment that comes late: not believed.
        one.inject(.ack, seq: 6, ack: 1, pattern(10), window: 100)
        #expect(connection.info.sndWnd == 650)
        // The same numbers: believed (RFC 9293 3.10.7.4: SND.WL2 =< SEG.ACK).
        one.inject(.ack, seq: 16, ack: 1, window: 900)
        #expect(connection.info.sndWnd == 900)
    }

    @Test("what is sent never exceeds the window", arguments: [1, 10, 499, 500, 1500, 1501, 65_535])
    func never(window: Int) throws {
        let one = OneHost()
        try one.establish(window: UInt16(window)) { $0.maximumSegmentSize = 500 }
        try one.send(100_000)
        var last = 0
        for segment in one.sent() { last = max(last, one.position(segment) + segment.payload.count) }
        #expect(last <= 1 + window)
        #expect(last > 1 || window < 250)
    }

    @Test(
        "a window that shrinks below what is outstanding: nothing new, no panic, and it is retransmitted (MUST-34, SHLD-15)"
    )
    func shrinks() throws {
        let one = OneHost()
        try one.establish(window: 2000) { $0.maximumSegmentSize = 500 }
        try one.send(3000)
        #expect(one.sent().count == 4)
        // 500 acknowledged, and only 300 more allowed: 1500 are out.
        #expect(one.inject(.ack, seq: 1, ack: 501, window: 300).isEmpty)
        let again = one.wait(.seconds(1))
        #expect(again.first.map(one.position) == 501)
        #expect(again.allSatisfy { one.position($0) + $0.payload.count <= 2001 }, "no new data")
        #expect(one.host.invariantViolations(at: one.now).isEmpty)
        // It opens again.
        let rest = one.inject(.ack, seq: 1, ack: 2001, window: 2000)
        #expect(rest.first.map(one.position) == 2001)
        #expect(rest.reduce(0) { $0 + $1.payload.count } == 1000)
    }

    // MARK: The receiver

    @Test(
        "the right edge never moves left, and what was promised is taken (SHLD-14)",
        arguments: [1, 100, 536, 5000, 65_535])
    func edge(size: Int) throws {
        let one = try Self.receiver(size)
        var next = 1
        var edge = 1 + size
        for round in 0..<200 {
            let count = min(1 + round % 7 * 91, edge - next)
            guard count > 0 else {
                one.read()
                for segment in one.sent() + one.wait(.milliseconds(40)) {
                    edge = max(edge, one.acknowledged(segment) + Int(segment.header.window.value))
                }
                continue
            }
            let answers = one.inject(.ack, seq: next, ack: 1, pattern(count)) + one.wait(.milliseconds(40))
            next += count
            for answer in answers {
                let told = one.acknowledged(answer) + Int(answer.header.window.value)
                #expect(told >= edge, "the edge moved from \(edge) to \(told)")
                edge = max(edge, told)
            }
            #expect(answers.last.map(one.acknowledged) == next)
            if round % 3 == 0 { one.read() }
        }
        #expect(edge > 1 + size)
    }

    @Test("a full buffer announces a window of zero, reading announces room at once", arguments: [500, 2000, 20_000])
    func zero(size: Int) throws {
        let one = try Self.receiver(size)
        let answer = one.inject(.ack, seq: 1, ack: 1, pattern(size)) + one.wait(.milliseconds(40))
        #expect(answer.last?.header.window.value == 0)
        // One byte beyond it is not taken, but answered.
        let beyond = one.inject(.ack, seq: 1 + size, ack: 1, [9])
        #expect(beyond.map(one.acknowledged) == [1 + size])
        #expect(beyond.first?.header.window.value == 0)
        #expect(one.read().count == size)
        let update = one.sent()
        #expect(update.map(\.bits) == [.ack])
        #expect(update.map { Int($0.header.window.value) } == [size])
        #expect(one.inject(.ack, seq: 1 + size, ack: 1, [9]).isEmpty == false)
        #expect(one.read() == [9])
    }

    @Test("as long as there is room for a segment, no window of zero is told (spurious zero window)")
    func neverSpuriouslyZero() throws {
        let one = try Self.receiver(8000)
        var next = 1
        for _ in 0..<50 {
            let answers = one.inject([.ack, .psh], seq: next, ack: 1, pattern(1460)) + one.wait(.milliseconds(40))
            next += 1460
            #expect(answers.allSatisfy { $0.header.window.value > 0 })
            one.read()
            #expect(one.sent().allSatisfy { $0.header.window.value > 0 })
        }
    }

    @Test("little sips of a full buffer do not announce silly windows (MUST-39, RFC 9293 3.8.6.2.2)")
    func sips() throws {
        let one = try Self.receiver(8000)
        _ = one.inject(.ack, seq: 1, ack: 1, pattern(8000)) + one.wait(.milliseconds(40))
        var told: [Int] = []
        var buffer = [UInt8](repeating: 0, count: 10)
        let connection = try #require(one.connection)
        for _ in 0..<200 {
            _ = buffer.withUnsafeMutableBytes { one.host.receive(connection, into: $0, at: one.now) }
            told += one.sent().map { Int($0.header.window.value) }
        }
        #expect(!told.isEmpty)
        #expect(told.allSatisfy { $0 >= 1460 }, "\(told)")
    }

    @Test(
        "a large buffer is announced in the unit of the scale; what the field hides is taken all the same (RFC 7323 2.4)"
    )
    func scaled() throws {
        let one = OneHost {
            $0.connection.receiveBufferSize = 1_000_001
            $0.connection.maximumReceiveBuffer = 0
        }
        try one.establish { $0.windowScale = 0 }
        let answer = one.inject(.ack, seq: 1, ack: 1, pattern(100))
        // 1,000,001 needs a shift of 4.
        let told = Int(try #require(answer.first).header.window.value) << 4
        #expect(told <= 1_000_001 && told > 1_000_001 - 16 - 100)
    }

    @Test("without scaling no more is accepted than 16 bits can tell, and it is told again in time")
    func unscaled() throws {
        let one = OneHost { $0.connection.receiveBufferSize = 1 << 20 }
        try one.establish()
        let connection = try #require(one.connection)
        var next = 1
        for _ in 0..<40 {
            let answers = one.inject(.ack, seq: next, ack: 1, pattern(1460)) + one.wait(.milliseconds(40))
            next += 1460
            #expect(answers.last.map { Int($0.header.window.value) } == 65_535)
        }
        #expect(Int(connection.info.rcvWnd) == 65_535)
        // Beyond what was told: answered, not kept.
        #expect(one.inject(.ack, seq: next + 65_535, ack: 1, [1]).map(one.acknowledged) == [next])
        #expect(connection.info.outOfOrderQueued == 0)
        // The buffer fills up, and reading opens the window again.
        while connection.receivedCount < 1 << 20 {
            _ = one.inject(.ack, seq: next, ack: 1, pattern(60_000)) + one.wait(.milliseconds(40))
            next = 1 + connection.receivedCount
        }
        #expect(connection.info.rcvWnd == 0)
        one.read()
        #expect(one.sent().map { Int($0.header.window.value) } == [65_535])
    }

    @Test(
        "the window of a SYN-ACK is not scaled, and is kept although the buffer is larger, or may become so",
        arguments: [(0, 5), (6 << 20, 7), (16 << 20, 9)] as [(Int, UInt8)])
    func synAckWindow(maximum: Int, scale: UInt8) throws {
        let one = OneHost {
            $0.connection.receiveBufferSize = 1 << 20
            $0.connection.maximumReceiveBuffer = maximum
        }
        try one.listen()
        let synAck = one.inject(.syn, seq: 0) { $0.windowScale = 2 }
        #expect(synAck.first?.header.window.value == 65_535)
        #expect(synAck.first?.header.options.windowScale == scale)
    }
}
