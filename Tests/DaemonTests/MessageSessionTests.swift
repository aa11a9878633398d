// Connections of chiTCP's protocol: how they begin, whose sockets end with them, and what bad ones cost.
import DaemonProtocol
import FoundationEssentials
import Glibc
import TCPSegments
import TestSupport
import Testing

@Suite("Connections of chiTCP's protocol", .timeLimit(.minutes(15)))
struct MessageSessionTests {
    let folder: TemporaryFolder
    let daemon: TestDaemon

    init() throws {
        folder = try TemporaryFolder()
        daemon = try TestDaemon(freshNet() + ".1", in: folder)
    }

    private func frame(_ body: [UInt8]) -> [UInt8] { withUnsafeBytes(of: UInt64(body.count)) { Array($0) } + body }

    /// The daemon still serves others.
    private func expectService() throws {
        let other = try MessageClient(daemon)
        let socket = try other.socket()
        try other.close(socket)
    }

    // MARK: Beginning

    @Test("before INIT every message is EINVAL, and INIT may still follow")
    func beforeInit() throws {
        let client = try MessageClient(daemon, greets: false)
        let early = try client.call(.socket) {
            $0.socketArgs.domain = AF_INET
            $0.socketArgs.type = Int32(SOCK_STREAM.rawValue)
            $0.socketArgs.protocol = 0
        }
        #expect(early.ret == -1 && early.errorCode == EINVAL)
        #expect(try client.call(.init_).errorCode == EINVAL)
        #expect(try client.call(.init_) { $0.initArgs.connectionType = .commandConnection }.ret == 0)
        #expect(try client.socket() == 0)
    }

    @Test("a second INIT, and codes that are no calls, are EINVAL", arguments: [0, 11, 12, 13])
    func noCalls(_ code: Int) throws {
        let client = try MessageClient(daemon)
        let answer = try client.call(try #require(ChitcpdMsgCode(rawValue: code))) {
            $0.initArgs.connectionType = .commandConnection
            $0.resp = ChitcpdResp.with {
                $0.ret = 0
                $0.errorCode = 0
            }
        }
        #expect(answer.ret == -1 && answer.errorCode == EINVAL)
        #expect(try client.socket() == 0)
    }

    @Test("an unknown code, and a message without one, are EINVAL", arguments: [[0x08, 99], [0x08, 0x7F], []])
    func unknownCodes(_ body: [UInt8]) throws {
        let client = try MessageClient(daemon)
        try client.write(frame(body))
        #expect(try client.answer().errorCode == EINVAL)
        #expect(try client.socket() == 0)
    }

