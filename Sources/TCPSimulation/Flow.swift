// One connection in a simulation with its two users: what they send, when they read, how they end; every byte is checked.
import Impairments
import TCPEngine
import TCPSegments

/// What the two users of a connection do.
public enum ApplicationPattern: String, CaseIterable, Sendable {
    /// The client sends, the server reads.
    case bulk
    /// Both send at once.
    case bothWays = "both ways"
    /// The client asks, the server answers, and again.
    case requestResponse = "request-response"
    /// The client sends and shuts down; only then the server sends.
    case halfClose = "half-close"
    /// One of them resets the connection in the middle.
    case abort
    /// The reader takes a few bytes at a time, with pauses.
    case slowReader = "slow reader"
    /// The reader reads nothing for long, so that the window closes.
    case zeroWindow = "zero window"
}

/// One connection and its two users, client first.
final class Flow {
    /// One user's side.
    private struct User {
        var connection: Connection?
        var toSend = 0
        var sent = 0
        var received = 0
        var sawEnd = false
        var shutDown = false
        var closed = false
        var nextRead = Instant.origin
        var wakesAt = Instant.origin
    }

    let pattern: ApplicationPattern
    let hosts: [Int]
    let port: UInt16
    /// Sentences about what went wrong.
    private(set) var failures: [String] = []
    private unowned let network: SimulatedNetwork
    private var users = [User(), User()]
    private let requestSize, responseSize: Int
    private let readSize: Int
    private let readPause: TimeInterval
    /// Who resets the connection, and after how many bytes sent and received.
    private let aborter: Int, abortAfter: Int
    private var ended: [ConnectionError?] = [nil, nil]
    private(set) var isAborted = false

    /// What a flow does and how much, chosen by `random`; at most `limit` bytes in all.
    init(
        between hosts: [Int], port: UInt16, limit: Int, network: SimulatedNetwork, random: inout SeededGenerator
    ) {
        self.hosts = hosts
        self.port = port
        self.network = network
        pattern = ApplicationPattern.allCases[Int(random.below(Int64(ApplicationPattern.allCases.count)))]
        let total = 1 + Int(random.below(Int64(limit)))
        requestSize = 1 + Int(random.below(2000))
        responseSize = 1 + Int(random.below(4000))
        var sizes = [total, 0]
        switch pattern {
        case .bulk, .slowReader, .zeroWindow: break
        case .bothWays, .halfClose, .abort: sizes = [total / 2 + 1, total / 2 + 1]
        case .requestResponse:
            let rounds = 1 + total / (requestSize + responseSize)
            sizes = [rounds * requestSize, rounds * responseSize]
        }
        users[0].toSend = sizes[0]
        users[1].toSend = sizes[1]
        readSize = pattern == .slowReader ? 1 + Int(random.below(2000)) : 1 << 20
        // So that a slow reader, too, is done in twenty virtual seconds.
        readPause = pattern == .slowReader ? .seconds(20) * Int64(readSize) / Int64(max(total, readSize)) : .zero
        if pattern == .zeroWindow { users[1].nextRead = network.now + .seconds(1 + random.below(15)) }
        aborter = Int(random.below(2))
        abortAfter = Int(random.below(Int64(sizes[0] + sizes[1])))
    }

    /// Both users are done: everything arrived and both ends were seen, or the connection was aborted.
    var isComplete: Bool {
        isAborted
            || users.indices.allSatisfy { users[$0].sawEnd && users[$0].received == users[1 - $0].toSend }
    }

    /// How far it has come, for reports.
    var progress: String {
        let states = users.map { $0.connection.map { "\($0.state)" } ?? "no connection" }
        return "\(pattern.rawValue) \(hosts[0]) to \(hosts[1]) port \(port): client sent \(users[0].sent) of "
            + "\(users[0].toSend), server read \(users[1].received); server sent \(users[1].sent) of "
            + "\(users[1].toSend), client read \(users[0].received); \(states), errors \(ended)"
    }

