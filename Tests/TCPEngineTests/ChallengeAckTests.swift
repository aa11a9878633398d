// Challenge ACKs (RFC 5961): their limit, and that nobody can stall a connection with it.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct ChallengeAckTests {
    /// Segments that are not acceptable and carry nothing: a blind attacker's.
    enum Nuisance: String, CaseIterable, Sendable {
        case oldAck = "an ACK left of the window"
        case futureAck = "an ACK of what was not sent"
        case ancientAck = "an ACK older than MAX.SND.WND"
        case syn = "a SYN"
        case reset = "RST in the window"

        func inject(_ one: OneHost, _ s: Situation) -> [OneHost.Sent] {
            switch self {
            case .oldAck: one.inject(.ack, seq: s.rcvNxt - 5, ack: s.sndNxt, window: OneHost.peerWindow)
            case .futureAck: one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt + 9, window: OneHost.peerWindow)
            case .ancientAck: one.inject(.ack, seq: s.rcvNxt, ack: s.sndUna - 9999, window: OneHost.peerWindow)
            case .syn: one.inject(.syn, seq: s.rcvNxt + 5, window: OneHost.peerWindow)
            case .reset: one.inject(.rst, seq: s.rcvNxt + 5, window: OneHost.peerWindow)
            }
        }
    }

    private static let ways: [Way] = [.established, .finWait2, .closeWait, .lastAck]

    @Test("a flood is answered once in 200 ms (RFC 5961 7)", arguments: Nuisance.allCases, ways)
    func flood(nuisance: Nuisance, way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        var answers = 0
        for _ in 0..<100 {
            answers += nuisance.inject(one, s).filter { $0.bits == .ack && $0.payload.isEmpty }.count
            one.now = one.now + .milliseconds(1)
        }
        #expect(answers == 1)
        one.now = one.now + .milliseconds(100)
        #expect(nuisance.inject(one, s).count == 1)
        #expect(one.stateNow == s.state)
    }

    @Test(
        "so is one against a connection in SYN-RECEIVED or TIME-WAIT",
        arguments: [Way.synReceivedPassive, .timeWaitFromClosing])
    func floodOnRecord(way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        var answers = 0
        for _ in 0..<100 { answers += one.inject(.ack, seq: s.rcvNxt - 5, ack: s.sndNxt).count }
        #expect(answers == 1)
        one.now = one.now + .milliseconds(200)
        #expect(one.inject(.ack, seq: s.rcvNxt - 5, ack: s.sndNxt).count == 1)
    }

    @Test("during a flood every probe with data is answered: a lost window update does not stall the peer")
    func probesDuringFlood() throws {
        let (one, s) = try OneHost.reach(.establishedClosedWindow, .zeroWrap)
        for _ in 0..<20 {
            _ = Nuisance.oldAck.inject(one, s)
            one.now = one.now + .milliseconds(1)
            let answer = one.inject(.ack, seq: s.rcvNxt, ack: s.sndUna, [1], window: OneHost.peerWindow)
            #expect(one.reply(answer) == .ack(seq: s.sndNxt, ack: s.rcvNxt))
            #expect(answer.first?.header.window.value == 0)
        }
        // The user reads; the update is lost; the next probe is answered with the open window.
        #expect(one.read().count == 960)
        _ = one.sent()
        _ = Nuisance.oldAck.inject(one, s)
        let answer =
            one.inject(.ack, seq: s.rcvNxt, ack: s.sndUna, [1], window: OneHost.peerWindow)
            + one.wait(.milliseconds(40))
        #expect((answer.first?.header.window.value ?? 0) > 0)
        #expect(answer.first.map(one.acknowledged) == s.rcvNxt + 1)
    }

    @Test("a probe without data that is left unanswered in a flood is answered by what the flood provokes")
    func emptyProbesDuringFlood() throws {
        let (one, s) = try OneHost.reach(.establishedClosedWindow, .zeroWrap)
        _ = Nuisance.oldAck.inject(one, s)
        one.read()
        _ = one.sent()
        // The window update was lost. The peer asks with SEG.SEQ = SND.UNA - 1, once every 250 ms; the attacker is faster.
        var told: [UInt16] = []
        for step in 0..<50 {
            one.now = one.now + .milliseconds(10)
            told += Nuisance.oldAck.inject(one, s).map(\.header.window.value)
            if step % 25 == 24 {
                told += one.inject(.ack, seq: s.rcvNxt - 1, ack: s.sndUna).map(\.header.window.value)
            }
        }
        #expect(told.contains { $0 > 0 }, "each answer goes to the true peer and tells the window")
    }

    @Test("the limit is each connection's own: an answer here tells nothing of one there")
    func perConnection() throws {
        let (one, s) = try OneHost.reach(.established, .zeroWrap)
        _ = Nuisance.reset.inject(one, s)
        #expect(Nuisance.reset.inject(one, s).isEmpty)
        // Another peer's connection to the same port.
        let other = FourTuple(local: one.tuple.local, remote: Endpoint(one.tuple.remote.address, 4001))
        func segment(_ bits: ControlBits, _ seq: UInt32, _ ack: UInt32) -> [OneHost.Sent] {
            let header = SegmentHeader(
                sourcePort: 4001, destinationPort: one.tuple.local.port, sequenceNumber: SequenceNumber(seq),
                acknowledgmentNumber: one.iss + ack, controlBits: bits, window: WindowField(1000))
            one.host.handle(
                header, payload: UnsafeRawBufferPointer(start: nil, count: 0), tuple: other, on: LinkID(1), at: one.now)
            return one.sent()
        }
        _ = segment(.syn, 100, 0)
        _ = segment(.ack, 101, 1)
        #expect(segment(.rst, 105, 0).map(\.bits) == [.ack])
    }

    @Test("an exact reset ends the connection however many were challenged before")
    func exactReset() throws {
        let (one, s) = try OneHost.reach(.established, .zeroWrap)
        for _ in 0..<10 { _ = Nuisance.reset.inject(one, s) }
        one.inject(.rst, seq: s.rcvNxt)
        #expect(one.stateNow == nil && one.ending == .failed(.reset))
    }

    @Test("two hosts that have lost each other's numbers do not answer each other for ever")
    func noEcho() throws {
        // Both ends of one pair of sockets are up, with numbers that the other finds far out of its window.
        let (a, _) = try OneHost.reach(.established, .plain)
        let (b, _) = try OneHost.reach(.established, .signWrap)
        var segments = 0
        var toB: [OneHost.Sent] = Nuisance.oldAck.inject(a, Situation(state: .established, rcvNxt: 41, sndNxt: 401))
        var toA: [OneHost.Sent] = []
        func deliver(_ sent: [OneHost.Sent], to one: OneHost) -> [OneHost.Sent] {
            sent.flatMap { s in
                var header = s.header
                header.sourcePort = one.tuple.remote.port
                header.destinationPort = one.tuple.local.port
                s.payload.withUnsafeBytes {
                    one.host.handle(header, payload: $0, tuple: one.tuple, on: LinkID(1), at: one.now)
                }
                return one.sent()
            }
        }
        for _ in 0..<100 where !(toA.isEmpty && toB.isEmpty) {
            segments += toA.count + toB.count
            let answers = deliver(toB, to: b)
            toB = deliver(toA, to: a)
            toA = answers
        }
        #expect(segments >= 1 && segments <= 4, "\(segments) segments crossed at one instant")
    }
}
