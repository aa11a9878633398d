// The chisocket calls that tasks await, over two daemons.
import CLinux
import Chisocket
import Glibc
import Synchronization
import TestSupport
import Testing

/// The errno with which `body` fails, nil if it does not.
func errnoOf(isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Void) async -> Int32? {
    do {
        try await body()
        return nil
    } catch { return (error as? ChisocketError)?.errno ?? -1 }
}

@Suite("Tasks", .timeLimit(.minutes(15)))
struct TaskTests {
    @Test("a hundred tasks exchange data with a server of tasks, both ways at once; every byte arrives")
    func manyConnections() async throws {
        let hosts = try TwoHosts()
        let listener = try await Chisocket.listening(on: hosts.b.endpoint(7), backlog: 200, daemon: hosts.b.path)
        let server = Task {
            try await withThrowingDiscardingTaskGroup { group in
                for try await connection in listener.connections {
                    group.addTask {
                        for try await piece in connection.pieces() { try await connection.send(piece) }
                        connection.close()
                    }
                }
            }
        }
        let address = try hosts.b.endpoint(7)
        let path = hosts.a.path
        try await withThrowingTaskGroup { group in
            for number in 0..<100 {
                group.addTask {
                    let client = try await Chisocket(daemon: path)
                    try await client.connect(to: address)
                    #expect(try client.remoteAddress == address)
                    let sent = pattern(50_000 + number)
                    async let writing: Void = {
                        try await client.send(sent)
                        try await client.shutdown(.sending)
                    }()
                    var back: [UInt8] = []
                    for try await piece in client.pieces() { back += piece }
                    try await writing
                    #expect(back.elementsEqual(sent))
                }
            }
            try await group.waitForAll()
        }
        // The loop of the server ends when its listener is closed.
        listener.close()
        try await server.value
    }

    @Test("options have types, and tasks set them without blocking")
    func options() async throws {
        let hosts = try TwoHosts()
        let socket = try await Chisocket(daemon: hosts.a.path)
        #expect(try await socket.value(of: .noDelay) == false)
        try await socket.set(.noDelay, to: true)
        #expect(try await socket.value(of: .noDelay))
        try await socket.set(.keepAliveIdle, to: .seconds(30))
        #expect(try await socket.value(of: .keepAliveIdle) == .seconds(30))
        try await socket.set(.userTimeout, to: .milliseconds(1500))
        #expect(try await socket.value(of: .userTimeout) == .milliseconds(1500))
        try await socket.set(.linger, to: .seconds(0))
        #expect(try await socket.value(of: .linger) == .seconds(0))
        try await socket.set(.linger, to: nil)
        #expect(try await socket.value(of: .linger) == nil)
        try await socket.set(.congestionControl, to: "bbr")
        #expect(try await socket.value(of: .congestionControl) == "bbr")
        try await socket.set(.receiveBuffer, to: 100_000)
        #expect(try await socket.value(of: .receiveBuffer) == 200_000)
        #expect(await errnoOf { try await socket.set(.congestionControl, to: "none") } == ENOENT)
    }

    @Test("connect, bind and the data calls fail with the errno that says why")
    func errors() async throws {
        let hosts = try TwoHosts()
        let socket = try await Chisocket(daemon: hosts.a.path)
        #expect(await errnoOf { try await socket.send([1]) } == ENOTCONN)
        #expect(await errnoOf { _ = try await socket.accept() } == EINVAL)
        #expect(await errnoOf { try await socket.connect(to: hosts.b.endpoint(9)) } == ECONNREFUSED)
        let listener = try await Chisocket.listening(on: hosts.b.endpoint(7), daemon: hosts.b.path)
        #expect(
            await errnoOf { _ = try await Chisocket.listening(on: hosts.b.endpoint(7), daemon: hosts.b.path) }
                == EADDRINUSE)
        // Who was refused may try again.
        try await socket.connect(to: hosts.b.endpoint(7))
        #expect(await errnoOf { try await socket.connect(to: hosts.b.endpoint(7)) } == EISCONN)
        listener.close()
        #expect(await errnoOf { _ = try await listener.accept() } == EBADF)
        let nowhere = DaemonPath(hosts.a.path.path + ".none")
        do {
            _ = try await Chisocket(daemon: nowhere)
            Issue.record("there is no daemon at \(nowhere)")
        } catch let error as ChisocketError { #expect(error.isDaemonMissing) }
    }

