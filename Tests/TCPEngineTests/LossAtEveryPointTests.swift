// Short lives of a connection between two hosts, with any one, any two and any run of their segments lost.
import TCPEngine
import TCPSegments
import Testing

/// A short life of a connection between two hosts, run with some of its segments lost.
enum Life: String, CaseIterable, Sendable, CustomStringConvertible {
    case clientClosesFirst = "the client closes first"
    case serverClosesFirst = "the server closes first"
    case bothClose = "both close at once"
    case bothOpen = "both open at once"
    case smallWindow = "a tiny window, and a slow reader"
    case halfClose = "the answer follows the FIN"

    var description: String { rawValue }

    /// Runs it; nil if all went well, else what did not.
    func run(iss: UInt32 = .max - 5, losing lost: Set<Int>) throws -> String? {
        var serverConfiguration = ConnectionConfiguration()
        if self == .smallWindow { serverConfiguration.receiveBufferSize = 40 }
        let pair = TwoHosts(iss: iss, mss: 100, serverConfiguration: serverConfiguration)
        pair.drop = { number, _, _, _ in lost.contains(number) }
        let local = Endpoint(TwoHosts.clientAddress, 9)
        let remote = Endpoint(TwoHosts.serverAddress, 7)
        var server: Connection?
        let client = try pair.client.open(
            from: local, localAddress: local.address, to: remote, at: pair.now)
        if self == .bothOpen {
            server = try pair.server.open(from: remote, localAddress: remote.address, to: local, at: pair.now)
        } else {
            _ = try pair.listen()
            pair.onIncoming = { server = pair.server.accept($0) }
        }
        let request = pattern(self == .smallWindow ? 200 : 250)
        let answer = self == .smallWindow ? [] : pattern(150, salt: 3)
        var toServer = 0
        var toClient = 0
        var atServer: [UInt8] = []
        var atClient: [UInt8] = []
        var reads = 0
        func send(_ host: Host, _ c: Connection, _ bytes: [UInt8], _ sent: inout Int) {
            while sent < bytes.count {
                let n = bytes[sent...].withUnsafeBytes { try? host.send(c, $0, at: pair.now) } ?? 0
                if n == 0 { return }
                sent += n
            }
        }
        func read(_ host: Host, _ c: Connection, _ got: inout [UInt8], limit: Int = 4096) {
            var buffer = [UInt8](repeating: 0, count: limit)
            let n = buffer.withUnsafeMutableBytes { host.receive(c, into: $0, at: pair.now) }
            got += buffer[..<n]
        }
        func everythingIsThere() -> Bool { atServer.count == request.count && atClient.count == answer.count }
        func act() -> Bool {
            send(pair.client, client, request, &toServer)
            guard let server else { return false }
            reads += 1
            if self != .smallWindow || reads % 3 == 0 {
                read(pair.server, server, &atServer, limit: self == .smallWindow ? 15 : 4096)
            }
            read(pair.client, client, &atClient)
            if self != .halfClose || server.isAtEndOfStream { send(pair.server, server, answer, &toClient) }
            switch self {
            case .clientClosesFirst, .smallWindow:
                if toServer == request.count { pair.client.shutdownSending(client, at: pair.now) }
                if server.isAtEndOfStream { pair.server.shutdownSending(server, at: pair.now) }
            case .serverClosesFirst:
                if toClient == answer.count { pair.server.shutdownSending(server, at: pair.now) }
                if client.isAtEndOfStream { pair.client.shutdownSending(client, at: pair.now) }
            case .bothClose, .bothOpen:
                if everythingIsThere() {
                    pair.client.shutdownSending(client, at: pair.now)
                    pair.server.shutdownSending(server, at: pair.now)
                }
            case .halfClose:
                if toServer == request.count { pair.client.shutdownSending(client, at: pair.now) }
                if toClient == answer.count { pair.server.shutdownSending(server, at: pair.now) }
            }
            return pair.client.connectionCount == 0 && pair.server.connectionCount == 0
        }
        // The slow reader acts also when nothing else happens.
        for _ in 0..<100 where pair.client.connectionCount + pair.server.connectionCount > 0 {
            pair.run(for: .seconds(300), until: act)
        }
        var wrong: [String] = []
        if atServer != request { wrong.append("the server got \(atServer.count) of \(request.count) bytes") }
        if atClient != answer { wrong.append("the client got \(atClient.count) of \(answer.count) bytes") }
        if pair.client.connectionCount + pair.server.connectionCount > 0 {
            wrong.append("left: client \(client.state), server \(server.map { "\($0.state)" } ?? "none")")
        }
        if pair.events.filter({ $0.contains("closed(Optional") }).count > 0 { wrong.append("\(pair.events)") }
        return wrong.isEmpty ? nil : "losing \(lost.sorted()): \(wrong.joined(separator: "; "))\n\(pair.trace)"
    }
}

@Suite struct LossAtEveryPointTests {
    @Test("whichever one segment is lost, all bytes arrive and both ends finish", arguments: Life.allCases)
    func one(life: Life) throws {
        for number in 0...40 {
            if let failure = try life.run(losing: [number]) { Issue.record("\(failure)") }
        }
    }

    @Test("whichever two segments are lost, too", arguments: Life.allCases)
    func two(life: Life) throws {
        for first in 1...14 {
            for second in (first + 1)...(first + 6) {
                if let failure = try life.run(losing: [first, second]) { Issue.record("\(failure)") }
            }
        }
    }

    @Test("and whichever run of segments is lost", arguments: Life.allCases, [3, 6])
    func run(life: Life, length: Int) throws {
        for first in 1...20 {
            let failure = try life.run(iss: (1 << 31) - 7, losing: Set(first..<(first + length)))
            if let failure { Issue.record("\(failure)") }
        }
    }
}
