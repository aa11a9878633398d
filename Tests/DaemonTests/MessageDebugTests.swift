// Breakpoints over chiTCP's protocol: which events come in which order with which state, and what each response does.
import Daemon
import DaemonProtocol
import FoundationEssentials
import Glibc
import NetworkLayer
import Synchronization
import TCPSegments
import Testing

@Suite("Breakpoints", .timeLimit(.minutes(15)))
struct MessageDebugTests: BreakpointTests {
    let folder: TemporaryFolder
    let net: String

    init() throws {
        folder = try TemporaryFolder()
        net = freshNet()
    }

    // MARK: Beginning

    @Test("INIT of a debug connection that cannot be is -5 with EBADF, EAGAIN or EINVAL, and ends the connection")
    func cannotBegin() throws {
        let a = try daemon(1)
        let client = try MessageClient(a)
        let socket = try client.socket()
        let debug = try DebugClient(a, socket)
        func greet(_ fill: (inout ChitcpdMsg) -> Void) throws -> ChitcpdResp {
            let connection = try MessageClient(a, greets: false)
            let answer = try connection.call(.init_, fill)
            #expect(try connection.receive() == nil)
            return answer
        }
        let unknown = try greet {
            $0.initArgs.connectionType = .debugConnection
            $0.initArgs.debug.sockfd = 7
            $0.initArgs.debug.eventFlags = 1
        }
        #expect(unknown.ret == -5 && unknown.errorCode == EBADF)
        let taken = try greet {
            $0.initArgs.connectionType = .debugConnection
            $0.initArgs.debug.sockfd = socket
            $0.initArgs.debug.eventFlags = 1
        }
        #expect(taken.ret == -5 && taken.errorCode == EAGAIN)
        let empty = try greet { $0.initArgs.connectionType = .debugConnection }
        #expect(empty.ret == -5 && empty.errorCode == EINVAL)
        debug.hangUp()
        try waitUntil {
            let connection = try MessageClient(a, greets: false)
            return try DebugClient.greet(connection, socket, DebugEvent.all).ret == 0
        }
    }

    // MARK: Events

    @Test("a handshake shows each event in order, with the variables of RFC 9293 as of that event")
    func handshake() throws {
        let a = try daemon(1)
        let b = try daemon(2)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let socket = try client.socket()
        let serverSide = try Debugger(b, listener)
        let clientSide = try Debugger(a, socket)
        try client.connect(socket, b.sockaddr(7))
        let accepted = try server.accept(listener).socket
        try waitUntil { serverSide.events.count == 6 && clientSide.events.count == 5 }
        let mine = clientSide.events
        #expect(
            mine.map(\.description) == [
                "state synSent", "out synSent", "in synSent", "state established", "out established",
            ])
        for event in mine[..<3] {
            #expect(event.una == 0 && event.next == 1)
            #expect(event.state.rcvWnd == 65_535)
        }
        for event in mine[3...] { #expect(event.una == 1 && event.next == 1 && event.receiveNext == 1) }
        let theirs = serverSide.events
        #expect(
            theirs.map(\.description) == [
                "in listen", "pending \(accepted)", "state synReceived", "out synReceived", "in synReceived",
                "state established",
            ])
        #expect(theirs.map(\.socket) == [listener, listener, accepted, accepted, accepted, accepted])
        for event in theirs[2...] { #expect(event.una == 0 && event.next == 1 && event.receiveNext == 1) }
        #expect(theirs[2].state.irs == mine[0].state.iss)
        #expect(theirs[5].state.sndWnd > 0)
        #expect(try server.state(accepted).sndUna == theirs[5].state.iss &+ 1)
    }

