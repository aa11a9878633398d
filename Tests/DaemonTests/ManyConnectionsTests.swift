// Many connections: one after another, and at once.
import Chisocket
import Glibc
import TestSupport
import Testing

@Suite("Many connections", .timeLimit(.minutes(15)), .serialized)
struct ManyConnectionsTests {
    init() {
        // Each connection takes two descriptors of this process as a program and two as the daemons.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    @Test("2,000 connections one after another from few ports: a byte there, a byte back, closed")
    func oneAfterAnother() throws {
        let folder = try TemporaryFolder()
        // Fewer ports than connections: those in TIME-WAIT have to come free again.
        let a = try TestDaemon("127.89.21.1", in: folder) { $0.host.ephemeralPorts = 50_000...50_999 }
        let b = try TestDaemon("127.89.21.2", in: folder)
        let listener = try b.listener(port: 7)
        let serving = Background {
            for _ in 0..<2_000 {
                let server = try listener.acceptLimited()
                try server.send(try server.receive(exactly: 1))
                _ = try server.receive()
            }
        }
        for index in 0..<2_000 {
            let client = try a.connect(to: b, port: 7)
            let byte = UInt8(truncatingIfNeeded: index)
            try client.send([byte])
            try #require(try client.receive(exactly: 1) == [byte], "connection \(index)")
        }
        #expect(serving.join() == nil)
        listener.close()
        try waitUntil { try DaemonControl.sockets(of: a.path).isEmpty }
        try waitUntil { try DaemonControl.sockets(of: b.path).isEmpty }
    }

    @Test("1,000 connections at once wait in a backlog of 1,024, and each then carries its own bytes")
    func atOnce() throws {
        let folder = try TemporaryFolder()
        let a = try TestDaemon("127.89.22.1", in: folder)
        let b = try TestDaemon("127.89.22.2", in: folder)
        let listener = try b.listener(port: 7, backlog: 1024)
        var clients: [Chisocket] = []
        for _ in 0..<1_000 { clients.append(try a.connect(to: b, port: 7)) }
        for (index, client) in clients.enumerated() { try client.send([UInt8(index >> 8), UInt8(index & 0xFF)]) }
        var servers: [Chisocket] = []
        var seen = Set<Int>()
        for _ in 0..<1_000 {
            let server = try listener.acceptLimited()
            let name = try server.receive(exactly: 2)
            seen.insert(Int(name[0]) << 8 | Int(name[1]))
            try server.send(name + [0xFF])
            servers.append(server)
        }
        #expect(seen == Set(0..<1_000))
        for (index, client) in clients.enumerated() {
            try #require(try client.receive(exactly: 3) == [UInt8(index >> 8), UInt8(index & 0xFF), 0xFF])
        }
        // All are idle now; the first and the last still work, and all go when their programs close them.
        for index in [0, 999] {
            try servers[index].send([7])
        }
        let states = try DaemonControl.sockets(of: b.path).map(\.stateName)
        #expect(states.filter { $0 == "ESTABLISHED" }.count == 1_000)
        servers = []
        clients = []
        listener.close()
        try waitUntil { try DaemonControl.sockets(of: a.path).isEmpty }
        try waitUntil { try DaemonControl.sockets(of: b.path).isEmpty }
    }
}
