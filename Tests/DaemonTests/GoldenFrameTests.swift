// What a daemon puts on the wire, byte by byte: handshake, data, end.
import Chisocket
import Daemon
import Foundation
import Glibc
import TCPEngine
import TCPSegments
import TestSupport
import Testing

@Suite("Golden frames", .timeLimit(.minutes(15)))
struct GoldenFrameTests {
    /// Receives a segment and compares it with hexadecimal digits, among which spaces do not count.
    private func expect(_ peer: ScriptedPeer, sends text: String, at place: SourceLocation = #_sourceLocation) throws {
        let segment = try peer.receive()
        #expect(segment.description == text.filter { !$0.isWhitespace }, sourceLocation: place)
    }

    private func daemon(_ address: String, in folder: TemporaryFolder, timestamps: Bool = false) throws -> TestDaemon {
        try TestDaemon(address, in: folder) {
            $0.host.initialSequenceNumber = SequenceNumber(0x0102_0304)
            $0.host.connection.timestamps = timestamps
            // However slow the machine: nothing is sent twice.
            $0.host.connection.initialRTO = .seconds(60)
            $0.host.connection.minimumRTO = .seconds(60)
        }
    }

    @Test("the active end: SYN, ACK, data, FIN, and the ACK of the peer's FIN")
    func active() throws {
        let folder = try TemporaryFolder()
        let daemon = try daemon("127.89.4.1", in: folder)
        let listener = try ScriptedPeer.listen(at: "127.89.4.2")
        let socket = try Chisocket(.ipv4, daemon: daemon.path)
        try socket.limitWaiting()
        try socket.bind(to: try daemon.endpoint(0x1234))
        let connecting = Background { try socket.connect(to: try #require(ChisocketAddress("127.89.4.2", port: 7))) }
        let peer = try ScriptedPeer(accepting: listener, port: 7, peerPort: 0x1234)
        // Ports, SEQ, ACK, header length and bits, window, checksum 0, urgent pointer; MSS 65,495, scale 7, SACK permitted.
        try expect(peer, sends: "1234 0007 01020304 00000000 8002 ffff 0000 0000 0204 ffd7 0303 07 0402 000000")
        try peer.send(Bits.syn | Bits.ack, sequence: 0xA0A0_A0A0, acknowledgment: 0x0102_0305)
        try expect(peer, sends: "1234 0007 01020305 a0a0a0a1 5010 ffff 0000 0000")
        #expect(connecting.join() == nil)
        try socket.send(Array("hello".utf8))
        try expect(peer, sends: "1234 0007 01020305 a0a0a0a1 5018 ffff 0000 0000 68656c6c6f")
        try peer.send(Bits.ack, sequence: 0xA0A0_A0A1, acknowledgment: 0x0102_030A)
        try socket.shutdown(.sending)
        try expect(peer, sends: "1234 0007 0102030a a0a0a0a1 5011 ffff 0000 0000")
        try peer.send(Bits.ack | Bits.fin, sequence: 0xA0A0_A0A1, acknowledgment: 0x0102_030B)
        try expect(peer, sends: "1234 0007 0102030b a0a0a0a2 5010 fffe 0000 0000")
    }

    @Test("the passive end: SYN-ACK, ACK of data, data, FIN; the window tells what is promised")
    func passive() throws {
        let folder = try TemporaryFolder()
        let daemon = try daemon("127.89.5.1", in: folder)
        let listener = try daemon.listener(port: 7)
        let peer = try ScriptedPeer(from: "127.89.5.2", to: "127.89.5.1", port: 0x4321, peerPort: 7)
        try peer.send(Bits.syn, sequence: 0x10)
        try expect(peer, sends: "0007 4321 01020304 00000011 6012 ffff 0000 0000 0204 ffd7")
        try peer.send(Bits.ack, sequence: 0x11, acknowledgment: 0x0102_0305)
        let server = try listener.acceptLimited()
        try peer.send(Bits.ack | Bits.psh, sequence: 0x11, acknowledgment: 0x0102_0305, [1, 2, 3])
        #expect(try server.receive(exactly: 3) == [1, 2, 3])
        try expect(peer, sends: "0007 4321 01020305 00000014 5010 fffc 0000 0000")
        try server.send([0xAB])
        try expect(peer, sends: "0007 4321 01020305 00000014 5018 fffc 0000 0000 ab")
        try peer.send(Bits.ack, sequence: 0x14, acknowledgment: 0x0102_0306)
        server.close()
        try expect(peer, sends: "0007 4321 01020306 00000014 5011 fffc 0000 0000")
    }

    @Test("a SYN with timestamps, whose value alone is not known beforehand")
    func timestamps() throws {
        let folder = try TemporaryFolder()
        let daemon = try daemon("127.89.6.1", in: folder, timestamps: true)
        let listener = try ScriptedPeer.listen(at: "127.89.6.2")
        let socket = try Chisocket(.ipv4, daemon: daemon.path)
        try socket.limitWaiting()
        try socket.bind(to: try daemon.endpoint(0x1234))
        let connecting = Background {
            _ = errnoOf { try socket.connect(to: try #require(ChisocketAddress("127.89.6.2", port: 7))) }
        }
        let peer = try ScriptedPeer(accepting: listener, port: 7, peerPort: 0x1234)
        let syn = try peer.receive().description
        let place = try #require(syn.range(of: "080a")).upperBound
        let value = place..<syn.index(place, offsetBy: 8)
        #expect(
            syn.replacingCharacters(in: value, with: "--------")
                == "123400070102030400000000a002ffff000000000204ffd703030704 02080a--------0000000000"
                .filter { $0 != " " })
        try peer.send(Bits.rst | Bits.ack, sequence: 0, acknowledgment: 0x0102_0305)
        #expect(connecting.join() == nil)
    }
}
