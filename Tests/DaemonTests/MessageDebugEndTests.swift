// How breakpoints end: with their connection, with their debugger, with what queues up at them.
import Daemon
import DaemonProtocol
import FoundationEssentials
import Glibc
import NetworkLayer
import TCPSegments
import Testing

@Suite("The end of breakpoints", .timeLimit(.minutes(15)))
struct MessageDebugEndTests: BreakpointTests {
    let folder: TemporaryFolder
    let net: String

    init() throws {
        folder = try TemporaryFolder()
        net = freshNet()
    }

    // MARK: The end

    @Test("events go on after CLOSE until CLOSED, then the debug connection ends")
    func untilClosed() throws {
        let pair = try ConnectedMessages()
        let mine = try Debugger(pair.a, pair.clientSocket, DebugEvent.stateChange)
        let theirs = try Debugger(pair.b, pair.serverSocket, DebugEvent.stateChange)
        try pair.client.close(pair.clientSocket)
        #expect(try pair.server.receive(pair.serverSocket) == [])
        try pair.server.close(pair.serverSocket)
        #expect(try mine.finish().map(\.tcpState) == [.finWait1, .finWait2, .timeWait, .closed])
        #expect(try theirs.finish().map(\.tcpState) == [.closeWait, .lastAck, .closed])
    }

