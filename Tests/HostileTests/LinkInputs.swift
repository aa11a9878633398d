// Real connections and peers that are not what they seem: strays, second connections, peers that are absent or die.
import CLinux
import Chisocket
import Glibc
import NetworkLayer
import TCPSegments

extension HostileInput {
    private static let greeting = SegmentHeader(
        sourcePort: 50_000, destinationPort: 7, sequenceNumber: SequenceNumber(9), controlBits: .rst)

    static let links: [HostileInput] = strays + peers

    private static let strays: [HostileInput] = [
        HostileInput(.links, "a stray connection from 127.0.0.1") { siege in
            try siege.leaveOpen(siege.link(from: "127.0.0.1"))
        },
        HostileInput(.links, "a stray connection from 127.0.0.1 that talks nonsense") { siege in
            let link = try siege.link(from: "127.0.0.1")
            link.send(Array("hello?\n\n\n\n\n\n\n\n\n\n".utf8))
            try link.requireClosed()
        },
        HostileInput(.links, "a stray connection from the daemon's own address") { siege in
            try siege.leaveOpen(siege.link(from: siege.victimAddress))
            try checkedTransfer(siege.victim.path, to: siege.victimAddress)
        },
        HostileInput(.links, "a stray connection from the daemon's own address that sends segments") { siege in
            let link = try siege.link(from: siege.victimAddress)
            for bits in 0..<UInt16(256) {
                var header = greeting
                header.controlBits = ControlBits(rawValue: bits)
                link.send(header)
            }
            try siege.leaveOpen(link)
            try checkedTransfer(siege.victim.path, to: siege.victimAddress)
        },
        HostileInput(.links, "a silent connection from the neighbour's address") { siege in
            try siege.leaveOpen(siege.link(from: siege.neighbourAddress))
            try siege.waitForBlocks(5)
        },
        HostileInput(.links, "a hundred silent connections from the neighbour's address") { siege in
            for _ in 0..<100 { try siege.leaveOpen(siege.link(from: siege.neighbourAddress)) }
            try siege.waitForBlocks(5)
        },
        HostileInput(.links, "a second connection from the neighbour's address that sends segments") { siege in
            let link = try siege.link(from: siege.neighbourAddress)
            link.send(greeting)
            try link.settle()
            try siege.leaveOpen(link)
            try siege.waitForBlocks(5)
        },
        HostileInput(.links, "a second connection from the neighbour's address with a conversation of its own") {
            siege in
            let conversation = RawConversation(try siege.link(from: siege.neighbourAddress))
            try conversation.establish()
            try conversation.requireEcho()
            try siege.leaveOpen(conversation.link)
            try siege.waitForBlocks(5)
            conversation.send(.rst, seq: 6)
        },
        HostileInput(.links, "a conversation that changes its real connection all the time") { siege in
            let conversations = try (0..<2).map { _ in RawConversation(try siege.link()) }
            try conversations[0].establish()
            try conversations[0].requireEcho()
            for i in 0..<500 {
                let header = conversations[0].header(.ack, seq: 6 + i, ack: 6)
                conversations[i % 2].link.send(header, [UInt8(truncatingIfNeeded: i)])
            }
            for conversation in conversations { try conversation.link.settle() }
            conversations[0].send(.rst, seq: 506)
        },
    ]

