// Breakpoints of sockets that are descriptors: the debugger names them by the daemon's number.
import Chisocket
import DaemonProtocol
import Glibc
import Testing

@Suite("Breakpoints of descriptor sockets", .timeLimit(.minutes(15)))
struct DescriptorDebugTests {
    let folder: TemporaryFolder
    let a: TestDaemon
    let b: TestDaemon

    init() throws {
        folder = try TemporaryFolder()
        let net = freshNet()
        a = try TestDaemon(net + ".1", in: folder)
        b = try TestDaemon(net + ".2", in: folder)
    }

    /// The number under which a daemon lists its only socket in this state.
    private func number(_ daemon: TestDaemon, _ state: String) throws -> Int32 {
        let all = try DaemonControl.sockets(of: daemon.path).filter { $0.stateName == state }
        try #require(all.count == 1)
        return Int32(all[0].number)
    }

    @Test("a listener's debugger follows its connections from the SYN to CLOSED")
    func follows() throws {
        let listener = try b.listener(port: 7)
        let listening = try number(b, "LISTEN")
        let debugger = try Debugger(b, listening)
        let client = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        let accepted = try number(b, "ESTABLISHED")
        try client.send([1, 2, 3])
        #expect(try server.receive(exactly: 3) == [1, 2, 3])
        client.close()
        #expect(try server.receive() == [])
        server.close()
        listener.close()
        let events = try debugger.finish()
        #expect(events.prefix(2).map(\.description) == ["in listen", "pending \(accepted)"])
        #expect(events.dropFirst(2).allSatisfy { $0.socket == accepted })
        let states = events.filter { $0.flag == DebugEvent.stateChange }.map(\.tcpState)
        #expect(states == [.synReceived, .established, .closeWait, .lastAck, .closed])
        let reader = try MessageClient(b)
        #expect(try callError { _ = try reader.state(accepted) } == EBADF)
    }

    @Test("a connecting descriptor socket shows SYN_SENT first")
    func connecting() throws {
        let listener = try b.listener(port: 7)
        let socket = try Chisocket(.ipv4, daemon: a.path)
        try socket.limitWaiting()
        let debugger = try Debugger(a, try number(a, "CLOSED"), DebugEvent.stateChange)
        try socket.connect(to: b.endpoint(7))
        let server = try listener.acceptLimited()
        socket.close()
        #expect(try server.receive() == [])
        server.close()
        #expect(
            try debugger.finish().map(\.tcpState) == [
                .synSent, .established, .finWait1, .finWait2, .timeWait, .closed,
            ])
    }

    @Test("at a breakpoint the descriptor neither gives nor takes for the connection")
    func stands() throws {
        let listener = try b.listener(port: 7)
        let client = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        let watcher = try MessageClient(b)
        let accepted = try number(b, "ESTABLISHED")
        let debug = try DebugClient(b, accepted, DebugEvent.incoming)
        try client.send([1, 2, 3])
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        try server.send([9])
        for _ in 0..<20 { try watcher.parkedCheck(b) }
        var byte: UInt8 = 0
        let read = try server.withDescriptor { descriptor throws(ChisocketError) in
            recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT))
        }
        #expect(read == -1)
        #expect(try watcher.buffers(accepted).snd.isEmpty)
        try debug.answer(DebugResponse.stop)
        #expect(try server.receive(exactly: 3) == [1, 2, 3])
        #expect(try client.receive(exactly: 1) == [9])
    }

    @Test("a descriptor closed at a breakpoint is closed after it")
    func closedAtBreakpoint() throws {
        let listener = try b.listener(port: 7)
        let client = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        let watcher = try MessageClient(b)
        let accepted = try number(b, "ESTABLISHED")
        let debug = try DebugClient(b, accepted, DebugEvent.incoming)
        try client.send([1, 2, 3])
        #expect(try debug.event()?.eventFlag == DebugEvent.incoming)
        try server.send([7, 8])
        server.close()
        for _ in 0..<20 { try watcher.parkedCheck(b) }
        #expect(try watcher.state(accepted).tcpState == TCPState.established.rawValue)
        // The segment is lost at this end, which closes before it comes again.
        try debug.answer(DebugResponse.drop)
        debug.hangUp()
        #expect(try client.receive(exactly: 2) == [7, 8])
        try waitUntil { try callError { _ = try watcher.state(accepted) } == EBADF }
    }
}