    @Test(
        "missing arguments are EINVAL",
        arguments: [
            ChitcpdMsgCode.socket, .bind, .listen, .accept, .connect, .send, .recv, .close, .getSocketState,
            .getSocketBufferContents, .waitForState,
        ])
    func missingArguments(_ code: ChitcpdMsgCode) throws {
        let client = try MessageClient(daemon)
        #expect(try client.call(code).errorCode == EINVAL)
        // The arguments' field is there, and empty: each field number is the one of the code in the message.
        let field: [ChitcpdMsgCode: UInt8] = [
            .socket: 3, .bind: 4, .listen: 5, .accept: 6, .connect: 7, .recv: 8, .send: 9, .close: 10,
            .getSocketState: 11, .getSocketBufferContents: 12, .waitForState: 15,
        ]
        try client.write(frame([0x08, UInt8(code.rawValue), try #require(field[code]) << 3 | 2, 0]))
        #expect(try client.answer().errorCode == EINVAL)
        // Arguments of another call do not count.
        #expect(
            try client.call(code) {
                if code == .close { $0.acceptArgs.sockfd = 0 } else { $0.closeArgs.sockfd = 0 }
            }.errorCode == EINVAL)
        #expect(try client.socket() == 0)
    }

    // MARK: Bad bytes

    @Test(
        "bytes that are no message cost their sender the connection, and nobody else anything",
        arguments: [
            [0xFF], [0x08], [0x12, 0x7F], [0x0B, 0x08], [0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        ])
    func malformed(_ body: [UInt8]) throws {
        let client = try MessageClient(daemon)
        _ = try client.socket()
        try client.write(frame(body))
        #expect(try client.receive() == nil)
        try expectService()
    }

    @Test(
        "a length above 1 MiB costs the connection at once",
        arguments: [1 << 20 + 1, 1 << 32, UInt64.max, UInt64(Int64.max)] as [UInt64])
    func tooLong(_ length: UInt64) throws {
        let client = try MessageClient(daemon)
        try client.write(withUnsafeBytes(of: length) { Array($0) })
        #expect(try client.receive() == nil)
        try expectService()
    }

    @Test("a message of 1 MiB is served")
    func longest() throws {
        let client = try MessageClient(daemon)
        let listener = try client.listener(daemon, port: 7)
        let socket = try client.socket()
        try client.connect(socket, daemon.sockaddr(7))
        let accepted = try client.accept(listener).socket
        // 8 bytes of fields and lengths around the data.
        let bytes = pattern(MessageFrames.maximumSize - 14)
        var message = ChitcpdMsg()
        message.code = .send
        message.sendArgs.sockfd = socket
        message.sendArgs.flags = 0
        message.sendArgs.buf = Data(bytes)
        #expect(MessageFrames.encode(message).count == 8 + MessageFrames.maximumSize)
        try client.send(message)
        let answer = try client.answer()
        #expect(answer.ret == Int32(bytes.count))
        #expect(try client.receive(accepted, exactly: bytes.count) == bytes)
    }

    @Test("a message may come in pieces, and half a message holds up nobody")
    func pieces() throws {
        let half = try MessageClient(daemon)
        let message = frame([0x08, 0x01, 0x1A, 0x06, 0x08, 0x02, 0x10, 0x01, 0x18, 0x06])
        try half.write(Array(message[..<11]))
        try expectService()
        for byte in message[11...] { try half.write([byte]) }
        #expect(try half.answer().ret == 0)
        try half.write(Array(message[..<3]))
        half.hangUp()
        try expectService()
    }

    @Test("requests that come before their predecessors are answered are answered in order")
    func pipelined() throws {
        let client = try MessageClient(daemon)
        let listener = try client.listener(daemon, port: 7)
        var burst: [UInt8] = []
        for socket: Int32 in [listener, 77, listener] {
            var message = ChitcpdMsg()
            message.code = .getSocketState
            message.getSocketStateArgs.sockfd = socket
            burst += MessageFrames.encode(message)
        }
        try client.write(burst)
        #expect(try [client.answer(), client.answer(), client.answer()].map(\.errorCode) == [0, EBADF, 0])
        // Behind a call that waits they wait, too.
        try client.send(.accept) { $0.acceptArgs.sockfd = listener }
        for _ in 0..<50 { try client.write(burst) }
        let other = try MessageClient(daemon)
        let socket = try other.socket()
        try other.connect(socket, daemon.sockaddr(7))
        #expect(try client.answer().ret > 0)
        for _ in 0..<50 {
            #expect(try [client.answer(), client.answer(), client.answer()].map(\.errorCode) == [0, EBADF, 0])
        }
    }

    @Test("a client that never reads its answers holds up nobody")
    func neverReads() throws {
        let client = try MessageClient(daemon)
        let listener = try client.listener(daemon, port: 7)
        let socket = try client.socket()
        try client.connect(socket, daemon.sockaddr(7))
        _ = try client.accept(listener)
        try client.send(socket, pattern(500_000))
        let deaf = try MessageClient(daemon)
        // Answers of half a megabyte each: the first do not fit into the kernel's buffer.
        for _ in 0..<20 {
            try deaf.send(.getSocketBufferContents) { $0.getSocketBufferContentsArgs.sockfd = socket + 1 }
        }
        try expectService()
        deaf.hangUp()
        try expectService()
    }

    @Test("hundreds of silent connections hold up nobody")
    func silent() throws {
        let silent = try (0..<400).map { try MessageClient(daemon, greets: $0 % 2 == 0) }
        try expectService()
        #expect(silent.count == 400)
    }

    // MARK: Ownership

    @Test("a socket lives as long as any connection of its process")
    func lastConnection() throws {
        let first = try MessageClient(daemon)
        let second = try MessageClient(daemon)
        let listener = try first.listener(daemon, port: 7)
        first.hangUp()
        try expectService()
        #expect(try second.state(listener).tcpState == TCPState.listen.rawValue)
        #expect(try callError { try second.bind(try second.socket(), try self.daemon.sockaddr(7)) } == EADDRINUSE)
        second.hangUp()
        let third = try MessageClient(daemon)
        try waitUntil { try callError { _ = try third.state(listener) } == EBADF }
        #expect(try third.listener(daemon, port: 7) == 0)
    }

    @Test("the end of a process closes its sockets: FIN after what was queued, listeners and ports free")
    func processEnds() throws {
        let pair = try ConnectedMessages()
        let bytes = pattern(900_000)
        try pair.client.send(pair.clientSocket, bytes)
        pair.client.hangUp()
        #expect(try pair.server.receiveAll(pair.serverSocket) == bytes)
        #expect(try pair.server.state(pair.serverSocket).tcpState == TCPState.closeWait.rawValue)
    }

    @Test("received bytes that the process left unread become a reset")
    func processEndsUnread() throws {
        let pair = try ConnectedMessages()
        try pair.server.send(pair.serverSocket, [1, 2, 3])
        try waitUntil { try pair.client.buffers(pair.clientSocket).rcv.count == 3 }
        pair.client.hangUp()
        #expect(try callError { _ = try pair.server.receive(pair.serverSocket) } == ECONNRESET)
    }

    @Test("a listener that ends with its process resets what nobody accepted")
    func listenerEnds() throws {
        let net = freshNet()
        let a = try TestDaemon(net + ".1", in: folder)
        let client = try MessageClient(a)
        let server = try MessageClient(daemon)
        _ = try server.listener(daemon, port: 7)
        let socket = try client.socket()
        try client.connect(socket, daemon.sockaddr(7))
        server.hangUp()
        #expect(try callError { _ = try client.receive(socket) } == ECONNRESET)
        #expect(try callError { try client.connect(try client.socket(), self.daemon.sockaddr(7)) } == ECONNREFUSED)
    }

    @Test(
        "calls that wait are forgotten with their process",
        arguments: [ChitcpdMsgCode.accept, .recv, .waitForState, .close])
    func parkedForgotten(_ code: ChitcpdMsgCode) throws {
        let net = freshNet()
        let a = try TestDaemon(net + ".1", in: folder)
        let server = try MessageClient(daemon)
        let listener = try server.listener(daemon, port: 7)
        let client = try MessageClient(a)
        let socket = try client.socket()
        try client.connect(socket, daemon.sockaddr(7))
        let accepted = try server.accept(listener).socket
        try client.send(code) {
            switch code {
            case .accept: $0.acceptArgs.sockfd = 0
            case .recv:
                $0.recvArgs.sockfd = socket
                $0.recvArgs.flags = 0
                $0.recvArgs.len = 10
            case .waitForState:
                $0.waitForStateArgs.sockfd = socket
                $0.waitForStateArgs.tcpState = TCPState.lastAck.rawValue
            default: $0.closeArgs.sockfd = socket
            }
        }
        client.hangUp()
        #expect(try server.receive(accepted) == [])
        try server.close(accepted)
        let next = try MessageClient(a)
        try waitUntil { try callError { _ = try next.state(socket) } == EBADF }
    }

    @Test("each process has its own sockets: a killed one takes only its own along")
    func processes() throws {
        let a = try OtherProcess(daemon, in: folder)
        let b = try OtherProcess(daemon, in: folder)
        let first = try a.client.listener(daemon, port: 7)
        let second = try b.client.listener(daemon, port: 8)
        let watcher = try MessageClient(daemon)
        let socket = try watcher.socket()
        try watcher.connect(socket, daemon.sockaddr(7))
        let accepted = try a.client.accept(first).socket
        a.kill()
        #expect(try watcher.receive(socket) == [])
        try waitUntil { try callError { _ = try watcher.state(first) } == EBADF }
        #expect(try watcher.state(second).tcpState == TCPState.listen.rawValue)
        try watcher.close(socket)
        try waitUntil { try callError { _ = try watcher.state(accepted) } == EBADF }
        b.kill()
        try waitUntil { try callError { _ = try watcher.state(second) } == EBADF }
    }

    @Test("a process may call another's socket by its number, as a forked child does its parent's")
    func sharedNumbers() throws {
        let other = try OtherProcess(daemon, in: folder)
        let client = try MessageClient(daemon)
        let listener = try client.listener(daemon, port: 7)
        let socket = try client.socket()
        try client.connect(socket, daemon.sockaddr(7))
        let accepted = try other.client.accept(listener).socket
        try client.send(socket, [1])
        #expect(try other.client.receive(accepted) == [1])
        other.kill()
        // What it accepted was its own, the listener is not.
        #expect(try client.receive(socket) == [])
        #expect(try client.state(listener).tcpState == TCPState.listen.rawValue)
    }

    // MARK: Waiting

    @Test("calls of a kind are served in the order in which they came")
    func order() throws {
        let pair = try ConnectedMessages()
        let readers = try (0..<3).map { _ in try MessageClient(pair.b) }
        for reader in readers {
            try reader.send(.recv) {
                $0.recvArgs.sockfd = pair.serverSocket
                $0.recvArgs.flags = 0
                $0.recvArgs.len = 1
            }
            // An answer to another connection shows that the daemon has come that far.
            _ = try pair.server.state(pair.serverSocket)
        }
        try pair.client.send(pair.clientSocket, [1, 2, 3])
        #expect(try readers.map { [UInt8](try $0.answer().buf) } == [[1], [2], [3]])
    }

    @Test("SEND waits until all of it is queued")
    func sendWaits() throws {
        let pair = try ConnectedMessages {
            $0.host.connection.sendBufferSize = 4096
            $0.host.connection.receiveBufferSize = 4096
        }
        let bytes = pattern(200_000)
        let sender = Background { [client = pair.client, socket = pair.clientSocket] in
            try #require(try client.send(socket, bytes) == Int32(bytes.count))
        }
        #expect(try pair.server.receive(pair.serverSocket, exactly: bytes.count, pieces: 1000) == bytes)
        #expect(sender.join() == nil)
    }

    @Test("other calls that wait end when their socket is closed")
    func closedMeanwhile() throws {
        let pair = try ConnectedMessages()
        let reader = try MessageClient(pair.a)
        let accepter = try MessageClient(pair.b)
        try reader.send(.recv) {
            $0.recvArgs.sockfd = pair.clientSocket
            $0.recvArgs.flags = 0
            $0.recvArgs.len = 1
        }
        try accepter.send(.accept) { $0.acceptArgs.sockfd = pair.listener }
        _ = try reader.parkedCheck(pair.a)
        _ = try reader.parkedCheck(pair.b)
        try pair.client.close(pair.clientSocket)
        try pair.server.close(pair.listener)
        #expect(try reader.answer().errorCode == EBADF)
        #expect(try accepter.answer().errorCode == EBADF)
    }

    @Test("WAIT_FOR_STATE ends when the state is reached, for listening and released sockets as well")
    func waits() throws {
        let client = try MessageClient(daemon)
        let waiter = try MessageClient(daemon)
        let listener = try client.socket()
        try client.wait(listener, for: .closed)
        try waiter.send(.waitForState) {
            $0.waitForStateArgs.sockfd = listener
            $0.waitForStateArgs.tcpState = TCPState.listen.rawValue
        }
        try client.bind(listener, daemon.sockaddr(7))
        try client.listen(listener)
        #expect(try waiter.answer().ret == 0)
        try client.wait(listener, for: .listen)
        for state in [TCPState.closed, .established] {
            let other = try MessageClient(daemon)
            try other.send(.waitForState) {
                $0.waitForStateArgs.sockfd = listener
                $0.waitForStateArgs.tcpState = state.rawValue
            }
            _ = try other.parkedCheck(daemon)
            if state == .closed {
                try client.close(listener)
                #expect(try other.answer().ret == 0)
                try #require(try client.listener(daemon, port: 7) == listener)
            } else {
                try client.close(listener)
                #expect(try other.answer().errorCode == EBADF)
            }
        }
        try client.wait(listener, for: .closed)
        for bad in [-1, 11, Int32.max] {
            let answer = try client.call(.waitForState) {
                $0.waitForStateArgs.sockfd = listener
                $0.waitForStateArgs.tcpState = bad
            }
            #expect(answer.errorCode == EINVAL)
        }
    }

    @Test("CLOSE returns with FIN-WAIT-2 or later, or with LAST-ACK, and the number lives until CLOSED")
    func closeReturns() throws {
        let pair = try ConnectedMessages { $0.links.maximumSegmentLifetime = .milliseconds(500) }
        try pair.client.close(pair.clientSocket)
        #expect(try pair.client.state(pair.clientSocket).tcpState == TCPState.finWait2.rawValue)
        #expect(try callError { try pair.client.send(pair.clientSocket, [1]) } == ENOTCONN)
        #expect(try callError { _ = try pair.client.receive(pair.clientSocket) } == ENOTCONN)
        #expect(try pair.server.receive(pair.serverSocket) == [])
        try pair.server.close(pair.serverSocket)
        try pair.client.wait(pair.clientSocket, for: .timeWait)
        try pair.client.wait(pair.clientSocket, for: .closed)
        #expect(try callError { _ = try pair.client.state(pair.clientSocket) } == EBADF)
        try pair.server.wait(pair.serverSocket, for: .closed)
    }
}

extension MessageClient {
    /// Has another connection answered, so that whatever was sent to `daemon` before has been looked at.
    func parkedCheck(_ daemon: TestDaemon) throws {
        let other = try MessageClient(daemon)
        try other.close(try other.socket())
    }
}
