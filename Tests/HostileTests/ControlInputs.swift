// Hostile input on the control socket: records of the wrong size and content, and descriptors that do not belong.
import CLinux
import ControlRecords
import Glibc
import Impairments
import TCPSegments
import TestSupport

extension HostileInput {
    static let control: [HostileInput] =
        malformedRecords + senselessRequests + foreignDescriptors + silentClients + captures

    private static func record(_ change: (inout chitcp_request) -> Void) -> [UInt8] {
        var request = chitcp_request()
        request.magic = CHITCP_CONTROL_MAGIC
        request.operation = CHITCP_OP_HELLO.rawValue
        change(&request)
        return withUnsafeBytes(of: request) { Array($0) }
    }

    /// They cost their sender the connection.
    private static let malformedRecords: [HostileInput] =
        [1, 3, 4, 583, 585, 1168, 10_000, 60_000].map { size in
            HostileInput(.control, "a record of \(size) bytes") { siege in
                let client = try RawControl(siege.victim)
                client.send((record { _ in } + [UInt8](repeating: 0xA5, count: 60_000)).prefix(size).map { $0 })
                try client.requireClosed()
            }
        }
        + [0, CHITCP_CONTROL_MAGIC.byteSwapped, CHITCP_CONTROL_MAGIC + 1, .max].map { magic in
            HostileInput(.control, "a record with the magic \(String(magic, radix: 16))") { siege in
                let client = try RawControl(siege.victim)
                client.send(record { $0.magic = magic })
                try client.requireClosed()
            }
        }
        + [513, 0x8000_0000, UInt32.max].map { length in
            HostileInput(.control, "a record that claims \(length) bytes of data") { siege in
                let client = try RawControl(siege.victim)
                client.send(record { $0.data_length = length })
                try client.requireClosed()
            }
        } + [
            HostileInput(.control, "an empty record") { siege in
                let client = try RawControl(siege.victim)
                client.send([])
                try client.requireClosed()
            },
            HostileInput(.control, "a malformed record with descriptors attached") { siege in
                let client = try RawControl(siege.victim)
                client.send([1, 2, 3], passing: [0, 1, 2])
                try client.requireClosed()
            },
            HostileInput(.control, "records of garbage, each on a connection of its own") { siege in
                var random = SeededGenerator(seed: 7)
                for _ in 0..<200 {
                    let client = try RawControl(siege.victim)
                    client.send((0..<584).map { _ in UInt8(truncatingIfNeeded: random.next()) })
                    try client.requireClosed()
                }
            },
        ]

