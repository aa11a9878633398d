// Two applications over one connection: each sends its bytes and closes its side; every byte is checked on arrival.
import Impairments
import TCPEngine
import TCPSegments

/// A transfer both ways between two hosts. The bytes are a function of their position, so that the receiver can check
/// them without a copy.
public final class Exchange {
    /// The network it runs in: host 0 connects, host 1 listens.
    public let network: SimulatedNetwork
    private let sizes: [Int]
    private var connections: [Connection?] = [nil, nil]
    private var sent = [0, 0]
    private var received = [0, 0]
    private var hasEnded = [false, false]
    /// The first position, by receiver, at which a wrong byte arrived.
    public private(set) var firstWrongByte: Int?
    /// Errors with which connections ended.
    public private(set) var errors: [ConnectionError] = []
    /// How many bytes the readers take at a time.
    private let readSize: Int

    /// Host 0 will send `toListener` bytes, host 1 `toConnector`.
    public init(
        network: SimulatedNetwork, toListener: Int, toConnector: Int, readSize: Int = 16_384,
        configurations: (HostConfiguration, HostConfiguration) = (HostConfiguration(), HostConfiguration())
    ) throws(ConnectionError) {
        self.network = network
        self.readSize = readSize
        sizes = [toListener, toConnector]
        network.addHost(configurations.0)
        network.addHost(configurations.1)
        _ = try network.nodes[1].host.listen(on: Endpoint(network.nodes[1].address, 80), backlog: 8)
        connections[0] = try network.connect(from: 0, to: 1, port: 80)
        network.onIncoming = { [unowned self] index, listener in
            connections[index] = network.nodes[index].host.accept(listener)
        }
        network.onEvent = { [unowned self] _, _, event in
            if case .closed(let error?) = event { errors.append(error) }
        }
    }

    /// The byte at `position` of the stream that host `sender` sends.
    static func byte(at position: Int, from sender: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: position &* 131 &+ (position >> 8) &* 17 &+ (position >> 16) &+ sender)
    }

    /// Runs until both sides have read to the end, or for `limit` of virtual time. True if every byte was right. `watch` looks on
    /// after every step.
    public func run(limit: TimeInterval, watch: () -> Void = {}) -> Bool {
        let end = network.now + limit
        var before = -1
        // When nothing is left to happen on the wire, the readers may still have something to read.
        while !isComplete, before != received[0] + received[1], network.now < end {
            before = received[0] + received[1]
            network.run(for: end - network.now) {
                for index in 0...1 { pump(index) }
                watch()
                return isComplete
            }
        }
        return isComplete && firstWrongByte == nil && errors.isEmpty && network.violations.isEmpty
    }

    /// True once both streams have been read to their ends.
    public var isComplete: Bool { received[1] == sizes[0] && received[0] == sizes[1] && hasEnded[0] && hasEnded[1] }

    /// How far each direction has come, for reports.
    public var progress: String {
        "host 1 has \(received[1]) of \(sizes[0]) bytes, host 0 has \(received[0]) of \(sizes[1]), errors \(errors)"
    }

    private func pump(_ index: Int) {
        guard let connection = connections[index] else { return }
        let host = network.nodes[index].host
        var room = true
        while sent[index] < sizes[index], room {
            let from = sent[index]
            let n =
                (try? host.withSendSpace(connection, maximum: sizes[index] - from, at: network.now) { buffer in
                    for i in buffer.indices { buffer[i] = Self.byte(at: from + i, from: index) }
                    return buffer.count
                }) ?? 0
            sent[index] += n
            room = n > 0
        }
        if sent[index] == sizes[index] { host.shutdownSending(connection, at: network.now) }
        _ = host.withReceivedBytes(connection, at: network.now) { bytes in
            let n = min(bytes.count, readSize)
            for i in 0..<n where bytes[i] != Self.byte(at: received[index] + i, from: 1 - index) {
                firstWrongByte = firstWrongByte ?? received[index] + i
            }
            received[index] += n
            return n
        }
        if connection.isAtEndOfStream { hasEnded[index] = true }
    }
}