    func begin(_ connection: Connection) { users[0].connection = connection }
    /// False if there is one already: a late copy of the first segment, where that suffices to make a connection (RFC 7413 6.1;
    /// SYN cookies), is for the application to tell.
    func accepted(_ connection: Connection) -> Bool {
        guard users[1].connection == nil else { return false }
        users[1].connection = connection
        return true
    }

    /// True if this is one of its connections.
    func owns(_ connection: Connection) -> Bool { users.contains { $0.connection === connection } }

    func connectionEnded(_ connection: Connection, _ error: ConnectionError?) {
        guard let index = users.firstIndex(where: { $0.connection === connection }) else { return }
        ended[index] = error
        if let error, !isAborted { failures.append("user \(index) heard \(error): \(progress)") }
    }

    /// Lets both users do what they can now.
    func pump() {
        for index in users.indices {
            guard let connection = users[index].connection, !users[index].closed else { continue }
            let host = network.nodes[hosts[index]].host
            send(index, connection, host)
            receive(index, connection, host)
            if pattern == .abort, index == aborter, !isAborted, users[index].sent + users[index].received >= abortAfter,
                connection.state != .synSent
            {
                isAborted = true
                users[index].closed = true
                host.abort(connection, at: network.now)
            } else if users[index].sawEnd, users[index].shutDown {
                users[index].closed = true
                host.close(connection, at: network.now)
            }
        }
    }

    /// How many bytes a user may have sent by now.
    private func allowance(_ index: Int) -> Int {
        let user = users[index]
        switch pattern {
        case .bulk, .bothWays, .slowReader, .zeroWindow, .abort: return user.toSend
        case .requestResponse:
            let rounds = index == 0 ? 1 + user.received / responseSize : user.received / requestSize
            return min(user.toSend, rounds * (index == 0 ? requestSize : responseSize))
        case .halfClose: return index == 0 || user.sawEnd ? user.toSend : 0
        }
    }

    private func send(_ index: Int, _ connection: Connection, _ host: Host) {
        let limit = allowance(index)
        while users[index].sent < limit {
            let from = users[index].sent
            let n =
                (try? host.withSendSpace(connection, maximum: limit - from, at: network.now) { buffer in
                    for i in buffer.indices { buffer[i] = Exchange.byte(at: from + i, from: index) }
                    return buffer.count
                }) ?? 0
            if n == 0 { return }
            users[index].sent += n
        }
        if users[index].sent == users[index].toSend, !users[index].shutDown {
            users[index].shutDown = true
            host.shutdownSending(connection, at: network.now)
        }
    }

    private func receive(_ index: Int, _ connection: Connection, _ host: Host) {
        if index == 1, network.now < users[1].nextRead {
            if users[1].wakesAt != users[1].nextRead {
                users[1].wakesAt = users[1].nextRead
                network.wake(at: users[1].nextRead)
            }
            return
        }
        var budget = index == 1 ? readSize : 1 << 20
        while budget > 0 {
            let position = users[index].received
            let n = host.withReceivedBytes(connection, at: network.now) { bytes in
                let n = min(bytes.count, budget)
                if let wrong = (0..<n).first(where: { bytes[$0] != Exchange.byte(at: position + $0, from: 1 - index) })
                {
                    failures.append("a wrong byte at \(position + wrong): \(progress)")
                }
                return n
            }
            users[index].received += n
            budget -= n
            if n == 0 { break }
        }
        if users[index].received > users[1 - index].sent { failures.append("more was read than sent: \(progress)") }
        if connection.isAtEndOfStream { users[index].sawEnd = true }
        if index == 1, readPause > .zero, budget == 0 {
            users[1].nextRead = network.now + readPause
            users[1].wakesAt = users[1].nextRead
            network.wake(at: users[1].nextRead)
        }
    }
}
