// What connections cost: memory when idle, time to set up, use and tear down.
import TCPEngine
import TCPSegments

/// Opens connections, at most 10,000 to each port.
struct Crowd {
    let pair = Pair()
    private var listeners: [Listener] = []
    private(set) var connections: [(client: Connection, server: Connection)] = []

    init(capacity: Int) { connections.reserveCapacity(capacity) }

    mutating func grow(to count: Int) throws {
        while connections.count < count {
            let index = connections.count / 10_000
            let port = UInt16(7 + index)
            if listeners.count == index {
                listeners.append(try pair.server.listen(on: Endpoint(pair.serverAddress, port), backlog: 16))
            }
            pair.now = pair.now + .microseconds(20)
            connections.append(try pair.connect(to: port, listeners[index]))
            pair.handleTimeouts()
        }
    }

    /// One byte to the server and one back over a connection.
    func exchange(_ index: Int) throws {
        let (client, server) = connections[index]
        pair.now = pair.now + .microseconds(20)
        try ping(from: client, of: pair.client, to: server, of: pair.server)
        try ping(from: server, of: pair.server, to: client, of: pair.client)
        pair.handleTimeouts()
    }

    private func ping(from: Connection, of sender: Host, to: Connection, of receiver: Host) throws {
        var byte: UInt8 = 1
        _ = try withUnsafeBytes(of: &byte) { try sender.send(from, $0, at: pair.now) }
        try pair.settle()
        guard withUnsafeMutableBytes(of: &byte, { receiver.receive(to, into: $0, at: pair.now) }) == 1 else {
            throw ConnectionError.timedOut
        }
        try pair.settle()
    }
}

struct CrowdFigures {
    /// Bytes of resident memory for each end of an established connection that has carried a byte each way.
    var memoryPerEnd: Double
    /// CPU nanoseconds to set one up, both ends together.
    var setUp: Double
    /// CPU nanoseconds for a byte there and a byte back over one of them, chosen at random.
    var exchange: Double
}

/// Sets up `count` connections between two hosts and uses each. `memory` was resident when the program began.
func crowd(of count: Int, above memory: Int) throws -> CrowdFigures {
    var crowd = Crowd(capacity: count)
    try crowd.grow(to: 1)
    try crowd.exchange(0)
    var start = cpuTime()
    try crowd.grow(to: count)
    let setUp = Double(cpuTime() - start) / Double(count)
    for index in 0..<count { try crowd.exchange(index) }
    // What was armed for the handshakes and the exchanges is over after some seconds, and nothing else happens.
    crowd.pair.now = crowd.pair.now + .seconds(10)
    crowd.pair.handleTimeouts()
    try crowd.pair.settle()
    let perEnd = Double(residentMemory() - memory) / Double(2 * count)
    let rounds = 100_000
    var place = 1
    start = cpuTime()
    for _ in 0..<rounds {
        place = (place &* 0x5DEE_CE66D &+ 11) & (1 << 48 - 1)
        try crowd.exchange((place >> 16) % count)
    }
    return CrowdFigures(memoryPerEnd: perEnd, setUp: setUp, exchange: Double(cpuTime() - start) / Double(rounds))
}

/// Connections that are set up, carry a byte each way, and are closed, one after the other: CPU nanoseconds of each. TIME-WAIT
/// lasts two seconds of virtual time, in which 10,000 connections come and go.
func churn(_ count: Int) throws -> Double {
    let pair = Pair()
    let listener = try pair.server.listen(on: Endpoint(pair.serverAddress, 7), backlog: 16)
    var byte: UInt8 = 1
    let start = cpuTime()
    for _ in 0..<count {
        pair.now = pair.now + .microseconds(200)
        pair.handleTimeouts()
        let (client, server) = try pair.connect(to: 7, listener)
        _ = try withUnsafeBytes(of: &byte) { try pair.client.send(client, $0, at: pair.now) }
        try pair.settle()
        _ = withUnsafeMutableBytes(of: &byte) { pair.server.receive(server, into: $0, at: pair.now) }
        _ = try withUnsafeBytes(of: &byte) { try pair.server.send(server, $0, at: pair.now) }
        try pair.settle()
        _ = withUnsafeMutableBytes(of: &byte) { pair.client.receive(client, into: $0, at: pair.now) }
        pair.client.close(client, at: pair.now)
        pair.server.close(server, at: pair.now)
        try pair.settle()
    }
    return Double(cpuTime() - start) / Double(count)
}
