// Injection into the transfer between the victim and its neighbour: an attacker at the neighbour's address who knows
// the ports, and guesses or even knows the numbers.
import Chisocket
import TCPSegments

/// What the attacker knows of the transfer under way.
struct Target {
    let link: RawLink
    private var status: SocketStatus
    private let remotePort: UInt16

    /// The victim's end of the transfer, and a real connection from the neighbour's address.
    init(_ siege: Siege) throws {
        status = try Self.status(siege)
        guard let remote = status.remote else { throw Failure("no transfer to attack") }
        remotePort = remote.port
        link = try siege.link(from: siege.neighbourAddress)
    }

    /// Learns the numbers anew.
    mutating func look(_ siege: Siege) throws { status = try Self.status(siege) }

    private static func status(_ siege: Siege) throws -> SocketStatus {
        guard
            let status = try DaemonControl.sockets(of: siege.victim.path).first(where: {
                $0.stateName == "ESTABLISHED" && $0.local?.port == EchoServer.port
            })
        else { throw Failure("no transfer to attack") }
        return status
    }

    var next: SequenceNumber { SequenceNumber(status.record.rcv_nxt) }
    var una: SequenceNumber { SequenceNumber(status.record.snd_una) }

    /// A segment as if from the neighbour, so far from RCV.NXT and SND.UNA as they were a moment ago.
    func forge(_ bits: ControlBits, seq: UInt32, ack: UInt32, _ payload: [UInt8] = [], window: UInt16 = 500) {
        link.send(
            SegmentHeader(
                sourcePort: remotePort, destinationPort: EchoServer.port, sequenceNumber: next + seq,
                acknowledgmentNumber: una + ack, controlBits: bits, window: WindowField(window)), payload)
    }
}

extension HostileInput {
    /// Far enough beyond what the transfer reaches meanwhile, and inside of the window of a mebibyte.
    private static let ahead: UInt32 = 600_000
    private static let behind = UInt32(bitPattern: -600_000)
    private static let far: UInt32 = 0x7000_0000

    static let numbers: [HostileInput] =
        [
            ("a reset in the window", .rst, ahead, 0, 0),
            ("a reset in the window with ACK", [.rst, .ack], ahead, 0, 0),
            ("a reset left of the window", .rst, behind, 0, 0),
            ("a reset half the space away", .rst, far, 0, 0),
            ("a SYN in the window", .syn, ahead, 0, 0),
            ("a SYN left of the window", .syn, behind, 0, 0),
            ("a SYN-ACK in the window", [.syn, .ack], ahead, 0, 0),
            ("a FIN in the window with an ACK of the future", [.fin, .ack], ahead, ahead, 0),
            ("a FIN beyond the window", [.fin, .ack], far, 0, 0),
            ("data in the window with an ACK of the future", .ack, ahead, far, 1000),
            ("data in the window with an ACK of long ago", .ack, ahead, UInt32(bitPattern: -200_000_000), 1000),
            ("data in the window without ACK", [], ahead, 0, 1000),
            ("data left of the window", .ack, behind, 0, 1000),
            ("data beyond the window", .ack, far, 0, 1000),
            ("an ACK of the future", .ack, ahead, ahead, 0),
            ("a window of zero from the past", .ack, behind, behind, 0),
            ("nothing at all", [], ahead, 0, 0),
            ("every bit at once", ControlBits(rawValue: 0x1FF), ahead, 0, 10),
        ].map { (name: String, bits: ControlBits, seq: UInt32, ack: UInt32, count: Int) in
            HostileInput(.numbers, "injected: " + name) { siege in
                let target = try Target(siege)
                for _ in 0..<20 {
                    target.forge(bits, seq: seq, ack: ack, [UInt8](repeating: 0xEE, count: count), window: 0)
                }
                try target.link.settle()
                // The attacker keeps its real connection: it must not become the transfer's way.
                try siege.leaveOpen(target.link)
                try siege.waitForBlocks(5)
            }
        } + [
            HostileInput(.numbers, "injected: resets at ten thousand guesses") { siege in
                let target = try Target(siege)
                for i in 1...UInt32(10_000) { target.forge(.rst, seq: i &* 400_009, ack: 0) }
                try target.link.settle()
                try siege.leaveOpen(target.link)
                try siege.waitForBlocks(5)
            },
            HostileInput(.numbers, "injected: data at ten thousand guesses") { siege in
                let target = try Target(siege)
                for i in 1...UInt32(10_000) {
                    target.forge(.ack, seq: i &* 400_009, ack: i &* 0x1234_5677 | 0x4000_0000, [0xEE])
                }
                try target.link.settle()
                try siege.leaveOpen(target.link)
                try siege.waitForBlocks(5)
            },
            HostileInput(.numbers, "injected: ACKs with the numbers of that moment, over a link of the attacker's") {
                siege in
                var target = try Target(siege)
                for _ in 0..<300 {
                    target.forge(.ack, seq: 0, ack: 0)
                    try target.look(siege)
                }
                try target.link.settle()
                try siege.leaveOpen(target.link)
                try siege.waitForBlocks(5)
            },
            HostileInput(.numbers, "injected: a duplicate ACK many times") { siege in
                let target = try Target(siege)
                for _ in 0..<5000 { target.forge(.ack, seq: 0, ack: 0, window: 500) }
                try target.link.settle()
                try siege.leaveOpen(target.link)
                try siege.waitForBlocks(5)
            },
        ]
}
