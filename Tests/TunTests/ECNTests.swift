// Congestion marks in real IP packets: agreed on with the kernel's TCP, and seen bit by bit.
import Chisocket
import Glibc
import TCPEngine
import TCPSegments
import TestSupport
import Testing

@Suite(
    "Congestion marks over TUN", .timeLimit(.minutes(15)), .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct ECNTests {
    struct Case: Sendable {
        let kernelConnects: Bool
        /// net.ipv4.tcp_ecn of the kernel, and ours.
        let kernel: Int
        let use: ECNUse
        let agrees: Bool
    }

    static let cases: [Case] = [
        // The kernel asks.
        Case(kernelConnects: true, kernel: 1, use: .accept, agrees: true),
        Case(kernelConnects: true, kernel: 1, use: .off, agrees: false),
        Case(kernelConnects: true, kernel: 2, use: .classic, agrees: false),
        // We ask; for accurate feedback, too, to which a kernel that does not know it answers with the classic form.
        Case(kernelConnects: false, kernel: 2, use: .classic, agrees: true),
        Case(kernelConnects: false, kernel: 2, use: .accurate, agrees: true),
        Case(kernelConnects: false, kernel: 1, use: .accept, agrees: false),
        Case(kernelConnects: false, kernel: 0, use: .classic, agrees: false),
    ]

    @Test(
        "both ends agree if one asks and the other lets it, and bulk data goes both ways", arguments: cases,
        [true, false])
    func negotiation(c: Case, isIPv4: Bool) throws {
        let use = c.use
        let bench = try Bench(commands: "echo \(c.kernel) > /proc/sys/net/ipv4/tcp_ecn") {
            $0.host.connection.ecn = use
        }
        // A SYN that is lost because the device is not quite up would be sent again without asking.
        _ = try bench.connected(kernelConnects: c.kernelConnects, isIPv4: isIPv4)
        let (kernel, ours) = try bench.connected(kernelConnects: c.kernelConnects, isIPv4: isIPv4)
        let data = pattern(1_000_000)
        try exchange(data, data, kernel, ours)
        // TCPI_OPT_ECN, and TCPI_OPT_ECN_SEEN: our packets said that they may be marked.
        let options = try kernel.options()
        #expect(options & 24 == (c.agrees ? 24 : 0), "\(options)")
    }

    @Test("a marked packet is answered with ECE until CWR, and only data may be marked", arguments: [true, false])
    func marks(isIPv4: Bool) throws {
        let bench = try Bench()
        let daemon = Endpoint(isIPv4 ? Bench.daemon4 : Bench.daemon6, 7)
        let listener = try Chisocket.listening(on: bench.address(daemon.address, 7), backlog: 4, daemon: bench.path)
        try bench.limit(listener)
        let from = Endpoint(isIPv4 ? IPAddress(10, 77, 0, 9) : IPAddress(high: 0xfd77 << 48, low: 9), 4000)
        let peer = try bench.namespace.run { try PacketPeer(interface: "tun0", from: from, to: daemon) }
        try peer.send([.syn, .ece, .cwr], seq: 100)
        let synAck = try peer.receive { $0.header.controlBits.contains(.syn) }
        #expect(synAck.header.controlBits == [.syn, .ack, .ece] && synAck.ip.ecn == .notCapable)
        let iss = synAck.header.sequenceNumber.value
        try peer.send(.ack, seq: 101, ack: iss &+ 1)
        let ours = try listener.accept()
        try bench.limit(ours)
        func acknowledgment(of seq: UInt32) throws -> PacketPeer.Received {
            try peer.receive { $0.header.acknowledgmentNumber.value == seq && $0.count == 0 }
        }
        try peer.send(.ack, seq: 101, ack: iss &+ 1, count: 500, ecn: .capable0)
        #expect(try !acknowledgment(of: 601).header.controlBits.contains(.ece))
        try peer.send(.ack, seq: 601, ack: iss &+ 1, count: 500, ecn: .congestionExperienced)
        let marked = try acknowledgment(of: 1101)
        #expect(marked.header.controlBits.contains(.ece) && marked.ip.ecn == .notCapable)
        try peer.send(.ack, seq: 1101, ack: iss &+ 1, count: 500, ecn: .capable0)
        #expect(try acknowledgment(of: 1601).header.controlBits.contains(.ece))
        try peer.send([.ack, .cwr], seq: 1601, ack: iss &+ 1, count: 500, ecn: .capable0)
        #expect(try !acknowledgment(of: 2101).header.controlBits.contains(.ece))
        // The daemon's own data.
        try ours.send([UInt8](repeating: 1, count: 300))
        let data = try peer.receive { $0.count > 0 }
        #expect(data.ip.ecn == .capable0 && data.count == 300)
        // The peer met a mark: the next new data says CWR, and only once.
        try peer.send([.ack, .ece], seq: 2101, ack: iss &+ 1)
        try peer.send([.ack, .ece], seq: 2101, ack: iss &+ 301)
        try ours.send([UInt8](repeating: 1, count: 300))
        let information = try ours.withDescriptor { d throws(ChisocketError) in
            try DescriptorCalls.option(d, level: Int32(IPPROTO_TCP), name: TCP_INFO, daemon: bench.path)
        }
        #expect(information[5] & 24 == 24, "TCPI_OPT_ECN and TCPI_OPT_ECN_SEEN")
        #expect(information[196] > 0, "tcpi_delivered_ce")
        let reduced = try peer.receive { $0.header.sequenceNumber.value == iss &+ 301 && $0.count > 0 }
        #expect(reduced.header.controlBits.contains(.cwr) && reduced.ip.ecn == .capable0)
        try peer.send(.ack, seq: 2101, ack: iss &+ 601)
        try ours.send([UInt8](repeating: 1, count: 300))
        let next = try peer.receive { $0.header.sequenceNumber.value == iss &+ 601 && $0.count > 0 }
        #expect(!next.header.controlBits.contains(.cwr))
        try peer.send([.rst, .ack], seq: 2101, ack: iss &+ 901)
    }
}
