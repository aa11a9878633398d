// How the buffers' sizes are decided: by what is read in a round trip, by the user, by the host's budget.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct AutotuningTests {
    /// A host with a buffer of 64 KiB whose peer is 100 ms away: its ACK of the SYN-ACK comes as late.
    private static func receiver(_ configure: (inout HostConfiguration) -> Void = { _ in }) throws -> OneHost {
        let one = OneHost {
            $0.connection.receiveBufferSize = 64 << 10
            configure(&$0)
        }
        try one.listen()
        one.inject(.syn, seq: 0) { $0.windowScale = 7 }
        one.now = one.now + .milliseconds(100)
        one.inject(.ack, seq: 1, ack: 1)
        return one
    }

    /// The peer sends `count` bytes, which are read.
    private static func take(_ count: Int, _ one: OneHost, from position: inout Int) {
        var left = count
        while left > 0 {
            let n = min(left, 60_000, Int(one.connection?.info.rcvWnd ?? 0))
            one.inject(.ack, seq: position, ack: 1, pattern(n))
            position += n
            left -= n
            one.read()
            _ = one.sent()
            guard n > 0 else { return }
        }
    }

    @Test("what is read in a round trip, twice, is what the buffer grows to")
    func grows() throws {
        let one = try Self.receiver()
        let connection = try #require(one.connection)
        var position = 1
        var sizes: [Int] = []
        for _ in 0..<12 {
            Self.take(min(connection.info.receiveBufferSize, 300_000), one, from: &position)
            _ = one.wait(.milliseconds(100))
            sizes.append(connection.info.receiveBufferSize)
        }
        #expect(sizes == sizes.sorted() && sizes[2] > 64 << 10, "\(sizes)")
        // Beyond 300,000 bytes a round trip there is no need, and no more than a few times that is set aside.
        #expect((600_000...1_300_000).contains(try #require(sizes.last)), "\(sizes)")
        #expect(Int(connection.info.rcvWnd) > 500_000)
    }

    @Test("a reader of a few bytes, and one that is slow, keep what they began with")
    func stays() throws {
        let one = try Self.receiver()
        let connection = try #require(one.connection)
        var position = 1
        for _ in 0..<200 {
            Self.take(1000, one, from: &position)
            _ = one.wait(.milliseconds(100))
        }
        #expect(connection.info.receiveBufferSize == 64 << 10)
        #expect(connection.tuning.map { _ in connection.receiveCapacity } ?? 65_536 == 64 << 10)
    }

    @Test("an idle connection has nothing allocated for it")
    func idle() throws {
        let one = try Self.receiver()
        let connection = try #require(one.connection)
        var position = 1
        Self.take(1000, one, from: &position)
        _ = one.wait(.seconds(1))
        Self.take(1000, one, from: &position)
        #expect(connection.tuning == nil)
    }

    @Test("a size that the user sets ends the growth (SO_RCVBUF, SO_SNDBUF), and gives back what was granted")
    func chosen() throws {
        let one = try Self.receiver()
        let connection = try #require(one.connection)
        var position = 1
        for _ in 0..<8 {
            Self.take(connection.info.receiveBufferSize, one, from: &position)
            _ = one.wait(.milliseconds(100))
        }
        let budget = connection.receiveBuffer.pool.budget
        #expect(budget.granted > 0 && budget.granted == connection.info.receiveBufferSize - (64 << 10))
        one.host.reconfigure(connection, at: one.now) {
            $0.receiveBufferSize = 100_000
            $0.maximumReceiveBuffer = 0
        }
        #expect(budget.granted == 0)
        for _ in 0..<8 {
            Self.take(50_000, one, from: &position)
            _ = one.wait(.milliseconds(100))
        }
        #expect(connection.info.receiveBufferSize == 100_000)
    }

    @Test("what a connection was granted goes back with it, however it ends", arguments: [true, false])
    func returned(aborts: Bool) throws {
        let one = try Self.receiver()
        var position = 1
        weak var weakly: Connection?
        do {
            let connection = try #require(one.connection)
            weakly = connection
            for _ in 0..<8 {
                Self.take(connection.info.receiveBufferSize, one, from: &position)
                _ = one.wait(.milliseconds(100))
            }
            #expect(one.host.pool.budget.granted > 0)
            if aborts {
                one.host.abort(connection, at: one.now)
            } else {
                one.host.shutdownSending(connection, at: one.now)
                _ = one.sent()
                one.inject([.ack, .fin], seq: position, ack: 2)
                one.host.close(connection, at: one.now)
            }
        }
        one.connection = nil
        _ = one.wait(.seconds(10))
        #expect(weakly == nil)
        #expect(one.host.pool.budget.granted == 0)
    }

    @Test("with the budget spent a connection keeps what it has")
    func spent() throws {
        let one = try Self.receiver { $0.bufferBudget = 10_000 }
        let connection = try #require(one.connection)
        var position = 1
        for _ in 0..<8 {
            Self.take(60_000, one, from: &position)
            _ = one.wait(.milliseconds(100))
        }
        #expect(connection.info.receiveBufferSize == (64 << 10) + 10_000)
    }

    @Test("a peer without window scaling is not given a buffer that it could not be told of")
    func unscaled() throws {
        let one = OneHost { $0.connection.receiveBufferSize = 40_000 }
        try one.listen()
        one.inject(.syn, seq: 0)
        one.now = one.now + .milliseconds(100)
        one.inject(.ack, seq: 1, ack: 1)
        var position = 1
        for _ in 0..<12 {
            Self.take(40_000, one, from: &position)
            _ = one.wait(.milliseconds(100))
        }
        #expect(one.connection?.info.receiveBufferSize == 65_535)
    }

    @Test(
        "a small buffer that may grow can still be told of in the window's units",
        arguments: [(1, 0), (100, 3), (2304, 7), (1 << 20, 7), (4096, 7)])
    func smallBuffer(size: Int, shift: UInt8) throws {
        let one = OneHost {
            $0.connection.receiveBufferSize = size
            $0.connection.maximumReceiveBuffer = 6 << 20
        }
        try one.listen()
        let answer = try #require(one.inject(.syn, seq: 0) { $0.windowScale = 7 }.first)
        #expect(answer.header.options.windowScale == shift)
        // It is read as it comes: the window never closes for good.
        one.inject(.ack, seq: 1, ack: 1)
        for byte in 0..<20 {
            _ = one.inject([.ack, .psh], seq: 1 + byte, ack: 1, [7])
            #expect(one.read() == [7])
            // The window opens again.
            _ = one.sent()
        }
    }

    @Test("the shift of the SYN counts, whatever becomes of the buffer before the answer")
    func shift() throws {
        let one = OneHost()
        let syn = try #require(try one.open().first)
        #expect(syn.header.options.windowScale == 7)
        let connection = try #require(one.connection)
        one.host.reconfigure(connection, at: one.now) {
            $0.receiveBufferSize = 20_000
            $0.maximumReceiveBuffer = 0
        }
        let answer = one.inject([.syn, .ack], seq: 0, ack: 1) { $0.windowScale = 0 }
        #expect(answer.first.map { Int($0.header.window.value) << 7 } == 20_000 / 128 * 128)
    }
}
