// Two daemons and the programs that use them: connections from end to end.
import Chisocket
import Glibc
import Synchronization
import TestSupport
import Testing

@Suite("Two daemons", .timeLimit(.minutes(15)))
struct TwoDaemonsTests {
    @Test("bytes go both ways and each end of the stream arrives after them")
    func exchange() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        try client.send(Array("question".utf8))
        #expect(try server.receive(exactly: 8) == Array("question".utf8))
        try server.send(Array("answer".utf8))
        #expect(try client.receive(exactly: 6) == Array("answer".utf8))
        try client.shutdown(.sending)
        #expect(try server.receive().isEmpty)
        try server.send(Array("more".utf8))
        server.close()
        #expect(try client.receiveAll() == Array("more".utf8))
    }

    @Test("single bytes echo one by one, although one byte always stays in the daemon's end")
    func singleBytes() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        for byte in UInt8(0)..<200 {
            try client.send([byte])
            try #require(try server.receive(maximum: 10) == [byte])
            try server.send([byte ^ 0xFF])
            try #require(try client.receive(maximum: 10) == [byte ^ 0xFF])
        }
    }

    @Test("messages of any size, of which the small ones stay a while in the daemon's end, arrive once and in order")
    func smallAndLarge() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        var sent: [UInt8] = []
        // Messages under and over what may stay, in number and in size, with and without an answer between them.
        let sizes = (0..<400).map { i in [1, 3, 40, 1023, 1024, 1025, 5000, 1][i * 7 % 8] }
        for (i, size) in sizes.enumerated() {
            let message = pattern(sent.count + size)[sent.count...]
            try client.send(Array(message))
            sent += message
            guard i % 3 == 0 else { continue }
            try server.send([UInt8(i & 0xFF)])
            try #require(try client.receive(exactly: 1) == [UInt8(i & 0xFF)])
        }
        try client.shutdown(.sending)
        #expect(try server.receiveAll() == sent)
        // Nothing that was left there makes pair.a reset of an end in order.
        server.close()
        #expect(try client.receiveAll() == [])
    }

    @Test("a program whose buffer holds a few messages, made small behind the daemon's back, is not stuck")
    func smallKernelBuffer() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        try client.withDescriptor { descriptor in
            var size: Int32 = 6144
            #expect(setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, 4) == 0)
        }
        let writer = Background {
            for byte in UInt8(0)..<100 {
                try client.withDescriptor { descriptor in
                    var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    #expect(poll(&room, 1, 30_000) == 1)
                }
                try client.send([byte])
            }
        }
        #expect(try server.receive(exactly: 100) == Array(0..<100))
        #expect(writer.join() == nil)
    }

    @Test("a reset comes through although messages that were read lie in the daemon's end")
    func messagesBeforeAReset() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        for byte in UInt8(0)..<5 {
            try server.send([byte])
            try #require(try client.receive(exactly: 1) == [byte])
            try client.send([byte])
            try #require(try server.receive(exactly: 1) == [byte])
        }
        // The daemons still hold what they read of both.
        try client.send([8, 9])
        #expect(try server.receive(exactly: 1) == [8])
        server.close()
        #expect(errnoOf { _ = try client.receive() } == ECONNRESET)
    }

    @Test("20 MB arrive unchanged while the reader is slower than the writer")
    func bulk() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        let sent = pattern(20 << 20)
        let writer = Background {
            try client.send(sent)
            try client.shutdown(.sending)
        }
        let received = try server.receiveAll()
        #expect(writer.join() == nil)
        #expect(received == sent)
    }

    @Test("a writer whose reader does not read is held back, and loses nothing")
    func backPressure() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        let piece = pattern(65_536)
        var sent: [UInt8] = []
        // Nobody reads: within 64 MiB the buffers on the way must be full for 200 ms.
        client.withPoll(for: 200) {
            let n = (try? piece.withUnsafeBytes { try client.send($0) }) ?? 0
            sent += piece[..<n]
            return sent.count < 64 << 20
        }
        #expect(sent.count < 64 << 20)
        let writer = Background { try client.shutdown(.sending) }
        let received = try server.receiveAll()
        #expect(writer.join() == nil)
        #expect(received == sent)
    }

    @Test("shutting down both directions still delivers what waits in front of a full send buffer")
    func shutdownBoth() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        let piece = pattern(65_536)
        var sent: [UInt8] = []
        client.withPoll(for: 200) {
            sent += piece[..<((try? piece.withUnsafeBytes { try client.send($0) }) ?? 0)]
            return sent.count < 64 << 20
        }
        try client.shutdown(.both)
        #expect(try server.receiveAll() == sent)
    }

    @Test("connecting to a port where nobody listens is refused")
    func refused() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let a = try TestDaemon("\(net).1", in: folder)
        let b = try TestDaemon("\(net).2", in: folder)
        #expect(errnoOf { _ = try a.connect(to: b, port: 9) } == ECONNREFUSED)
    }

    @Test("connecting to a host without a daemon is refused")
    func noPeer() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let a = try TestDaemon("\(net).1", in: folder)
        let socket = try Chisocket(.ipv4, daemon: a.path)
        let nobody = try #require(ChisocketAddress("\(net).2", port: 7))
        #expect(errnoOf { try socket.connect(to: nobody) } == ECONNREFUSED)
    }

    @Test("a daemon talks to itself")
    func itself() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let a = try TestDaemon("\(net).1", in: folder)
        let listener = try a.listener(port: 7)
        let client = try a.connect(to: a, port: 7)
        let server = try listener.acceptLimited()
        try client.send([1, 2, 3])
        client.close()
        #expect(try server.receiveAll() == [1, 2, 3])
    }

    @Test("a reset shows as ECONNRESET after the bytes before it")
    func reset() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        try server.send([1, 2, 3])
        #expect(try client.receive(exactly: 3) == [1, 2, 3])
        try server.abort()
        #expect(errnoOf { _ = try client.receive() } == ECONNRESET)
        #expect(try client.takeError() == ECONNRESET)
        #expect(try client.takeError() == 0)
    }

    @Test("closing with received bytes unread resets the connection")
    func closeUnread() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        try client.send([1, 2, 3])
        #expect(try server.receive(exactly: 1) == [1])
        server.close()
        #expect(errnoOf { _ = try client.receive() } == ECONNRESET)
    }

    @Test("closing with SO_LINGER {1, 0} resets the connection")
    func lingerZero() throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        try server.set(.linger, to: .zero)
        server.close()
        #expect(errnoOf { _ = try client.receive() } == ECONNRESET)
    }

    @Test(
        "what a program wrote before its end arrives, then the end of the stream",
        arguments: [("exit 0", 11), ("kill -9 $$", 12)])
    func programEnds(_ end: String, _ host: Int) throws {
        let pair = try ConnectedPair()
        let (client, server) = (pair.client, pair.server)
        let program = try startShell("head -c 300000 /dev/zero >&3; \(end)", giving: try client.releaseDescriptor())
        #expect(try server.receiveAll() == [UInt8](repeating: 0, count: 300_000))
        waitForEnd(of: program)
    }
}