    /// They are answered with an error, and the connection lives.
    private static let senselessRequests: [HostileInput] = [
        HostileInput(.control, "operations that do not exist") { siege in
            let client = try RawControl(siege.victim)
            for operation in [0, 99, 1000, 0x8000_0000, UInt32.max] {
                var request = client.request(CHITCP_OP_HELLO)
                request.operation = operation
                guard try client.error(of: request) != 0 else { throw Failure("operation \(operation) exists") }
            }
        },
        HostileInput(.control, "reserved fields that are not zero") { siege in
            let client = try RawControl(siege.victim)
            var request = client.request(CHITCP_OP_HELLO)
            request.reserved = .max
            request.argument.3 = .min
            _ = try client.error(of: request)
        },
        HostileInput(.control, "every operation on sockets that do not exist") { siege in
            let client = try RawControl(siege.victim)
            for operation in [
                CHITCP_OP_BIND, CHITCP_OP_LISTEN, CHITCP_OP_CONNECT, CHITCP_OP_SHUTDOWN, CHITCP_OP_NAMES,
                CHITCP_OP_SET_OPTION, CHITCP_OP_GET_OPTION, CHITCP_OP_ABORT,
            ] {
                for id in [0, 1 << 20, 1 << 63, UInt64.max] {
                    guard try client.error(of: client.request(operation, socket: id)) != 0 else {
                        throw Failure("operation \(operation.rawValue) succeeds on socket \(id)")
                    }
                }
            }
        },
        HostileInput(.control, "sockets of domains, types and protocols that do not exist") { siege in
            let client = try RawControl(siege.victim)
            for (domain, type, number) in [
                (0, 1, 0), (1, 1, 0), (-1, 1, 0), (2, 2, 0), (2, -1, 0), (2, 1, 17), (10, 3, 6),
            ]
                as [(Int32, Int32, Int32)]
            {
                guard try client.error(of: client.request(CHITCP_OP_SOCKET, domain, type, number)) != 0 else {
                    throw Failure("a socket of \(domain), \(type), \(number)")
                }
            }
        },
        HostileInput(.control, "addresses that are none") { siege in
            let client = try RawControl(siege.victim)
            let (id, descriptor) = try client.makeSocket()
            defer { close(descriptor) }
            var mapped = controlAddress("::1", port: 7)
            mapped.family = UInt16(AF_INET)
            for address in [
                chitcp_address(), controlAddress("1.2.3.4", port: 7, family: 9999), mapped,
                controlAddress("::1", port: 7, family: AF_INET6), controlAddress("203.0.113.1", port: 7),
            ] {
                guard try client.error(of: client.request(CHITCP_OP_BIND, socket: id, address: address)) != 0 else {
                    throw Failure("bound to \(address)")
                }
            }
        },
        HostileInput(.control, "destinations that are none") { siege in
            let client = try RawControl(siege.victim)
            for (text, port, family) in [
                ("0.0.0.0", 0, AF_INET), ("255.255.255.255", 7, AF_INET), ("224.0.0.1", 7, AF_INET),
                (siege.neighbourAddress, 0, AF_INET), ("240.0.0.1", 7, AF_INET), ("::", 7, AF_INET6),
                ("ff02::1", 7, AF_INET6), ("fe80::1", 7, AF_INET6), ("1.2.3.4", 7, 77),
            ] as [(String, UInt16, Int32)] {
                let (id, descriptor) = try client.makeSocket()
                defer { close(descriptor) }
                let there = controlAddress(text, port: port, family: family)
                guard
                    try client.error(
                        of: client.request(CHITCP_OP_CONNECT, socket: id, address: there), passing: [descriptor]) != 0
                else { throw Failure("connected to \(text):\(port)") }
            }
        },
        HostileInput(.control, "backlogs of every size") { siege in
            let client = try RawControl(siege.victim)
            let (id, descriptor) = try client.makeSocket()
            defer { close(descriptor) }
            for backlog in [0, -1, Int32.min, Int32.max, 1] {
                guard try client.error(of: client.request(CHITCP_OP_LISTEN, socket: id, backlog)) == 0 else {
                    throw Failure("a backlog of \(backlog)")
                }
            }
        },
        HostileInput(.control, "options with too little or senseless data") { siege in
            let client = try RawControl(siege.victim)
            let (id, descriptor) = try client.makeSocket()
            defer { close(descriptor) }
            for level in [SOL_SOCKET, Int32(IPPROTO_TCP), 0, -1, .max] {
                for name in (0..<70).map({ Int32($0) }) + [-1, .max] {
                    for data in [[], [1], [1, 2, 3], [0xFF, 0xFF, 0xFF, 0xFF], [UInt8](repeating: 0xFF, count: 512)] {
                        let set = client.request(CHITCP_OP_SET_OPTION, socket: id, level, name, data: data)
                        _ = try client.error(of: set)
                    }
                    _ = try client.error(of: client.request(CHITCP_OP_GET_OPTION, socket: id, level, name))
                }
            }
        },
        HostileInput(.control, "calls in every state that does not allow them") { siege in
            let client = try RawControl(siege.victim)
            let there = controlAddress(siege.neighbourAddress, port: EchoServer.port)
            let here = controlAddress(siege.victimAddress, port: 0)
            let (listening, first) = try client.makeSocket()
            let (connected, second) = try client.makeSocket()
            let (fresh, third) = try client.makeSocket()
            defer { for descriptor in [first, second, third] { close(descriptor) } }
            guard try client.error(of: client.request(CHITCP_OP_LISTEN, socket: listening, 1)) == 0,
                try client.error(
                    of: client.request(CHITCP_OP_CONNECT, socket: connected, address: there), passing: [second]) == 0
            else { throw Failure("neither listening nor connected") }
            for (id, descriptor) in [(listening, first), (connected, second), (fresh, third)] {
                for how in [-1, 3, Int32.max] {
                    _ = try client.error(of: client.request(CHITCP_OP_SHUTDOWN, socket: id, how))
                }
                if id == fresh { _ = try client.error(of: client.request(CHITCP_OP_SHUTDOWN, socket: id, 1)) }
                if id == fresh { continue }
                let bound = try client.error(of: client.request(CHITCP_OP_BIND, socket: id, address: here))
                let connecting = client.request(CHITCP_OP_CONNECT, socket: id, address: there)
                guard bound != 0, try client.error(of: connecting, passing: [descriptor]) != 0 else {
                    throw Failure("socket \(id) can be bound or connected again")
                }
                _ = try client.error(of: client.request(CHITCP_OP_NAMES, socket: id))
            }
            guard try client.error(of: client.request(CHITCP_OP_LISTEN, socket: connected, 1)) != 0 else {
                throw Failure("a connected socket listens")
            }
            for id in [listening, connected, fresh] {
                for _ in 0..<2 { _ = try client.error(of: client.request(CHITCP_OP_ABORT, socket: id)) }
            }
        },
        HostileInput(.control, "lists from everywhere") { siege in
            let client = try RawControl(siege.victim)
            for number in [Int32.min, -1, 0, 1 << 20, Int32.max] {
                _ = try client.error(of: client.request(CHITCP_OP_LIST, number))
            }
        },
        HostileInput(.control, "impairments out of bounds, of hosts that do not exist, and too many of them") { siege in
            let client = try RawControl(siege.victim)
            var random = SeededGenerator(seed: 12)
            let size = MemoryLayout<chitcp_impairment>.size
            for length in [0, 1, size - 1, size + 1, 512] {
                let bytes = [UInt8](repeating: 0, count: length)
                guard try client.error(of: client.request(CHITCP_OP_IMPAIR, data: bytes)) == EINVAL else {
                    throw Failure("an impairment of \(length) bytes is taken")
                }
            }
            for _ in 0..<2000 {
                let bytes = (0..<size).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                guard try client.error(of: client.request(CHITCP_OP_IMPAIR, data: bytes)) == EINVAL else {
                    throw Failure("an impairment at random is taken")
                }
            }
            var full = false
            for n in 0..<1000 where !full {
                // Of a host that nobody talks to.
                var record = chitcp_impairment()
                record.direction = 1
                record.burst_end = 1
                record.queue_limit = 1
                record.loss = 1_000_000
                record.peer.family = UInt16(AF_INET6)
                withUnsafeMutableBytes(of: &record.peer.bytes) {
                    $0[0] = 0xFD
                    $0[14] = UInt8(n / 256)
                    $0[15] = UInt8(n % 256)
                }
                let bytes = withUnsafeBytes(of: record) { Array($0) }
                let error = try client.error(of: client.request(CHITCP_OP_IMPAIR, data: bytes))
                guard error == 0 || error == ENOSPC else { throw Failure("errno \(error) for an impairment") }
                full = error == ENOSPC
            }
            guard full else { throw Failure("there is no end to impairments") }
            for index in [Int32.min, -1, 0, 255, 256, Int32.max] {
                _ = try client.error(of: client.request(CHITCP_OP_IMPAIR_LIST, index))
                _ = try client.error(of: client.request(CHITCP_OP_IMPAIR_CLEAR, index & ~3))
            }
            guard try client.error(of: client.request(CHITCP_OP_IMPAIR_CLEAR, 3)) == 0 else {
                throw Failure("impairments stay")
            }
        },
        HostileInput(.control, "ten thousand requests at random") { siege in
            var random = SeededGenerator(seed: 11)
            let client = try RawControl(siege.victim)
            for _ in 0..<10_000 {
                var request = client.request(CHITCP_OP_HELLO, socket: 1 << 40 | random.next() % 8)
                request.operation = UInt32(truncatingIfNeeded: random.next() % 16)
                if request.operation == CHITCP_OP_SOCKET.rawValue { request.operation = 0 }
                request.argument = (
                    Int32(truncatingIfNeeded: random.next()), Int32(truncatingIfNeeded: random.next()),
                    Int32(truncatingIfNeeded: random.next()), 0
                )
                request.data_length = UInt32(random.next() % 513)
                _ = try client.error(of: request)
            }
        },
    ]

