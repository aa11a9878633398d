// How a daemon starts, ends, and treats what it finds and whom it serves.
import Chisocket
import ControlRecords
import Daemon
import Glibc
import NetworkLayer
import Testing

@Suite("A daemon's life", .timeLimit(.minutes(15)))
struct DaemonLifeTests {
    @Test("it leaves no file behind")
    func noFiles() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(net).1", in: folder)
        #expect(!folder.files.isEmpty)
        daemon.stop()
        #expect(folder.files == [])
    }

    @Test("a stale socket file is replaced")
    func stale() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let stale = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0)
        try bindUnix(stale, folder.path + "/\(net).1" + CHITCP_CONTROL_SUFFIX)
        Glibc.close(stale)
        let daemon = try TestDaemon("\(net).1", in: folder)
        #expect(try DaemonControl.sockets(of: daemon.path).isEmpty)
    }

    @Test("a second daemon at the same path says so and leaves the first alone")
    func second() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let first = try TestDaemon("\(net).1", in: folder)
        let error = #expect(throws: SystemError.self) {
            _ = try TestDaemon("\(net).2", in: folder) { $0.socketPath = first.path.path }
        }
        #expect(error?.description.contains("a chitcpd is running there") == true, "\(String(describing: error))")
        #expect(try DaemonControl.sockets(of: first.path).isEmpty)
    }

    @Test("a second daemon at the same address says what to choose")
    func secondAddress() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let first = try TestDaemon("\(net).1", in: folder)
        let error = #expect(throws: SystemError.self) {
            _ = try TestDaemon("\(net).1", in: folder) { $0.socketPath = folder.path + "/other" }
        }
        #expect(error?.description.contains("\(net).1:23300") == true, "\(String(describing: error))")
        _ = first
    }

    @Test(
        "a malformed record costs its sender the connection and nobody else anything", arguments: [0, 1, 583, 584, 585])
    func malformed(_ size: Int) throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(net).\(size % 200 + 1)", in: folder)
        let raw = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0)
        defer { Glibc.close(raw) }
        try connectUnix(raw, daemon.path.controlPath)
        let garbage = [UInt8](repeating: 0xA5, count: size)
        try #require(send(raw, garbage, size, Int32(MSG_NOSIGNAL)) == size)
        var answer = [UInt8](repeating: 0, count: 1024)
        #expect(recv(raw, &answer, 1024, 0) <= 0)
        #expect(try DaemonControl.sockets(of: daemon.path).isEmpty)
    }

    @Test("stopping resets connections, so that peers know")
    func stopResets() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let a = try TestDaemon("\(net).1", in: folder)
        let b = try TestDaemon("\(net).2", in: folder)
        let listener = try b.listener(port: 7)
        let client = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        b.stop()
        #expect(errnoOf { _ = try client.receive() } == ECONNRESET)
        #expect(errnoOf { _ = try server.receive() } == ECONNRESET)
    }

    @Test("sockets are listed with their numbers, lowest free first, and gone when closed")
    func list() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(net).1", in: folder)
        let first = try Chisocket(.ipv4, daemon: daemon.path)
        let second = try daemon.listener(port: 7)
        #expect(try DaemonControl.sockets(of: daemon.path).map(\.number) == [0, 1])
        #expect(try DaemonControl.sockets(of: daemon.path).map(\.stateName) == ["CLOSED", "LISTEN"])
        first.close()
        try waitUntil { try DaemonControl.sockets(of: daemon.path).map(\.number) == [1] }
        let third = try Chisocket(.ipv4, daemon: daemon.path)
        #expect(try DaemonControl.sockets(of: daemon.path).map(\.number) == [0, 1])
        _ = (second, third)
    }

    @Test("options are kept and given back, and an unknown one is ENOPROTOOPT")
    func options() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(net).1", in: folder)
        let socket = try Chisocket(.ipv4, daemon: daemon.path)
        #expect(try socket.value(of: .noDelay) == false)
        try socket.set(.noDelay, to: true)
        #expect(try socket.value(of: .noDelay))
        try socket.set(.reuseAddress, to: true)
        #expect(try socket.value(of: .reuseAddress))
        let unknown = errnoOf {
            try socket.withDescriptor { descriptor throws(ChisocketError) in
                _ = try DescriptorCalls.option(descriptor, level: Int32(IPPROTO_TCP), name: 9999, daemon: daemon.path)
            }
        }
        #expect(unknown == ENOPROTOOPT)
    }

    @Test("a port in use cannot be bound twice")
    func portTaken() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(net).1", in: folder)
        let listener = try daemon.listener(port: 7)
        let other = try Chisocket(.ipv4, daemon: daemon.path)
        #expect(errnoOf { try other.bind(to: try daemon.endpoint(7)) } == EADDRINUSE)
        _ = listener
    }

    @Test("connections that lie untaken in a listener are reset when it closes, and taken ones live")
    func closedListener() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let a = try TestDaemon("\(net).1", in: folder)
        let b = try TestDaemon("\(net).2", in: folder)
        let listener = try b.listener(port: 7)
        let taken = try a.connect(to: b, port: 7)
        let untaken = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        listener.close()
        #expect(errnoOf { _ = try untaken.receive() } == ECONNRESET)
        try server.send([42])
        #expect(try taken.receive(exactly: 1) == [42])
    }
}
