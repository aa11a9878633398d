// A real daemon and a peer as simple as the original: MSS 536, window 4,096, checksum 0, no options.
import Chisocket
import Glibc
import TestSupport
import Testing

@Suite("A peer that speaks frames by hand", .timeLimit(.minutes(15)))
struct ScriptedPeerTests {
    /// A daemon that sends nothing twice, however slow the machine.
    private func daemon(_ address: String, in folder: TemporaryFolder) throws -> TestDaemon {
        try TestDaemon(address, in: folder) {
            $0.host.connection.initialRTO = .seconds(60)
            $0.host.connection.minimumRTO = .seconds(60)
        }
    }

    /// Takes data in order, acknowledging each segment, until `count` bytes are there.
    private func take(_ count: Int, from peer: ScriptedPeer, at start: UInt32, our sequence: UInt32) throws -> [UInt8] {
        var received: [UInt8] = []
        while received.count < count {
            let segment = try peer.receiveSubstance()
            #expect(segment.payload.count <= 536, "more than the default MSS: \(segment)")
            let next = start &+ UInt32(received.count)
            #expect(segment.sequence &- next < 4096, "outside of the window: \(segment)")
            guard segment.sequence == next else { continue }
            received += segment.payload
            try peer.send(Bits.ack, sequence: sequence, acknowledgment: start &+ UInt32(received.count))
        }
        return received
    }

    @Test("as a server: it is dialled, gets segments of at most 536 bytes and at most its window, and closes")
    func asServer() throws {
        let folder = try TemporaryFolder()
        let daemon = try daemon("127.89.1.1", in: folder)
        let listener = try ScriptedPeer.listen(at: "127.89.1.2")
        let socket = try Chisocket(.ipv4, daemon: daemon.path)
        try socket.limitWaiting()
        try socket.bind(to: try daemon.endpoint(4000))
        let connecting = Background { try socket.connect(to: try #require(ChisocketAddress("127.89.1.2", port: 7))) }
        let peer = try ScriptedPeer(accepting: listener, port: 7, peerPort: 4000)

        let syn = try peer.receive()
        #expect(syn.flags == Bits.syn && syn.sourcePort == 4000 && syn.destinationPort == 7 && syn.checksum == 0)
        // MSS, SACK-permitted, timestamps, window scale.
        #expect(syn.optionKinds.sorted() == [2, 3, 4, 8], "\(syn)")
        try peer.send(Bits.syn | Bits.ack, sequence: 1000, acknowledgment: syn.sequence &+ 1)
        let ack = try peer.receive()
        #expect(ack.flags & ~Bits.psh == Bits.ack && ack.acknowledgment == 1001)
        // What was not agreed upon is not used.
        #expect(ack.options.isEmpty, "\(ack)")
        #expect(connecting.join() == nil)

        let sent = pattern(20_000)
        let writing = Background { try socket.send(sent) }
        #expect(try take(20_000, from: peer, at: syn.sequence &+ 1, our: 1001) == sent)
        #expect(writing.join() == nil)

        // Data the other way, the second half before the first.
        let end = syn.sequence &+ 20_001
        try peer.send(Bits.ack | Bits.psh, sequence: 1001 + 536, acknowledgment: end, [UInt8](repeating: 2, count: 536))
        try peer.send(Bits.ack | Bits.psh, sequence: 1001, acknowledgment: end, [UInt8](repeating: 1, count: 536))
        #expect(
            try socket.receive(exactly: 1072)
                == [UInt8](repeating: 1, count: 536) + [UInt8](repeating: 2, count: 536))
        try peer.send(Bits.ack | Bits.fin, sequence: 1001 + 1072, acknowledgment: end)
        #expect(try socket.receive().isEmpty)
        socket.close()
        let fin = try peer.receiveSubstance()
        #expect(fin.flags == Bits.fin | Bits.ack && fin.sequence == end && fin.acknowledgment == 1001 + 1072 + 1)
        try peer.send(Bits.ack, sequence: 1001 + 1073, acknowledgment: end &+ 1)
        try waitUntil { try DaemonControl.sockets(of: daemon.path).isEmpty }
    }

    @Test("as a client: it dials, its checksum of 0 is fine, and a wrong one is dropped")
    func asClient() throws {
        let folder = try TemporaryFolder()
        let daemon = try daemon("127.89.2.1", in: folder)
        let listener = try daemon.listener(port: 7)
        let peer = try ScriptedPeer(from: "127.89.2.2", to: "127.89.2.1", port: 5000, peerPort: 7)
        try peer.send(Bits.syn, sequence: 0xFFFF_FFF0)
        let answer = try peer.receive()
        #expect(answer.flags == Bits.syn | Bits.ack && answer.acknowledgment == 0xFFFF_FFF1)
        // Only the MSS may come unasked.
        #expect(answer.optionKinds == [2], "\(answer)")
        let next = answer.sequence &+ 1
        try peer.send(Bits.ack, sequence: 0xFFFF_FFF1, acknowledgment: next)
        let server = try listener.acceptLimited()

        // 40 bytes across the wrap of the sequence numbers; first with a checksum that is wrong.
        try peer.send(Bits.ack | Bits.psh, sequence: 0xFFFF_FFF1, acknowledgment: next, [9, 9, 9], checksum: 1)
        try peer.send(Bits.ack | Bits.psh, sequence: 0xFFFF_FFF1, acknowledgment: next, pattern(40))
        #expect(try server.receive(exactly: 40) == pattern(40))
        let back = pattern(3000)
        let writing = Background { try server.send(back) }
        #expect(try take(3000, from: peer, at: next, our: 0xFFFF_FFF1 &+ 40) == back)
        #expect(writing.join() == nil)
        server.close()
        let fin = try peer.receiveSubstance()
        #expect(fin.flags & Bits.fin != 0 && fin.sequence == next &+ 3000 && fin.acknowledgment == 25)
        try peer.send(Bits.ack, sequence: 25, acknowledgment: next &+ 3001)
        try peer.send(Bits.ack | Bits.fin, sequence: 25, acknowledgment: next &+ 3001)
        let last = try peer.receive()
        #expect(last.flags == Bits.ack && last.acknowledgment == 26 && last.sequence == next &+ 3001)
    }

    @Test("a segment for nobody is answered with a reset by RFC 9293 3.10.7.1")
    func stranger() throws {
        let folder = try TemporaryFolder()
        let daemon = try daemon("127.89.3.1", in: folder)
        let peer = try ScriptedPeer(from: "127.89.3.2", to: "127.89.3.1", port: 5000, peerPort: 9)
        try peer.send(Bits.syn, sequence: 77)
        let first = try peer.receive()
        #expect(first.flags == Bits.rst | Bits.ack && first.sequence == 0 && first.acknowledgment == 78)
        try peer.send(Bits.ack, sequence: 77, acknowledgment: 4711)
        let second = try peer.receive()
        #expect(second.flags == Bits.rst && second.sequence == 4711)
        _ = daemon
    }
}