    private static let foreign: [(String, @Sendable (Siege) -> [Int32])] = [
        ("none", { _ in [] }),
        ("one of /dev/null", { _ in [open("/dev/null", O_RDWR | O_CLOEXEC)] }),
        ("one of a file", { [open($0.folder.path + "/victim.err", O_RDWR | O_CLOEXEC)] }),
        ("one of a real TCP socket", { _ in [socket(AF_INET, streamSocket, 0)] }),
        ("one of another UNIX socket", { _ in [socket(AF_UNIX, streamSocket, 0)] }),
        ("a folder", { [open($0.folder.path, O_RDONLY | O_CLOEXEC)] }),
        ("a hundred", { _ in (0..<100).map { _ in open("/dev/null", O_RDWR | O_CLOEXEC) } }),
    ]

    private static let foreignDescriptors: [HostileInput] =
        foreign.map { (name, make) in
            HostileInput(.control, "a connect that carries not its own descriptor but " + name) { siege in
                let client = try RawControl(siege.victim)
                let there = controlAddress(siege.neighbourAddress, port: EchoServer.port)
                for _ in 0..<20 {
                    let (id, descriptor) = try client.makeSocket()
                    let foreign = make(siege)
                    defer { for each in foreign + [descriptor] { close(each) } }
                    let request = client.request(CHITCP_OP_CONNECT, socket: id, address: there)
                    let error = try client.error(of: request, passing: foreign)
                    guard error == EINVAL else { throw Failure("answered with errno \(error)") }
                }
            }
        } + [
            HostileInput(.control, "a connect that carries another chisocket's descriptor") { siege in
                let client = try RawControl(siege.victim)
                let there = controlAddress(siege.neighbourAddress, port: EchoServer.port)
                let (id, descriptor) = try client.makeSocket()
                let (other, otherDescriptor) = try client.makeSocket()
                defer { for each in [descriptor, otherDescriptor] { close(each) } }
                let request = client.request(CHITCP_OP_CONNECT, socket: id, address: there)
                guard try client.error(of: request, passing: [otherDescriptor]) == EINVAL else {
                    throw Failure("socket \(other)'s descriptor passes for socket \(id)'s")
                }
            },
            HostileInput(.control, "descriptors with every operation") { siege in
                let client = try RawControl(siege.victim)
                for operation in UInt32(0)...20 where operation != CHITCP_OP_SOCKET.rawValue {
                    var request = client.request(CHITCP_OP_HELLO, socket: 1 << 50)
                    request.operation = operation
                    _ = try client.error(of: request, passing: [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
                }
            },
        ]

    private static let silentClients: [HostileInput] = [
        HostileInput(.control, "a client that asks and never reads") { siege in
            let client = try RawControl(siege.victim)
            var sent = 0
            while sent < 100_000, client.send(client.request(CHITCP_OP_LIST)) { sent += 1 }
            if sent == 100_000 { throw Failure("a hundred thousand answers wait somewhere") }
        },
        HostileInput(.control, "a client that makes sockets and never reads") { siege in
            let client = try RawControl(siege.victim)
            let request = client.request(CHITCP_OP_SOCKET, AF_INET, Int32(SOCK_STREAM.rawValue))
            var sent = 0
            while sent < 100_000, client.send(request) { sent += 1 }
            if sent == 100_000 { throw Failure("a hundred thousand answers wait somewhere") }
        },
        HostileInput(.control, "two thousand clients that connect, say nothing and vanish") { siege in
            let clients = try (0..<2000).map { _ in try RawControl(siege.victim) }
            // One more is served beside them.
            let another = try RawControl(siege.victim)
            guard try another.error(of: another.request(CHITCP_OP_HELLO)) == 0 else { throw Failure("not served") }
            for client in clients { client.close() }
        },
        HostileInput(.control, "clients made and ended on four threads") { siege in
            let path = siege.victim.path.controlPath
            let threads = (0..<4).map { _ in Background { for _ in 0..<500 { _ = try RawControl(path: path) } } }
            for thread in threads { if let error = thread.join() { throw error } }
        },
        HostileInput(.control, "two thousand sockets made by one client that vanishes") { siege in
            let client = try RawControl(siege.victim)
            let descriptors = try (0..<2000).map { _ in try client.makeSocket().descriptor }
            try checkedTransfer(siege.neighbour.path, to: siege.victim.address)
            client.close()
            for descriptor in descriptors { close(descriptor) }
        },
        HostileInput(.control, "a hundred thousand connects on a socket that connects", launch: .impatient) { siege in
            let peer = try Impostor(at: siege.twinAddress)
            let client = try RawControl(siege.victim)
            let (id, descriptor) = try client.makeSocket()
            defer { close(descriptor) }
            let there = controlAddress(siege.twinAddress, port: 7)
            let request = client.request(CHITCP_OP_CONNECT, socket: id, address: there)
            // All but a few are refused at once, and nobody reads that: the connection ends before memory does.
            var sent = 0
            while sent < 100_000, client.send(request, passing: [descriptor]) { sent += 1 }
            _ = peer.accept()
            guard siege.victim.residentMemory < 200 << 20 else { throw Failure("it grows without bound") }
        },
        HostileInput(.control, "clients that end while they connect", launch: .impatient) { siege in
            let peer = try Impostor(at: siege.twinAddress)
            for _ in 0..<50 {
                let client = try RawControl(siege.victim)
                let (id, descriptor) = try client.makeSocket()
                let there = controlAddress(siege.twinAddress, port: 7)
                client.send(client.request(CHITCP_OP_CONNECT, socket: id, address: there), passing: [descriptor])
                close(descriptor)
            }
            try waitUntil("the victim dials") { peer.accept() }
        },
    ]
}