    private static let peers: [HostileInput] = [
        HostileInput(.links, "a peer that is not there") { siege in
            for _ in 0..<20 {
                do { _ = try connected(siege.victim.path, to: siege.twinAddress) } catch let error as ChisocketError {
                    guard error.errno == ECONNREFUSED else { throw error }
                    continue
                }
                throw Failure("connected to nobody")
            }
        },
        HostileInput(.links, "a peer killed in the middle of a transfer") { siege in
            let peer = try siege.twin()
            let server = try EchoServer([peer])
            let socket = try connected(siege.victim.path, to: peer.address)
            try socket.send(pattern(100_000))
            peer.signal(SIGKILL)
            _ = try peer.waitForEnding()
            server.stop()
            try socket.abort()
        },
        HostileInput(.links, "a peer killed and started again, five times") { siege in
            for _ in 0..<5 {
                let peer = try siege.twin()
                let server = try EchoServer([peer])
                try checkedTransfer(siege.victim.path, to: peer.address)
                peer.signal(SIGKILL)
                _ = try peer.waitForEnding()
                server.stop()
            }
            let peer = try siege.twin()
            let server = try EchoServer([peer])
            try checkedTransfer(siege.victim.path, to: peer.address)
            server.stop()
            try peer.stop()
        },
        HostileInput(.links, "a peer that was absent and comes") { siege in
            for _ in 0..<3 { _ = try? connected(siege.victim.path, to: siege.twinAddress) }
            let peer = try siege.twin()
            let server = try EchoServer([peer])
            try checkedTransfer(siege.victim.path, to: peer.address)
            server.stop()
            try peer.stop()
        },
        HostileInput(.links, "a peer that stops in the middle of a transfer and goes on") { siege in
            let peer = try siege.twin()
            let server = try EchoServer([peer])
            let socket = try connected(siege.victim.path, to: peer.address)
            try socket.send(pattern(50_000))
            peer.signal(SIGSTOP)
            try siege.waitForBlocks(20)
            peer.signal(SIGCONT)
            guard try socket.receive(exactly: 50_000) == pattern(50_000) else { throw Failure("wrong echo") }
            socket.close()
            server.stop()
            try peer.stop()
        },
        HostileInput(.links, "a peer that accepts real connections and says nothing") { siege in
            let peer = try Impostor(at: siege.twinAddress)
            let attempt = try siege.attempt(to: siege.twinAddress)
            try waitUntil("the victim dials") { peer.accept() }
            try siege.waitForBlocks(5)
            try attempt.abandon()
        },
        HostileInput(.links, "a peer that accepts real connections and closes them at once") { siege in
            let peer = try Impostor(at: siege.twinAddress)
            let attempt = try siege.attempt(to: siege.twinAddress)
            for _ in 0..<3 { try waitUntil("the victim dials again") { peer.accept(closing: true) } }
            try attempt.abandon()
        },
        HostileInput(.links, "a peer that answers a SYN with garbage") { siege in
            let peer = try Impostor(at: siege.twinAddress)
            let attempt = try siege.attempt(to: siege.twinAddress)
            try waitUntil("the victim dials") { peer.accept() }
            peer.send([UInt8](repeating: 0xAA, count: 4096))
            try siege.waitForBlocks(5)
            try attempt.abandon()
        },
        HostileInput(.links, "a peer that answers a SYN with every combination of control bits") { siege in
            let peer = try Impostor(at: siege.twinAddress)
            for bits in 0..<UInt16(64) {
                let attempt = try siege.attempt(to: siege.twinAddress)
                try waitUntil("a SYN comes") {
                    _ = peer.accept()
                    return peer.answer(with: ControlBits(rawValue: bits))
                }
                try attempt.abandon()
            }
        },
    ]
}

/// Somebody at the port of a daemon who is none.
final class Impostor {
    private let listener: Int32
    private var clients: [Int32] = []
    private var received: [UInt8] = []

    init(at address: String) throws {
        listener = socket(AF_INET, nonblockingStreamSocket, 0)
        var on: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        guard let here = IPAddress(address),
            SocketAddress(Endpoint(here, 23300)).withPointer({ bind(listener, $0, $1) }) == 0, listen(listener, 64) == 0
        else { throw Failure("cannot listen on \(address): errno \(errno)") }
    }

    deinit { for descriptor in clients + [listener] { close(descriptor) } }

    /// Takes a real connection if one has come.
    func accept(closing: Bool = false) -> Bool {
        let descriptor = clinux_accept(listener, nil, nil)
        guard descriptor >= 0 else { return false }
        if closing { close(descriptor) } else { clients.append(descriptor) }
        return true
    }

    func send(_ bytes: [UInt8]) {
        for descriptor in clients { _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
    }

    /// Answers the next SYN with these bits and numbers that fit; false if there is none yet.
    func answer(with bits: ControlBits) -> Bool {
        guard let descriptor = clients.last else { return false }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        if count > 0 { received += buffer[..<count] }
        while received.count >= 16 {
            let length = Int(received[0]) << 8 | Int(received[1])
            guard received.count >= 16 + length else { return false }
            let segment = Array(received[16..<(16 + length)])
            received.removeFirst(16 + length)
            guard let (syn, _) = segment.withUnsafeBytes({ try? SegmentDecoder.decode($0) }),
                syn.controlBits.contains(.syn)
            else { continue }
            let header = SegmentHeader(
                sourcePort: syn.destinationPort, destinationPort: syn.sourcePort, sequenceNumber: SequenceNumber(5),
                acknowledgmentNumber: syn.sequenceNumber + 1, controlBits: bits, window: WindowField(100))
            send(frameBytes(segmentBytes(header, [1, 2, 3])))
            return true
        }
        return false
    }
}
