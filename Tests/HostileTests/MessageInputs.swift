// Hostile input on chiTCP's UNIX stream socket: lengths, protobuf, codes, arguments, and clients that do not play along.
import Glibc
import Impairments
import TCPSegments

extension HostileInput {
    static let messages: [HostileInput] = lengths + bodies + codes + arguments + debuggers + silentPrograms

    /// A stream in which nobody knows where the next message begins is given up.
    private static func givenUp(_ name: String, _ bytes: @escaping @Sendable () -> [UInt8]) -> HostileInput {
        HostileInput(.messages, name) { siege in
            for greets in [false, true] {
                let client = try RawMessages(siege.victim, greets: greets)
                client.send(bytes())
                try client.requireClosed()
            }
        }
    }

    private static let lengths: [HostileInput] =
        [(1 << 20) + 1, 1 << 32, 1 << 62, UInt64(Int64.max), 1 << 63, UInt64.max].map { length in
            givenUp("a message of \(length) bytes") { Wire.length(length) + [8, 0] }
        }
        + [1, 7, 8, 9].map { count in
            HostileInput(.messages, "the first \(count) bytes of a message, then silence") { siege in
                let client = try RawMessages(siege.victim)
                client.send(Array(Wire.framed(Wire.socket)[..<count]))
                try checkedTransfer(siege.neighbour.path, to: siege.victim.address)
            }
        } + [
            HostileInput(.messages, "half a message, then the end") { siege in
                let client = try RawMessages(siege.victim)
                client.send(Wire.length(1000) + [8])
                client.shutdownSending()
                try client.requireClosed()
            },
            HostileInput(.messages, "messages one byte at a time") { siege in
                let client = try RawMessages(siege.victim)
                for byte in Wire.framed(Wire.socket) { client.send([byte]) }
                guard client.receive() != nil else { throw Failure("no answer") }
            },
            HostileInput(.messages, "empty messages, a thousand of them") { siege in
                let client = try RawMessages(siege.victim)
                for _ in 0..<1000 { guard try client.errno(of: []) != 0 else { throw Failure("it means something") } }
            },
            HostileInput(.messages, "the largest message, full of a field nobody knows") { siege in
                let client = try RawMessages(siege.victim)
                let filler = Wire.bytes(1000, [UInt8](repeating: 0xAA, count: (1 << 20) - 20))
                _ = try client.errno(of: Wire.message(9, 11, Wire.number(1, 0)) + filler.prefix((1 << 20) - 12))
            },
        ]

