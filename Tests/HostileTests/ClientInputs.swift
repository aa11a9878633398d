// Applications that misuse their descriptors, or end in the middle of things.
import Chisocket
import Glibc
import TCPSegments
import TestSupport

extension HostileInput {
    static let clients: [HostileInput] = processes + misuse

    /// A connection of the victim's to the neighbour's echo server, in the hands of a shell command.
    private static func inShell(_ siege: Siege, _ command: String) throws -> pid_t {
        let socket = try connected(siege.victim.path, to: siege.neighbourAddress)
        return try startShell(command, giving: try socket.releaseDescriptor())
    }

    private static let processes: [HostileInput] = [
        HostileInput(.clients, "clients killed while they read") { siege in
            for _ in 0..<10 { killAndWait(try inShell(siege, "exec cat <&3 >/dev/null")) }
        },
        HostileInput(.clients, "clients killed while they write without end") { siege in
            for _ in 0..<5 {
                let process = try inShell(siege, "exec cat /dev/zero >&3")
                try siege.waitForBlocks(2)
                killAndWait(process)
            }
        },
        HostileInput(.clients, "a client that stops in the middle of things") { siege in
            let process = try inShell(siege, "exec cat /dev/zero >&3")
            try siege.waitForBlocks(3)
            kill(process, SIGSTOP)
            try siege.waitForBlocks(10)
            killAndWait(process)
        },
        HostileInput(.clients, "clients that write and end at once") { siege in
            for _ in 0..<20 {
                let process = try inShell(siege, "echo hello >&3")
                var status: Int32 = 0
                while waitpid(process, &status, 0) < 0, errno == EINTR {}
            }
        },
        HostileInput(.clients, "clients killed while they connect to somebody silent", launch: .impatient) { siege in
            let peer = try Impostor(at: siege.twinAddress)
            for _ in 0..<10 {
                let attempt = try siege.attempt(to: siege.twinAddress)
                killAndWait(try startShell("exec sleep 1000", giving: attempt.release()))
            }
            try waitUntil("the victim dials") { peer.accept() }
        },
    ]

    private static let misuse: [HostileInput] = [
        HostileInput(.clients, "an application that writes much and reads nothing") { siege in
            let socket = try connected(siege.victim.path, to: siege.neighbourAddress)
            let bytes = [UInt8](repeating: 1, count: 65_536)
            try socket.withDescriptor { descriptor throws(ChisocketError) in
                for _ in 0..<400 where send(descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT)) < 0 { usleep(500) }
            }
            try siege.waitForBlocks(3)
            try socket.abort()
        },
        HostileInput(.clients, "urgent bytes on the descriptor") { siege in
            let socket = try connected(siege.victim.path, to: siege.neighbourAddress)
            try socket.withDescriptor { descriptor throws(ChisocketError) in
                for i in 0..<100 {
                    let flags = Int32(MSG_DONTWAIT) | (i % 3 == 0 ? Int32(MSG_OOB) : 0)
                    _ = send(descriptor, "x", 1, flags)
                }
            }
            try siege.waitForBlocks(3)
        },
        HostileInput(.clients, "bytes and descriptors written to a listening descriptor") { siege in
            guard let here = ChisocketAddress(siege.victimAddress, port: 99) else { return }
            let listener = try Chisocket.listening(on: here, daemon: siege.victim.path)
            let bytes = [UInt8](repeating: 7, count: 60_000)
            try listener.withDescriptor { descriptor throws(ChisocketError) in
                for _ in 0..<20 { _ = send(descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)) }
            }
            let client = try connected(siege.neighbour.path, to: siege.victimAddress, port: 99)
            try listener.limitWaiting()
            _ = try listener.accept()
            client.close()
        },
        HostileInput(.clients, "bytes written before there is a connection") { siege in
            for _ in 0..<20 {
                let socket = try Chisocket(.ipv4, daemon: siege.victim.path)
                try socket.withDescriptor { descriptor throws(ChisocketError) in
                    _ = send(descriptor, "early", 5, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
                    _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR))
                }
            }
        },
        HostileInput(.clients, "every half-close in every order") { siege in
            let orders: [[Chisocket.Direction]] = [
                [.receiving], [.sending], [.both], [.receiving, .sending], [.sending, .receiving], [.both, .both],
                [.receiving, .receiving, .both],
            ]
            for order in orders {
                let socket = try connected(siege.victim.path, to: siege.neighbourAddress)
                try socket.send(pattern(10_000))
                for direction in order { try? socket.shutdown(direction) }
                socket.close()
            }
        },
        HostileInput(.clients, "a listener whose connections nobody takes") { siege in
            guard let here = ChisocketAddress(siege.victimAddress, port: 99) else { return }
            let listener = try Chisocket.listening(on: here, backlog: 4, daemon: siege.victim.path)
            var waiting: [Chisocket] = []
            for _ in 0..<4 { waiting.append(try connected(siege.neighbour.path, to: siege.victimAddress, port: 99)) }
            for client in waiting { try client.send(pattern(50_000)) }
            try siege.waitForBlocks(3)
            listener.close()
        },
        HostileInput(.clients, "listeners made and closed under a rain of SYNs") { siege in
            guard let here = ChisocketAddress(siege.victimAddress, port: 99) else { return }
            let link = try siege.link()
            for round in 0..<20 {
                // A program that another test is just starting may hold a copy of the closed listener for a moment.
                var listener: Chisocket?
                try waitUntil("the port is free again") {
                    do throws(ChisocketError) {
                        listener = try Chisocket.listening(on: here, daemon: siege.victim.path)
                    } catch  where error.errno == EADDRINUSE { return false }
                    return true
                }
                for port in 0..<UInt16(20) {
                    link.send(
                        RawConversation(link, from: 1000 + UInt16(round) * 20 + port, to: 99).header(.syn, seq: 0))
                }
                listener?.close()
            }
            try link.settle()
        },
        HostileInput(.clients, "two hundred connects that are given up at once") { siege in
            for _ in 0..<200 {
                let attempt = try siege.attempt(to: siege.neighbourAddress)
                try attempt.abandon()
            }
        },
        HostileInput(.clients, "sockets bound to every ephemeral port") { siege in
            guard let any = ChisocketAddress("0.0.0.0", port: 0) else { return }
            var sockets: [Chisocket] = []
            for _ in 0..<4000 {
                let socket = try Chisocket(.ipv4, daemon: siege.victim.path)
                try socket.bind(to: any)
                sockets.append(socket)
            }
            try checkedTransfer(siege.victim.path, to: siege.neighbourAddress)
        },
    ]
}