    @Test("one segment with ACK, data and FIN shows its events in causal order, each with the state at that instant")
    func oneSegment() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let other = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener)
        let peer = try RawPeer(net + ".9", port: 4000, to: b, port: 7)
        try peer.send(.syn)
        let arriving = try #require(try debug.event())
        #expect(arriving.sockfd == listener && arriving.eventFlag == DebugEvent.incoming && !arriving.isActive)
        try debug.answer(DebugResponse.none)
        let pending = try #require(try debug.event())
        #expect(pending.sockfd == listener && pending.eventFlag == DebugEvent.pending)
        let new = pending.newSockfd
        #expect(try other.state(new).tcpState == TCPState.closed.rawValue)
        try debug.answer(DebugResponse.acceptMonitor)
        for flag in [DebugEvent.stateChange, DebugEvent.outgoing] {
            #expect(try debug.event()?.eventFlag == flag)
            try debug.answer(DebugResponse.none)
        }
        peer.expected = try peer.receive().header.sequenceNumber + 1
        try server.send(.accept) { $0.acceptArgs.sockfd = listener }
        try peer.send([.ack, .psh, .fin], [1, 2, 3, 4, 5])

        func stand(_ flag: Int32, _ state: TCPState, una: Int32, received: Int32, unread: [UInt8]) throws {
            let event = try #require(try debug.event())
            #expect(event.sockfd == new && event.eventFlag == flag)
            let seen = try other.state(new)
            #expect(seen.tcpState == state.rawValue)
            #expect(seen.sndUna &- seen.iss == una, "SND.UNA at \(state)")
            #expect(seen.sndNxt &- seen.iss == 1, "SND.NXT at \(state)")
            #expect(UInt32(bitPattern: seen.irs) == 1000)
            #expect(seen.rcvNxt &- seen.irs == received, "RCV.NXT at \(state)")
            #expect(try other.buffers(new).rcv == Data(unread))
            try debug.answer(DebugResponse.none)
        }
        try stand(DebugEvent.incoming, .synReceived, una: 0, received: 1, unread: [])
        try stand(DebugEvent.stateChange, .established, una: 0, received: 1, unread: [])
        try stand(DebugEvent.stateChange, .closeWait, una: 1, received: 7, unread: [1, 2, 3, 4, 5])
        try stand(DebugEvent.outgoing, .closeWait, una: 1, received: 7, unread: [1, 2, 3, 4, 5])
        let answer = try peer.receive().header
        #expect(answer.controlBits == .ack && answer.acknowledgmentNumber == SequenceNumber(1007))
        #expect(try server.answer().ret == new)
        #expect(try server.receiveAll(new) == [1, 2, 3, 4, 5])
    }

    @Test("calls and waits see a state only after the debugger has answered its event")
    func callsWait() throws {
        let a = try daemon(1)
        let b = try daemon(2)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let socket = try client.socket()
        let debug = try DebugClient(a, socket, DebugEvent.stateChange)
        try client.send(.connect) {
            $0.connectArgs.sockfd = socket
            $0.connectArgs.addr = (try? b.sockaddr(7)) ?? Data()
        }
        let waiter = try MessageClient(a)
        #expect(try debug.event()?.eventFlag == DebugEvent.stateChange)
        try waiter.send(.waitForState) {
            $0.waitForStateArgs.sockfd = socket
            $0.waitForStateArgs.tcpState = TCPState.established.rawValue
        }
        for _ in 0..<20 { try client.parkedCheck(a) }
        #expect(!waiter.hasAnswer)
        try debug.answer(DebugResponse.none)
        // It stands at ESTABLISHED: a new inquiry sees that, who waited before does not yet.
        #expect(try debug.event()?.eventFlag == DebugEvent.stateChange)
        try MessageClient(a).wait(socket, for: .established)
        for _ in 0..<20 { try client.parkedCheck(a) }
        #expect(!client.hasAnswer && !waiter.hasAnswer)
        try debug.answer(DebugResponse.stop)
        #expect(try client.answer().ret == 0)
        #expect(try waiter.answer().ret == 0)
        _ = try server.accept(listener)
    }

    @Test("SEND and RECV at a breakpoint wait for its end")
    func dataCallsWait() throws {
        let pair = try ConnectedMessages { $0.host.connection.noDelay = true }
        try pair.client.send(pair.clientSocket, [1])
        try waitUntil { try pair.server.buffers(pair.serverSocket).rcv == Data([1]) }
        let debug = try DebugClient(pair.b, pair.serverSocket, DebugEvent.incoming)
        try pair.client.send(pair.clientSocket, [2])
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        let reader = try MessageClient(pair.b)
        let writer = try MessageClient(pair.b)
        try reader.send(.recv) {
            $0.recvArgs.sockfd = pair.serverSocket
            $0.recvArgs.flags = 0
            $0.recvArgs.len = 10
        }
        try writer.send(.send) {
            $0.sendArgs.sockfd = pair.serverSocket
            $0.sendArgs.flags = 0
            $0.sendArgs.buf = Data([9])
        }
        for _ in 0..<20 { try pair.server.parkedCheck(pair.b) }
        #expect(!reader.hasAnswer && !writer.hasAnswer)
        #expect(try pair.server.buffers(pair.serverSocket).rcv == Data([1]))
        try debug.answer(DebugResponse.stop)
        #expect(try reader.answer().buf == Data([1, 2]))
        #expect(try writer.answer().ret == 1)
        #expect(try pair.client.receive(pair.clientSocket) == [9])
    }

    @Test("only the connection at a breakpoint waits")
    func othersGoOn() throws {
        let a = try daemon(1)
        let b = try daemon(2)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        var pairs: [(Int32, Int32)] = []
        for _ in 0..<2 {
            let socket = try client.socket()
            try client.connect(socket, b.sockaddr(7))
            pairs.append((socket, try server.accept(listener).socket))
        }
        let debug = try DebugClient(b, pairs[0].1, DebugEvent.incoming)
        try client.send(pairs[0].0, [1])
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        // Over the same link, between the same hosts.
        try client.send(pairs[1].0, [2])
        #expect(try server.receive(pairs[1].1) == [2])
        try client.close(pairs[1].0)
        #expect(try server.receive(pairs[1].1) == [])
        #expect(try server.buffers(pairs[0].1).rcv == Data())
        try debug.answer(DebugResponse.stop)
        #expect(try server.receive(pairs[0].1) == [1])
    }

    @Test("a connection without a debugger on its listener has a number only when it is established")
    func numberAtEstablished() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let peer = try RawPeer(net + ".9", port: 4000, to: b, port: 7)
        try peer.synchronize()
        #expect(try callError { _ = try server.state(listener + 1) } == EBADF)
        try peer.send(.ack)
        #expect(try server.accept(listener).socket == listener + 1)
    }

    // MARK: Pending connections

    @Test(
        "a pending connection without ACCEPT_MONITOR has its number, and no breakpoints",
        arguments: [0, 3, 4, 5, 6, 99, -1])
    func pendingPlain(_ response: Int32) throws {
        let a = try daemon(1)
        let b = try daemon(2)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener, DebugEvent.pending)
        for _ in 0..<2 {
            let socket = try client.socket()
            try client.send(.connect) {
                $0.connectArgs.sockfd = socket
                $0.connectArgs.addr = (try? b.sockaddr(7)) ?? Data()
            }
            let event = try #require(try debug.event())
            #expect(event.eventFlag == DebugEvent.pending)
            try debug.answer(response)
            #expect(try client.answer().ret == 0)
            #expect(try server.accept(listener).socket == event.newSockfd)
            try client.send(socket, [1])
            #expect(try server.receive(event.newSockfd) == [1])
        }
    }

    @Test("STOP at a pending connection removes the listener's breakpoints and lets all its connections in")
    func pendingStop() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener, DebugEvent.pending)
        let peers = try (0..<3).map { try RawPeer("\(net).\(9 + $0)", port: 4000, to: b, port: 7) }
        for peer in peers { try peer.send(.syn) }
        #expect(try debug.event()?.eventFlag == DebugEvent.pending)
        try debug.answer(DebugResponse.stop)
        for peer in peers {
            peer.expected = try peer.receive().header.sequenceNumber + 1
            try peer.send(.ack)
        }
        for _ in peers { _ = try server.accept(listener) }
        #expect(try debug.event() == nil)
    }

    @Test("a listener closed while a connection is pending forgets it")
    func pendingClosed() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener, DebugEvent.pending)
        let peer = try RawPeer(net + ".9", port: 4000, to: b, port: 7)
        try peer.send(.syn)
        let new = try #require(try debug.event()).newSockfd
        try server.close(listener)
        #expect(try callError { _ = try server.state(new) } == EBADF)
        try debug.answer(DebugResponse.acceptMonitor)
        #expect(try debug.event() == nil)
        try peer.send(.syn, [], at: SequenceNumber(1000))
        #expect(try peer.receive().header.controlBits.contains(.rst))
    }

    @Test("a half-open connection that is reset gives its number back")
    func halfOpenReset() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debugger = try Debugger(b, listener)
        let peer = try RawPeer(net + ".9", port: 4000, to: b, port: 7)
        try peer.synchronize()
        try peer.send(.rst)
        try waitUntil { try callError { _ = try server.state(listener + 1) } == EBADF }
        #expect(
            debugger.events.map(\.description) == [
                "in listen", "pending \(listener + 1)", "state synReceived", "out synReceived", "in synReceived",
                "state closed",
            ])
        #expect(try server.socket() == listener + 1)
    }

    // MARK: Segments for a listener

    @Test("a SYN that is dropped at a listening socket comes again", arguments: [1, 2])
    func dropAtListener(_ count: Int) throws {
        let a = try daemon(1) { $0.host.connection.initialRTO = .milliseconds(200) }
        let b = try daemon(2)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try Debugger(b, listener, DebugEvent.incoming) { [drops = Countdown(count)] _ in
            drops.next() ? DebugResponse.drop : DebugResponse.none
        }
        let socket = try client.socket()
        try client.connect(socket, b.sockaddr(7))
        _ = try server.accept(listener)
        #expect(debug.events.map(\.description) == Array(repeating: "in listen", count: count + 1))
    }

    @Test("segments withheld at a listening socket come when they are drawn; a duplicate is handled twice")
    func withholdAtListener() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener, DebugEvent.incoming)
        let peers = try (0..<3).map { try RawPeer("\(net).\(9 + $0)", port: 4000, to: b, port: 7) }
        let responses = [DebugResponse.withhold, DebugResponse.duplicate, DebugResponse.drawWithheld]
        for (peer, response) in zip(peers, responses) {
            try peer.send(.syn)
            let event = try #require(try debug.event())
            #expect(event.sockfd == listener && event.eventFlag == DebugEvent.incoming && !event.isActive)
            try debug.answer(response)
        }
        // The third was delivered, and with it the first was drawn. The copy of the second is still kept.
        for peer in peers { #expect(try peer.receive().header.controlBits == [.syn, .ack]) }
        let last = try RawPeer(net + ".20", port: 4000, to: b, port: 7)
        try last.send(.syn)
        _ = try #require(try debug.event())
        try debug.answer(DebugResponse.drawWithheld)
        #expect(try last.receive().header.controlBits == [.syn, .ack])
        // The copy is the SYN again: the SYN-ACK is repeated.
        #expect(try peers[1].receive().header.controlBits == [.syn, .ack])
    }

    @Test("a listening socket closed while a segment stands at it answers the segment as nobody")
    func closedAtListener() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener, DebugEvent.incoming)
        let peer = try RawPeer(net + ".9", port: 4000, to: b, port: 7)
        try peer.send(.syn)
        _ = try #require(try debug.event())
        try server.close(listener)
        try debug.answer(DebugResponse.none)
        #expect(try debug.event() == nil)
        #expect(try peer.receive().header.controlBits.contains(.rst))
    }

    @Test("what a sender repeats while its SYN stands at a listening socket is lost and counted")
    func repeatedAtListener() throws {
        let b = try daemon(2)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let debug = try DebugClient(b, listener, DebugEvent.incoming)
        let peer = try RawPeer(net + ".9", port: 4000, to: b, port: 7)
        try peer.send(.syn)
        _ = try #require(try debug.event())
        try peer.send(.syn, [], at: SequenceNumber(1000))
        // Another one's SYN comes after it, or the answer could be first.
        let other = try RawPeer(net + ".10", port: 4000, to: b, port: 7)
        try other.send(.syn)
        try debug.answer(DebugResponse.none)
        #expect(try peer.receive().header.controlBits == [.syn, .ack])
        _ = try #require(try debug.event())
        try debug.answer(DebugResponse.stop)
        #expect(try other.receive().header.controlBits == [.syn, .ack])
        // No second SYN-ACK: what comes next is the answer to this.
        try peer.send(.ack, [], at: SequenceNumber(500_000))
        #expect(try peer.receive().header.controlBits == .ack)
    }

    // MARK: Responses

    @Test("a dropped segment is lost and comes again", arguments: [DebugEvent.incoming, DebugEvent.outgoing])
    func drop(_ event: Int32) throws {
        let pair = try ConnectedMessages { $0.host.connection.noDelay = true }
        let drops = Countdown(1)
        let (watched, number) = event == DebugEvent.incoming ? (pair.b, pair.serverSocket) : (pair.a, pair.clientSocket)
        let debugger = try Debugger(watched, number, event) { _ in
            drops.next() ? DebugResponse.drop : DebugResponse.none
        }
        try pair.client.send(pair.clientSocket, [1, 2, 3])
        #expect(try pair.server.receive(pair.serverSocket) == [1, 2, 3])
        #expect(debugger.events.count >= 2)
    }

    @Test("a withheld segment comes when it is drawn, after the one at which it is drawn")
    func withhold() throws {
        let watched = try watchedPeer()
        let (server, peer, socket, debug) = (watched.server, watched.peer, watched.socket, watched.debug)
        // Three segments of two bytes; the first two are withheld.
        for byte: UInt8 in [1, 2, 3] { try peer.send([.ack, .psh], [byte, byte]) }
        for response in [DebugResponse.withhold, DebugResponse.withhold, DebugResponse.drawWithheld] {
            #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
            #expect(try server.state(socket).rcvNxt == 1001)
            try debug.answer(response)
        }
        try server.waitUntilReceived(socket, 1003)
        #expect(try server.buffers(socket).rcv == Data([1, 1]))
        // Drawing goes on with the oldest that is left.
        try peer.send([.ack, .psh], [4, 4])
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        try debug.answer(DebugResponse.drawWithheld)
        #expect(try server.receive(socket, exactly: 8) == [1, 1, 2, 2, 3, 3, 4, 4])
        // Nothing is left to draw: the segment alone.
        try peer.send([.ack, .psh], [5])
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        try debug.answer(DebugResponse.drawWithheld)
        #expect(try server.receive(socket) == [5])
    }

    @Test("a duplicated segment is delivered, and its copy again when it is drawn")
    func duplicate() throws {
        let watched = try watchedPeer()
        let (server, peer, socket, debug) = (watched.server, watched.peer, watched.socket, watched.debug)
        for (byte, response) in [(UInt8(1), DebugResponse.duplicate), (2, DebugResponse.drawWithheld)] {
            try peer.send([.ack, .psh], [byte])
            #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
            try debug.answer(response)
        }
        #expect(try server.receive(socket, exactly: 2) == [1, 2])
        // ACKs of the first, the second, and of the copy, which is acknowledged as a duplicate.
        let acks = try (0..<3).map { _ in try peer.receive().header.acknowledgmentNumber }
        #expect(acks == [SequenceNumber(1002), SequenceNumber(1003), SequenceNumber(1003)])
    }

    @Test(
        "a response that does not fit its event lets it pass",
        arguments: [
            (DebugEvent.stateChange, [2, 3, 4, 5, 6, 7, -1, Int32.min]), (DebugEvent.incoming, [2, 7, -1, Int32.max]),
            (DebugEvent.outgoing, [2, 4, 5, 6, 7, -1]),
        ])
    func unfitting(_ event: Int32, _ responses: [Int32]) throws {
        for response in responses {
            let pair = try ConnectedMessages()
            let debugger = try Debugger(pair.b, pair.serverSocket, event) { _ in response }
            try pair.client.send(pair.clientSocket, [1])
            #expect(try pair.server.receive(pair.serverSocket) == [1])
            try pair.client.close(pair.clientSocket)
            #expect(try pair.server.receive(pair.serverSocket) == [])
            try pair.server.close(pair.serverSocket)
            #expect(try debugger.finish().isEmpty == false)
        }
    }

    @Test("STOP removes the breakpoints, ends the debug connection, and another debugger may begin")
    func stop() throws {
        let pair = try ConnectedMessages()
        let first = try Debugger(pair.b, pair.serverSocket) { _ in DebugResponse.stop }
        try pair.client.send(pair.clientSocket, [1])
        #expect(try pair.server.receive(pair.serverSocket) == [1])
        #expect(try first.finish().map(\.description) == ["in established"])
        let second = try DebugClient(pair.b, pair.serverSocket, DebugEvent.incoming)
        try pair.client.send(pair.clientSocket, [2])
        #expect(try second.event()?.eventFlag == DebugEvent.incoming)
    }
}

/// True as often as it was told.
final class Countdown: Sendable {
    private let left: Mutex<Int>

    init(_ count: Int) { left = Mutex(count) }

    func next() -> Bool {
        left.withLock { left in
            left -= 1
            return left >= 0
        }
    }
}