    @Test("a refused connection shows SYN_SENT and CLOSED")
    func refused() throws {
        let a = try daemon(1)
        let b = try daemon(2)
        let client = try MessageClient(a)
        let socket = try client.socket()
        let debugger = try Debugger(a, socket)
        #expect(try callError { try client.connect(socket, try b.sockaddr(9)) } == ECONNREFUSED)
        #expect(
            try debugger.finish().map(\.description) == ["state synSent", "out synSent", "in synSent", "state closed"])
    }

    @Test("a debugger that goes away counts as NONE, wherever its sockets stand")
    func vanishing() throws {
        let a = try daemon(1)
        let b = try daemon(2)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener)
        var sockets: [Int32] = []
        var numbers: [Int32] = []
        for index in 0..<3 {
            let socket = try client.socket()
            try client.send(.connect) {
                $0.connectArgs.sockfd = socket
                $0.connectArgs.addr = (try? b.sockaddr(7)) ?? Data()
            }
            sockets.append(socket)
            #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
            try debug.answer(DebugResponse.none)
            let event = try #require(try debug.event())
            numbers.append(event.newSockfd)
            if index == 2 { break }
            try debug.answer(DebugResponse.acceptMonitor)
            // SYN_RCVD, the SYN-ACK, the final ACK, ESTABLISHED.
            for _ in 0..<4 {
                _ = try debug.event()
                try debug.answer(DebugResponse.none)
            }
            #expect(try client.answer().ret == 0)
        }
        // The first two stand at the same debugger with a segment each, behind the third, which is pending.
        for (byte, socket) in zip([UInt8(1), 2], sockets) { try MessageClient(a).send(socket, [byte]) }
        for _ in 0..<20 { try client.parkedCheck(b) }
        debug.hangUp()
        #expect(try client.answer().ret == 0)
        for (byte, number) in zip([UInt8(1), 2], numbers) {
            #expect(try server.accept(listener).socket == number)
            #expect(try server.receive(number) == [byte])
        }
        #expect(try server.accept(listener).socket == numbers[2])
    }

    @Test("CLOSE and the end of the process take effect after the breakpoint", arguments: [true, false])
    func closedAtBreakpoint(_ byCall: Bool) throws {
        let net = self.net
        let a = try TestDaemon(net + ".1", in: folder)
        let b = try TestDaemon(net + ".2", in: folder)
        let client = try OtherProcess(a, in: folder)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let socket = try client.client.socket()
        try client.client.connect(socket, b.sockaddr(7))
        let accepted = try server.accept(listener).socket
        let debug = try DebugClient(a, socket, DebugEvent.incoming | DebugEvent.stateChange)
        try server.send(accepted, [1])
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        if byCall {
            try client.client.send(.close) { $0.closeArgs.sockfd = socket }
        } else {
            client.kill()
        }
        let watcher = try MessageClient(a)
        for _ in 0..<20 { try watcher.parkedCheck(a) }
        #expect(try watcher.state(socket).tcpState == TCPState.established.rawValue)
        // Dropped, so that nothing is unread and the close is in order.
        try debug.answer(DebugResponse.drop)
        #expect(try debug.event()?.eventFlag == DebugEvent.stateChange)
        #expect(try watcher.state(socket).tcpState == TCPState.finWait1.rawValue)
        try debug.answer(DebugResponse.stop)
        #expect(try debug.event() == nil)
        #expect(try callError { _ = try server.receive(accepted) } == (nil as Int32?))
    }

    // MARK: Limits

    @Test("at a breakpoint 256 segments queue up, the rest is dropped")
    func queueCount() throws {
        let watched = try watchedPeer()
        let (server, peer, socket, debug) = (watched.server, watched.peer, watched.socket, watched.debug)
        for index in 0..<300 { try peer.send([.ack, .psh], [UInt8(truncatingIfNeeded: index)]) }
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        try peer.waitUntilTaken()
        try debug.answer(DebugResponse.stop)
        try server.waitUntilReceived(socket, 1001 + 257)
        for _ in 0..<20 { try server.parkedCheck(watched.daemon) }
        #expect(try server.state(socket).rcvNxt == 1001 + 257)
    }

    @Test("at a breakpoint 1 MiB of segments queues up, the rest is dropped")
    func queueBytes() throws {
        let b = try daemon(2) { $0.host.connection.receiveBufferSize = 8 << 20 }
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let peer = try RawPeer(net + ".9", port: 4000, to: b, port: 7)
        // Without window scaling the window is 65,535 bytes: segments of the same 60,000, again and again.
        try peer.synchronize()
        try peer.send(.ack)
        let socket = try server.accept(listener).socket
        let debug = try DebugClient(b, socket, DebugEvent.incoming)
        let start = peer.next
        for _ in 0..<30 { try peer.send([.ack, .psh], pattern(60_000), at: start) }
        try peer.send([.ack, .psh], [7], at: start)
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        try peer.waitUntilTaken()
        // The first, which is asked about, and 17 that fit; the last one is small and fits as well.
        var count = 0
        repeat {
            try debug.answer(DebugResponse.drop)
            count += 1
            if count == 19 { break }
        } while try debug.event() != nil
        #expect(count == 19)
        #expect(try server.state(socket).rcvNxt == 1001)
        try peer.send([.ack, .psh], [8], at: start)
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
    }

    @Test("what is no answer to an event costs the debugger its connection, and counts as NONE", arguments: [0, 1, 2])
    func hostileDebugger(_ kind: Int) throws {
        let pair = try ConnectedMessages()
        let debug = try DebugClient(pair.b, pair.serverSocket, DebugEvent.incoming)
        var message = ChitcpdMsg()
        message.code = .resp
        message.resp.ret = 3
        message.resp.errorCode = 0
        if kind > 0 {
            try pair.client.send(pair.clientSocket, [1])
            #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
            message = ChitcpdMsg()
            message.code = kind == 1 ? .socket : .resp
            message.socketArgs.domain = AF_INET
            message.socketArgs.type = 1
            message.socketArgs.protocol = 0
        }
        try debug.send(message)
        #expect(try debug.event() == nil)
        if kind == 0 { try pair.client.send(pair.clientSocket, [1]) }
        #expect(try pair.server.receive(pair.serverSocket) == [1])
    }
}

extension MessageClient {
    /// Waits until RCV.NXT has this value.
    func waitUntilReceived(_ socket: Int32, _ next: Int32) throws {
        try waitUntil { try self.state(socket).rcvNxt == next }
    }
}

extension RawPeer {
    /// Waits until the daemon has read all that was sent: it answers a segment that fits nothing only after that.
    func waitUntilTaken() throws {
        let header = SegmentHeader(
            sourcePort: 1, destinationPort: 1, sequenceNumber: SequenceNumber(5), controlBits: .syn)
        try write(header, [])
        while try !receive().header.controlBits.contains(.rst) {}
    }
}
