// Two hosts exchange bytes: handshake, data both ways, loss, close.
import TCPEngine
import TCPSegments
import Testing

/// Sends `toServer` from the client and `toClient` from the server, half-closing each direction at its end, until both
/// sides have read everything.
func exchange(_ pair: TwoHosts, toServer: [UInt8], toClient: [UInt8], limit: TimeInterval = .seconds(3600)) throws -> (
    client: [UInt8], server: [UInt8]
) {
    _ = try pair.listen()
    let client = try pair.connect()
    var server: Connection?
    pair.onIncoming = { server = pair.server.accept($0) }
    var atClient: [UInt8] = []
    var atServer: [UInt8] = []
    var sentByClient = 0
    var sentByServer = 0
    func pump(_ host: Host, _ c: Connection, _ bytes: [UInt8], _ sent: inout Int, _ got: inout [UInt8]) {
        while sent < bytes.count {
            let n = bytes[sent...].withUnsafeBytes { try? host.send(c, $0, at: pair.now) } ?? 0
            if n == 0 { break }
            sent += n
        }
        if sent == bytes.count { host.shutdownSending(c, at: pair.now) }
        var buffer = [UInt8](repeating: 0, count: 8192)
        while true {
            let n = buffer.withUnsafeMutableBytes { host.receive(c, into: $0, at: pair.now) }
            if n == 0 { break }
            got += buffer[..<n]
        }
    }
    pair.run(for: limit) {
        pump(pair.client, client, toServer, &sentByClient, &atClient)
        if let server { pump(pair.server, server, toClient, &sentByServer, &atServer) }
        return client.isAtEndOfStream && (server?.isAtEndOfStream ?? false)
    }
    return (atClient, atServer)
}

@Suite struct TransferTests {
    static let sequenceStarts: [UInt32] = [
        0, 1, .max, .max - 100, .max - 70_000, 1 << 31, (1 << 31) - 1, (1 << 31) - 70_000,
    ]

    @Test("bytes arrive both ways, wherever the sequence numbers begin", arguments: sequenceStarts)
    func bothWays(iss: UInt32) throws {
        let pair = TwoHosts(iss: iss)
        let a = pattern(300_000)
        let b = pattern(200_000, salt: 5)
        let got = try exchange(pair, toServer: a, toClient: b)
        #expect((got.server == a) as Bool, "server got \(got.server.count) of \(a.count)\n\(pair.trace)")
        #expect((got.client == b) as Bool, "client got \(got.client.count) of \(b.count)\n\(pair.trace)")
    }

    @Test("every byte arrives although one segment in k is lost", arguments: [3, 4, 5, 7, 13], sequenceStarts)
    func oneInKLost(k: Int, iss: UInt32) throws {
        let pair = TwoHosts(iss: iss)
        // A regular pattern could fall into step with the retransmissions for ever; a mixed one cannot.
        pair.drop = { number, _, _, _ in mixed(number) % UInt64(k) == 0 }
        let a = pattern(60_000)
        let b = pattern(40_000, salt: 9)
        let got = try exchange(pair, toServer: a, toClient: b)
        #expect((got.server == a) as Bool, "server got \(got.server.count) of \(a.count)\n\(pair.trace)")
        #expect((got.client == b) as Bool, "client got \(got.client.count) of \(b.count)\n\(pair.trace)")
    }

    @Test("a closed connection is gone on both hosts once TIME-WAIT has passed")
    func gone() throws {
        let pair = TwoHosts()
        _ = try exchange(pair, toServer: pattern(10), toClient: pattern(10))
        pair.run(for: .seconds(10))
        #expect(pair.client.connectionCount == 0, "\(pair.trace)")
        #expect(pair.server.connectionCount == 0, "\(pair.trace)")
    }

    @Test("a small receive buffer and a slow reader never deadlock", arguments: [1, 10, 100, 1000, 5000])
    func smallBuffer(size: Int) throws {
        var small = ConnectionConfiguration()
        small.receiveBufferSize = size
        let pair = TwoHosts(configuration: ConnectionConfiguration(), serverConfiguration: small)
        let a = pattern(min(20_000, size * 40))
        let got = try exchange(pair, toServer: a, toClient: [], limit: .seconds(36_000))
        #expect((got.server == a) as Bool, "server got \(got.server.count) of \(a.count)\n\(pair.trace)")
    }

    @Test("nobody listens: the connection is refused")
    func refused() throws {
        let pair = TwoHosts()
        let c = try pair.connect()
        pair.run(for: .seconds(5))
        #expect(c.state == .closed)
        #expect(pair.events.contains("client closed(Optional(TCPEngine.ConnectionError.refused))"), "\(pair.events)")
    }

    @Test("a peer that never answers: the connection times out after the SYN's retransmissions")
    func silent() throws {
        let pair = TwoHosts()
        pair.drop = { _, _, _, _ in true }
        let c = try pair.connect()
        pair.run(for: .seconds(300))
        #expect(c.state == .closed)
        #expect(pair.sent == 7, "one SYN and six retransmissions: \(pair.trace)")
        #expect(pair.events.contains("client closed(Optional(TCPEngine.ConnectionError.timedOut))"), "\(pair.events)")
    }
}
