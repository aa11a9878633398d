// A passive OPEN's queues by Linux's rules: what is ignored when they are full, and that they recover.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct ListenTests {
    /// A listening host and any number of peers on different ports; nothing is accepted unless asked.
    final class Crowd {
        let host: Host
        let listener: Listener
        let local = Endpoint(IPAddress(10, 0, 0, 1), 7)
        let peer = IPAddress(10, 0, 0, 2)
        var now = Instant(nanoseconds: 1_000_000_000)
        var incoming = 0
        private var iss: [UInt16: SequenceNumber] = [:]

        init(backlog: Int, _ configure: (inout HostConfiguration) -> Void = { _ in }) throws {
            var configuration = HostConfiguration()
            configure(&configuration)
            host = Host(configuration: configuration, seed: 9)
            host.addLink(
                LinkID(1),
                LinkProperties(maximumSegmentSize: 1460, maximumSegmentLifetime: .seconds(1), computesChecksum: false),
                for: AddressPair(local: local.address, remote: peer), at: now)
            listener = try host.listen(on: local, backlog: backlog)
        }

        /// A segment from the peer's port; what leaves, by port.
        @discardableResult
        func inject(
            _ bits: ControlBits, from port: UInt16, seq: UInt32, count: Int = 0, _ options: TCPOptions = TCPOptions()
        ) -> [(UInt16, SegmentHeader)] {
            let header = SegmentHeader(
                sourcePort: port, destinationPort: local.port, sequenceNumber: SequenceNumber(1000 + seq),
                acknowledgmentNumber: bits.contains(.ack) ? (iss[port] ?? SequenceNumber(0)) + 1 : SequenceNumber(0),
                controlBits: bits, window: WindowField(1000), options: options)
            pattern(count).withUnsafeBytes {
                host.handle(
                    header, payload: $0, tuple: FourTuple(local: local, remote: Endpoint(peer, port)), on: LinkID(1),
                    at: now)
            }
            return drain()
        }

        func drain() -> [(UInt16, SegmentHeader)] {
            var out: [(UInt16, SegmentHeader)] = []
            while let output = host.poll(at: now) {
                switch output {
                case .transmit(let transmission, let tuple, _):
                    let header = transmission.segment(0).header
                    if header.controlBits.contains(.syn) { iss[tuple.remote.port] = header.sequenceNumber }
                    out.append((tuple.remote.port, header))
                case .incoming: incoming += 1
                case .event, .pending, .linkWanted: break
                }
            }
            return out
        }

        func wait(_ duration: TimeInterval) -> [(UInt16, SegmentHeader)] {
            let end = now + duration
            var out: [(UInt16, SegmentHeader)] = []
            while let next = host.nextTimeout, next <= end {
                now = max(now, next)
                host.handleTimeout(at: now)
                out += drain()
            }
            now = end
            return out
        }

        func connect(_ port: UInt16) {
            inject(.syn, from: port, seq: 0)
            inject(.ack, from: port, seq: 1)
        }
    }

    @Test(
        "one more than the backlog is established; further SYNs are ignored until there is room (Linux)",
        arguments: [1, 2, 5])
    func acceptQueue(backlog: Int) throws {
        let crowd = try Crowd(backlog: backlog)
        for port in 0..<UInt16(backlog + 1) { crowd.connect(5000 + port) }
        #expect(crowd.listener.acceptQueueCount == backlog + 1)
        #expect(crowd.inject(.syn, from: 6000, seq: 0).isEmpty)
        #expect(crowd.host.statistics.synsDropped == 1)
        #expect(crowd.host.accept(crowd.listener) != nil)
        #expect(crowd.inject(.syn, from: 6000, seq: 0).map(\.1.controlBits) == [[.syn, .ack]])
    }

    @Test("the last ACK of a handshake is ignored while the accept queue is full; the SYN-ACK again brings it up")
    func deferred() throws {
        let crowd = try Crowd(backlog: 1)
        // Three SYNs are answered before any ACK comes.
        for port: UInt16 in [5000, 5001, 5002] { crowd.inject(.syn, from: port, seq: 0) }
        for port: UInt16 in [5000, 5001, 5002] { #expect(crowd.inject(.ack, from: port, seq: 1).isEmpty) }
        #expect(crowd.listener.acceptQueueCount == 2)
        #expect(crowd.host.statistics.acceptsDeferred == 1)
        _ = crowd.host.accept(crowd.listener)
        // The peer believes it is connected; the timer asks it once more.
        let again = crowd.wait(.milliseconds(1500))
        #expect(again.map(\.0) == [5002])
        #expect(again.first?.1.controlBits == [.syn, .ack])
        crowd.inject(.ack, from: 5002, seq: 1)
        #expect(crowd.listener.acceptQueueCount == 2)
    }

    @Test("a deferred connection comes up by the peer's data as well, and loses none")
    func deferredData() throws {
        let crowd = try Crowd(backlog: 1)
        for port: UInt16 in [5000, 5001, 5002] { crowd.inject(.syn, from: port, seq: 0) }
        for port: UInt16 in [5000, 5001, 5002] { crowd.inject(.ack, from: port, seq: 1) }
        #expect(crowd.inject([.ack, .psh], from: 5002, seq: 1, count: 20).isEmpty)
        for _ in 0..<2 { _ = crowd.host.accept(crowd.listener) }
        crowd.inject([.ack, .psh], from: 5002, seq: 1, count: 20)
        let connection = try #require(crowd.host.accept(crowd.listener))
        #expect(connection.tuple.remote.port == 5002 && connection.receivedCount == 20)
    }

    @Test("half-open connections are bounded, and their room comes back when they are reset or time out")
    func synQueue() throws {
        let crowd = try Crowd(backlog: 2) { $0.synCookies = .never }
        var answered: [UInt16] = []
        for port: UInt16 in 5000..<5020 where !crowd.inject(.syn, from: port, seq: 0).isEmpty { answered.append(port) }
        #expect(answered.count == 8)
        #expect(crowd.host.connectionCount == 8)
        crowd.inject(.rst, from: 5000, seq: 1)
        #expect(crowd.inject(.syn, from: 6000, seq: 0).count == 1)
        _ = crowd.wait(.seconds(200))
        #expect(crowd.host.connectionCount == 0)
        #expect(crowd.inject(.syn, from: 6001, seq: 0).count == 1)
    }

    @Test(
        "a backlog of 0 means 1, one beyond 4,096 means 4,096",
        arguments: [(0, 1), (-5, 1), (4096, 4096), (9999, 4096)])
    func bounds(asked: Int, backlog: Int) throws {
        #expect(try Crowd(backlog: asked).listener.backlog == backlog)
    }

    @Test("a reset connection leaves the accept queue's count right: accept gives it, ended")
    func resetBeforeAccept() throws {
        let crowd = try Crowd(backlog: 4)
        crowd.connect(5000)
        crowd.inject([.psh, .ack], from: 5000, seq: 1, count: 5)
        crowd.inject(.rst, from: 5000, seq: 6)
        let connection = try #require(crowd.host.accept(crowd.listener))
        #expect(connection.state == .closed)
        #expect(crowd.host.accept(crowd.listener) == nil)
        #expect(crowd.host.connectionCount == 0)
    }
}