    @Test("a reset ends a task's read with ECONNRESET, after what came before it")
    func reset() async throws {
        let hosts = try TwoHosts()
        let listener = try await Chisocket.listening(on: hosts.b.endpoint(7), daemon: hosts.b.path)
        async let accepting = listener.accept()
        let client = try await Chisocket.connect(to: hosts.b.address, port: 7, daemon: hosts.a.path)
        let server = try await accepting
        try await server.send([1, 2, 3])
        #expect(try await client.receive() == [1, 2, 3])
        async let reading = client.receive()
        try await server.abort()
        do {
            _ = try await reading
            Issue.record("the read was to fail")
        } catch let error as ChisocketError { #expect(error.errno == ECONNRESET) }
    }

    @Test("a task that waits in receive, send, accept or connect ends when it is cancelled")
    func cancellation() async throws {
        let hosts = try TwoHosts()
        let listener = try await Chisocket.listening(on: hosts.b.endpoint(7), daemon: hosts.b.path)
        async let accepting = listener.accept()
        let client = try await Chisocket.connect(to: hosts.b.address, port: 7, daemon: hosts.a.path)
        let server = try await accepting

        let reading = Task { try await client.receive() }
        let writing = Task { while true { try await client.send(pattern(100_000)) } }
        let waiting = Task { try await listener.accept() }
        // Nobody reads: the writer has to stop before the bytes do.
        try await eventually { try DaemonControl.sockets(of: hosts.b.path).contains { $0.record.rcv_wnd == 0 } }
        for task in [reading.cancel, writing.cancel, waiting.cancel] { task() }
        await #expect(throws: CancellationError.self) { try await reading.value }
        await #expect(throws: CancellationError.self) { try await writing.value }
        await #expect(throws: CancellationError.self) { try await waiting.value }

        // The connection is as it was: a read begun later gets what comes.
        try await server.send([7])
        #expect(try await client.receive() == [7])

        // 127.x.y.29 has no daemon that answers, but a listener of the kernel's that never does.
        let silent = try SilentListener(hosts.b.address + "9")
        let nobody = try #require(ChisocketAddress(silent.address, port: 7))
        let path = hosts.a.path
        let connecting = Task {
            let socket = try await Chisocket(daemon: path)
            try await socket.connect(to: nobody)
        }
        try await eventually {
            try DaemonControl.sockets(of: hosts.a.path).contains { $0.stateName == "SYN_SENT" }
        }
        connecting.cancel()
        await #expect(throws: CancellationError.self) { try await connecting.value }
        try await eventually {
            try !DaemonControl.sockets(of: hosts.a.path).contains { $0.stateName == "SYN_SENT" }
        }
    }

    @Test("cancelling the task of an accept loop closes the listener, and peers are refused")
    func cancelledLoop() async throws {
        let hosts = try TwoHosts()
        let listener = try await Chisocket.listening(on: hosts.b.endpoint(7), daemon: hosts.b.path)
        let served = Atomic<Int>(0)
        let loop = Task {
            for try await connection in listener.connections {
                try await connection.send([1])
                served.add(1, ordering: .relaxed)
            }
        }
        let first = try await Chisocket.connect(to: hosts.b.address, port: 7, daemon: hosts.a.path)
        #expect(try await first.receive() == [1])
        loop.cancel()
        try await loop.value
        #expect(served.load(ordering: .relaxed) == 1)
        try await eventually {
            await errnoOf {
                _ = try await Chisocket.connect(to: hosts.b.address, port: 7, daemon: hosts.a.path)
            } == ECONNREFUSED
        }
    }

    @Test("closing a chisocket ends the tasks that wait in it with EBADF")
    func closing() async throws {
        let hosts = try TwoHosts()
        let listener = try await Chisocket.listening(on: hosts.b.endpoint(7), daemon: hosts.b.path)
        async let accepting = listener.accept()
        let client = try await Chisocket.connect(to: hosts.b.address, port: 7, daemon: hosts.a.path)
        let server = try await accepting
        let reading = Task { await errnoOf { _ = try await client.receive() } }
        let waiting = Task { await errnoOf { _ = try await listener.accept() } }
        await Task.yield()
        client.close()
        listener.close()
        #expect(await reading.value == EBADF)
        #expect(await waiting.value == EBADF)
        #expect(try await server.receive().isEmpty)
    }

    @Test("the sequence of connections also serves threads, and ends with its listener")
    func blockingSequence() throws {
        let hosts = try TwoHosts()
        let listener = try hosts.b.listener(port: 7)
        let server = Background {
            for connection in listener.connections.prefix(3) {
                try connection.send(try connection.receive())
                connection.close()
            }
            for _ in listener.connections { Issue.record("nobody else connects") }
        }
        for number in 0..<3 {
            let client = try hosts.a.connect(to: hosts.b, port: 7)
            try client.send([UInt8(number)])
            #expect(try client.receiveAll() == [UInt8(number)])
        }
        listener.close()
        #expect(server.join() == nil)
    }

    @Test("a daemon that goes away ends its tasks, and one that comes back at the same place is used again")
    func daemonComesBack() async throws {
        let folder = try TemporaryFolder()
        let net = freshNet()
        var daemon = try TestDaemon("\(net).1", in: folder)
        let path = daemon.path
        let listener = try await Chisocket.listening(on: daemon.endpoint(7), daemon: path)
        let waiting = Task { try await listener.accept() }
        await Task.yield()
        daemon.stop()
        await #expect(throws: ChisocketError.self) { _ = try await waiting.value }
        daemon = try TestDaemon("\(net).1", in: folder)
        let again = try await Chisocket.listening(on: daemon.endpoint(7), daemon: path)
        #expect(try await again.value(of: .reuseAddress))
        // A chisocket of the daemon before is nobody's.
        #expect(await errnoOf { try await listener.set(.noDelay, to: true) } == ECONNRESET)
    }
}

/// A listener of the kernel's on the port of daemons that takes connections and never says anything.
final class SilentListener {
    let address: String
    private let descriptor: Int32

    init(_ address: String) throws {
        self.address = address
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let result = try #require(ChisocketAddress(address, port: 23300)).withSockaddr { bind(descriptor, $0, $1) }
        try #require(result == 0 && listen(descriptor, 1) == 0)
    }

    deinit { close(descriptor) }
}

/// Asks again until it holds. The limit is long: tasks share their threads with whatever tests run beside.
func eventually(
    isolation: isolated (any Actor)? = #isolation, _ condition: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + .seconds(300)
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(1))
    }
    Issue.record("the condition never held")
}