    private static let bodies: [HostileInput] = [
        givenUp("a message of garbage") { Wire.framed([UInt8](repeating: 0xFF, count: 100)) },
        givenUp("a number that never ends") { Wire.framed([8] + [UInt8](repeating: 0x80, count: 50)) },
        givenUp("a field longer than its message") { Wire.framed([0x1A, 0x7F, 1, 2]) },
        givenUp("a field of four gigabytes") { Wire.framed([0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]) },
        givenUp("field number zero") { Wire.framed([0, 1]) },
        givenUp("groups ten thousand deep") { Wire.framed([UInt8](repeating: 0x0B, count: 10_000)) },
        givenUp("arguments that are cut off") { Wire.framed(Wire.message(1, 3, [8, 0x80])) },
        HostileInput(.messages, "garbage of every seed") { siege in
            for seed in 0..<200 {
                var random = SeededGenerator(seed: UInt64(seed))
                let client = try RawMessages(siege.victim, greets: seed % 2 == 0)
                let count = Int(random.below(300))
                client.send(message: (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) })
                client.shutdownSending()
                try client.requireClosed()
            }
        },
        HostileInput(.messages, "fields of the wrong type") { siege in
            for body in [
                Wire.bytes(1, [1, 2]), Wire.number(1, 1) + Wire.number(3, 5), Wire.message(4, 6) + Wire.number(6, 1),
                Wire.number(1, 2) + Wire.bytes(4, Wire.bytes(1, [0]) + Wire.number(2, 9)), [0x0D, 1, 0, 0, 0],
            ] {
                let client = try RawMessages(siege.victim)
                client.send(message: body)
                client.shutdownSending()
                try client.requireClosed()
            }
        },
    ]

    private static let codes: [HostileInput] =
        [-1, 0, 11, 12, 13, 15, 99, 1000, Int64(Int32.max), Int64(Int32.min), Int64.max].map { code in
            HostileInput(.messages, "code \(code), before and after the greeting") { siege in
                let early = try RawMessages(siege.victim, greets: false)
                let late = try RawMessages(siege.victim)
                for client in [early, late] {
                    for body in [Wire.message(code), Wire.message(code, 13, Wire.number(1, 0), Wire.number(2, 0))] {
                        guard try client.errno(of: body) == EINVAL else {
                            throw Failure("code \(code) means something")
                        }
                    }
                }
                guard try late.makeSocket() >= 0 else { throw Failure("no socket afterwards") }
            }
        } + [
            HostileInput(.messages, "every call before the greeting") { siege in
                let client = try RawMessages(siege.victim, greets: false)
                for code in Int64(1)...14 {
                    guard try client.errno(of: Wire.message(code)) != 0 else { throw Failure("code \(code)") }
                }
                guard try client.errno(of: Wire.socket) != 0 else { throw Failure("a socket before the greeting") }
                guard try client.errno(of: Wire.greeting) == 0 else { throw Failure("no greeting afterwards") }
            },
            HostileInput(.messages, "greetings again and again, of every kind") { siege in
                let client = try RawMessages(siege.victim)
                for type in [0, 1, 2, -1, Int64(Int32.max)] {
                    for _ in 0..<20 { _ = try client.errno(of: Wire.message(0, 2, Wire.number(1, type))) }
                }
                guard try client.makeSocket() >= 0 else { throw Failure("no socket afterwards") }
            },
        ]

    /// Where a call's arguments lie, and that they begin with a socket.
    private static let argumentFields: [(code: Int64, field: UInt64)] = [
        (2, 4), (3, 5), (4, 6), (5, 7), (6, 9), (7, 8), (8, 10), (9, 11), (10, 12), (14, 15),
    ]

    private static let arguments: [HostileInput] = [
        HostileInput(.messages, "calls without arguments, with empty ones, and with another call's") { siege in
            let client = try RawMessages(siege.victim)
            for (code, field) in argumentFields + [(1, 3)] {
                for body in [Wire.message(code), Wire.message(code, field), Wire.message(code, 14, Wire.number(1, 0))] {
                    guard try client.errno(of: body) == EINVAL else { throw Failure("code \(code)") }
                }
            }
        },
        HostileInput(.messages, "sockets that do not exist") { siege in
            let client = try RawMessages(siege.victim)
            for number in [-1, 1000, Int64(Int32.max), Int64(Int32.min)] {
                for (code, field) in argumentFields {
                    let rest = code == 2 || code == 5 ? Wire.bytes(2, [2, 0, 0, 7] + [0, 0, 0, 0]) : Wire.number(2, 1)
                    let third = code == 6 ? Wire.bytes(3, [1]) : Wire.number(3, 1)
                    let body = Wire.message(code, field, Wire.number(1, number), rest, third)
                    guard try client.errno(of: body) != 0 else { throw Failure("code \(code) on socket \(number)") }
                }
            }
        },
        HostileInput(.messages, "addresses of every length and family") { siege in
            let client = try RawMessages(siege.victim)
            for count in [0, 1, 2, 4, 8, 15, 17, 27, 28, 110, 128, 129, 1000, 1_000_000] {
                for family: UInt8 in [0, 1, 2, 10, 255] {
                    let address = ([family, 0] + [UInt8](repeating: 0xEE, count: count)).prefix(count)
                    for (code, field) in [(2, 4), (5, 7)] as [(Int64, UInt64)] {
                        let number = try client.makeSocket()
                        let body = Wire.message(code, field, Wire.number(1, number), Wire.bytes(2, Array(address)))
                        _ = try client.errno(of: body)
                        _ = try client.errno(of: Wire.message(8, 10, Wire.number(1, number)))
                    }
                }
            }
        },
        HostileInput(.messages, "lengths and flags of every size") { siege in
            let client = try RawMessages(siege.victim)
            let number = try client.makeSocket()
            let there = sockaddrBytes(siege.neighbourAddress, port: EchoServer.port)
            let connect = Wire.message(5, 7, Wire.number(1, number), Wire.bytes(2, there))
            guard try client.errno(of: connect) == 0 else { throw Failure("not connected") }
            for length in [0, -1, Int64(Int32.min)] {
                let body = Wire.message(7, 8, Wire.number(1, number), Wire.number(2, 0), Wire.number(3, length))
                guard try client.errno(of: body) == EINVAL else { throw Failure("received \(length) bytes") }
            }
            let empty = Wire.message(6, 9, Wire.number(1, number), Wire.number(2, -1), Wire.bytes(3, []))
            guard try client.errno(of: empty) == EINVAL else { throw Failure("sent nothing") }
            let large = Wire.bytes(3, [UInt8](repeating: 5, count: 1_000_000))
            guard try client.answer(to: Wire.message(6, 9, Wire.number(1, number), Wire.number(2, -1), large)).ret > 0
            else { throw Failure("a large message is not taken") }
            let all = Wire.number(3, Int64(Int32.max))
            guard try client.answer(to: Wire.message(7, 8, Wire.number(1, number), Wire.number(2, -1), all)).ret > 0
            else { throw Failure("nothing came back") }
        },
        HostileInput(.messages, "calls in every order") { siege in
            var random = SeededGenerator(seed: 3)
            let client = try RawMessages(siege.victim)
            // What would wait for ever (ACCEPT, WAIT_FOR_STATE, CONNECT) is not among them.
            let calls = argumentFields.filter { ![4, 5, 14].contains($0.code) }
            for _ in 0..<3000 {
                if random.chance(100_000) { _ = try client.makeSocket() }
                let (code, field) = calls[Int(random.below(Int64(calls.count)))]
                let value = Wire.number(2, random.below(70_000) - 10)
                let second = code == 2 ? Wire.bytes(2, sockaddrBytes(siege.victimAddress, port: 0)) : value
                let third = code == 6 ? Wire.bytes(3, [1, 2, 3]) : Wire.number(3, random.below(100) - 5)
                _ = try client.errno(of: Wire.message(code, field, Wire.number(1, random.below(12) - 1), second, third))
            }
        },
        HostileInput(.messages, "states that do not exist") { siege in
            let client = try RawMessages(siege.victim)
            let number = try client.makeSocket()
            for state in [-1, 11, 255, Int64(Int32.max), Int64(Int32.min)] {
                let body = Wire.message(14, 15, Wire.number(1, number), Wire.number(2, state))
                guard try client.errno(of: body) != 0 else { throw Failure("state \(state)") }
            }
        },
    ]

    private static func debugGreeting(_ socket: Int64, _ flags: Int64) -> [UInt8] {
        Wire.message(0, 2, Wire.number(1, 1), Wire.bytes(2, Wire.number(1, socket) + Wire.number(2, flags)))
    }

    private static let debuggers: [HostileInput] = [
        HostileInput(.messages, "debuggers of nothing") { siege in
            for socket in [-1, 999, Int64(Int32.max), Int64(Int32.min)] {
                for flags in [0, -1, 15, Int64(Int32.max)] {
                    let client = try RawMessages(siege.victim, greets: false)
                    guard try client.errno(of: debugGreeting(socket, flags)) != 0 else {
                        throw Failure("debugs socket \(socket)")
                    }
                }
            }
        },
        HostileInput(.messages, "two debuggers of one socket, and answers nobody asked for") { siege in
            let program = try RawMessages(siege.victim)
            let number = try program.makeSocket()
            let first = try RawMessages(siege.victim, greets: false)
            guard try first.errno(of: debugGreeting(number, 15)) == 0 else { throw Failure("cannot debug") }
            let second = try RawMessages(siege.victim, greets: false)
            guard try second.errno(of: debugGreeting(number, 15)) == EAGAIN else { throw Failure("debugged twice") }
            for answer in [0, 1, 6, -1, 99] {
                first.send(message: Wire.message(11, 13, Wire.number(1, Int64(answer)), Wire.number(2, 0)))
            }
            for code in Int64(0)...14 { first.send(message: Wire.message(code)) }
        },
        HostileInput(.messages, "a debugger that never answers") { siege in
            let program = try RawMessages(siege.victim)
            let number = try program.makeSocket()
            let debugger = try RawMessages(siege.victim, greets: false)
            guard try debugger.errno(of: debugGreeting(number, 15)) == 0 else { throw Failure("cannot debug") }
            let there = sockaddrBytes(siege.neighbourAddress, port: EchoServer.port)
            program.send(message: Wire.message(5, 7, Wire.number(1, number), Wire.bytes(2, there)))
            guard debugger.receive() != nil else { throw Failure("no event") }
            // Its connection stands still, and no other one does.
            try checkedTransfer(siege.victim.path, to: siege.neighbourAddress)
            try siege.waitForBlocks(5)
        },
        HostileInput(.messages, "a debugger that answers nonsense, or twice") { siege in
            let program = try RawMessages(siege.victim)
            let number = try program.makeSocket()
            let debugger = try RawMessages(siege.victim, greets: false)
            guard try debugger.errno(of: debugGreeting(number, 15)) == 0 else { throw Failure("cannot debug") }
            let there = sockaddrBytes(siege.neighbourAddress, port: EchoServer.port)
            program.send(message: Wire.message(5, 7, Wire.number(1, number), Wire.bytes(2, there)))
            for answer in [99, -1, 4, 6, 2, 0, 5] {
                guard debugger.receive() != nil else { break }
                for _ in 0..<2 {
                    debugger.send(message: Wire.message(11, 13, Wire.number(1, Int64(answer)), Wire.number(2, 0)))
                }
            }
            try siege.waitForBlocks(3)
        },
    ]

    private static let silentPrograms: [HostileInput] = [
        HostileInput(.messages, "a program that asks and never reads") { siege in
            let client = try RawMessages(siege.victim)
            let number = try client.makeSocket()
            let question = Wire.framed(Wire.message(9, 11, Wire.number(1, number)))
            var asked = 0
            while asked < 1_000_000, client.send(question, waits: false) { asked += 1 }
            if asked == 1_000_000 { throw Failure("a million answers wait somewhere") }
            try siege.waitForBlocks(3)
        },
        HostileInput(.messages, "two thousand programs' threads that connect, say nothing and vanish") { siege in
            let clients = try (0..<2000).map { _ in try RawMessages(siege.victim, greets: false) }
            guard try RawMessages(siege.victim).makeSocket() >= 0 else { throw Failure("not served") }
            for client in clients { client.close() }
        },
        HostileInput(.messages, "two thousand sockets made by one program that vanishes") { siege in
            let client = try RawMessages(siege.victim)
            for _ in 0..<2000 { _ = try client.makeSocket() }
            try checkedTransfer(siege.neighbour.path, to: siege.victim.address)
        },
        HostileInput(.messages, "programs that vanish while their calls wait", launch: .impatient) { siege in
            let peer = try Impostor(at: siege.twinAddress)
            for i in 0..<60 {
                let client = try RawMessages(siege.victim)
                let number = try client.makeSocket()
                switch i % 3 {
                case 0:
                    _ = try client.errno(of: Wire.message(3, 5, Wire.number(1, number), Wire.number(2, 5)))
                    client.send(message: Wire.message(4, 6, Wire.number(1, number)))
                case 1:
                    let there = sockaddrBytes(siege.twinAddress, port: 7)
                    client.send(message: Wire.message(5, 7, Wire.number(1, number), Wire.bytes(2, there)))
                default:
                    client.send(message: Wire.message(14, 15, Wire.number(1, number), Wire.number(2, 4)))
                }
            }
            _ = peer.accept()
        },
        HostileInput(.messages, "a program that sends its next calls while one waits") { siege in
            let client = try RawMessages(siege.victim)
            let number = try client.makeSocket()
            _ = try client.errno(of: Wire.message(3, 5, Wire.number(1, number), Wire.number(2, 5)))
            client.send(message: Wire.message(4, 6, Wire.number(1, number)))
            let burst = (0..<1000).flatMap { _ in Wire.framed(Wire.message(9, 11, Wire.number(1, number))) }
            while client.send(burst, waits: false) {}
            try siege.waitForBlocks(3)
        },
    ]
}

/// A struct sockaddr_in as it lies in memory.
func sockaddrBytes(_ address: String, port: UInt16) -> [UInt8] {
    let bits = IPAddress(address)?.v4Bits ?? 0
    return [UInt8(AF_INET), 0, UInt8(port >> 8), UInt8(port & 0xFF)]
        + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bits >> $0) } + [UInt8](repeating: 0, count: 8)
}
