// Loss and its repair, one rule at a time: segments written by hand, in virtual time.
import TCPSegments
import Testing

@testable import TCPEngine

/// A host with a peer that permits SACK; segments of 1,000 bytes, a window of ten.
private func established(
    timestamps: Bool = false, _ configure: (inout HostConfiguration) -> Void = { _ in }
) throws -> OneHost {
    let one = OneHost(configure)
    _ = try one.host.listen(on: one.tuple.local, backlog: 4)
    func offer(_ options: inout TCPOptions) {
        options.maximumSegmentSize = timestamps ? 1012 : 1000
        options.sackPermitted = true
        if timestamps { options.timestamps = Timestamps(value: 1, echoReply: 0) }
    }
    let synAck = one.inject(.syn, seq: 0) { offer(&$0) }
    one.now = one.now + .milliseconds(100)
    one.inject(.ack, seq: 1, ack: 1) {
        if let t = synAck.first?.header.options.timestamps { $0.timestamps = Timestamps(value: 2, echoReply: t.value) }
    }
    return one
}

extension OneHost {
    /// An ACK with SACK blocks, in positions of ours.
    @discardableResult
    func acknowledge(_ ack: Int, _ blocks: Range<Int>..., echo: UInt32? = nil) -> [Sent] {
        inject(.ack, seq: 1, ack: ack) {
            for block in blocks {
                $0.sackBlocks.append(
                    SequenceRange(
                        start: iss + UInt32(truncatingIfNeeded: block.lowerBound),
                        end: iss + UInt32(truncatingIfNeeded: block.upperBound)))
            }
            if let echo { $0.timestamps = Timestamps(value: 3, echoReply: echo) }
        }
    }

    fileprivate func pass(_ milliseconds: Int64) { now = now + .milliseconds(milliseconds) }
    fileprivate var info: ConnectionInfo { connection!.info }
    /// Positions of the segments that carry data.
    fileprivate func positions(_ sent: [Sent]) -> [Int] { sent.filter { !$0.payload.isEmpty }.map(position) }
}

@Suite struct SelectiveRecoveryTests {
    @Test("three segments' worth of SACK show a loss; until then new segments leave (RFC 8985, RFC 3042)")
    func threeSelected() throws {
        let one = try established()
        try one.send(20_000)
        #expect(one.positions(one.sent()) == [1, 1001, 2001, 3001, 4001, 5001, 6001, 7001, 8001, 9001])
        one.pass(100)
        #expect(one.positions(one.acknowledge(1, 1001..<2001)) == [10_001])
        #expect(one.positions(one.acknowledge(1, 1001..<3001)) == [11_001])
        #expect(one.positions(one.acknowledge(1, 1001..<4001)) == [1])
        #expect(one.info.slowStartThreshold == 7000)
        #expect(one.info.recoveries == 1)
    }

    @Test("one loss of ten: the window comes down to the threshold, and everything is repaired in one round trip")
    func oneOfTen() throws {
        let one = try established()
        try one.send(10_000)
        _ = one.sent()
        one.pass(100)
        var again: [Int] = []
        for end in stride(from: 2001, through: 10_001, by: 1000) {
            again += one.positions(one.acknowledge(1, 1001..<end))
        }
        #expect(again == [1])
        one.pass(100)
        #expect(one.positions(one.acknowledge(10_001)) == [])
        #expect(one.info.congestionWindow == 7000)
        #expect(one.info.inFlight == 0)
        #expect(one.connection?.episode == nil)
    }

    @Test("two runs of losses are repaired without a timeout, and no faster than they are delivered")
    func twoRuns() throws {
        let one = try established()
        one.connection.map { c in c.congestion = CongestionControl(.cubic, segmentSize: 1000, at: one.now) }
        try one.send(60_000)
        var outstanding = one.positions(one.sent()).count
        #expect(outstanding == 10)
        // Grow to twenty.
        one.pass(100)
        for ack in stride(from: 1001, through: 10_001, by: 1000) {
            outstanding += one.positions(one.acknowledge(ack)).count
        }
        #expect(outstanding == 30)
        one.pass(100)
        // 10,001..30,001 is outstanding. Lost: 1 to 4 and 11 to 16.
        var again: [Int] = []
        for end in stride(from: 15_001, through: 20_001, by: 1000) {
            let sent = one.positions(one.acknowledge(10_001, 14_001..<end))
            again += sent.filter { $0 < 30_001 }
            #expect(sent.count <= 2, "\(sent)")
        }
        for end in stride(from: 27_001, through: 30_001, by: 1000) {
            again += one.positions(one.acknowledge(10_001, 26_001..<end, 14_001..<20_001)).filter { $0 < 30_001 }
        }
        // The ACKs of the retransmissions let the rest go.
        for ack in [11_001, 12_001, 13_001, 20_001, 21_001, 22_001, 23_001, 24_001, 25_001] where again.count < 10 {
            one.pass(20)
            let blocks = ack < 20_001 ? [26_001..<30_001, 14_001..<20_001] : [26_001..<30_001]
            let sent = blocks.count == 2 ? one.acknowledge(ack, blocks[0], blocks[1]) : one.acknowledge(ack, blocks[0])
            again += one.positions(sent).filter { $0 < 30_001 }
        }
        #expect(again.sorted() == [10_001, 11_001, 12_001, 13_001, 20_001, 21_001, 22_001, 23_001, 24_001, 25_001])
        #expect(again == again.sorted(), "the oldest first")
        #expect(one.info.timeouts == 0)
    }

    @Test("SACK blocks on an ACK from before SND.UNA count")
    func oldAck() throws {
        let one = try established()
        try one.send(10_000)
        _ = one.sent()
        one.pass(100)
        one.acknowledge(3001)
        // This one was overtaken.
        one.acknowledge(1001, 4001..<6001)
        #expect(one.info.selectivelyAcknowledged == 2000)
    }

    @Test("an ACK and a SACK block may end inside of a segment")
    func insideOfSegment() throws {
        let one = try established()
        try one.send(10_000)
        _ = one.sent()
        one.pass(100)
        one.acknowledge(501, 1_301..<4_650)
        #expect(one.info.selectivelyAcknowledged == 3349)
        #expect(one.info.lost == 800)
        one.pass(100)
        one.acknowledge(10_001)
        #expect(one.info.inFlight == 0)
    }

    @Test("blocks that make no sense are ignored")
    func nonsense() throws {
        let one = try established()
        try one.send(5000)
        _ = one.sent()
        one.pass(100)
        one.inject(.ack, seq: 1, ack: 1) {
            for (from, to) in [(3001, 3001), (9001, 12_001), (4001, 2001), (-100, 50)] {
                $0.sackBlocks.append(
                    SequenceRange(
                        start: one.iss + UInt32(truncatingIfNeeded: from), end: one.iss + UInt32(truncatingIfNeeded: to)
                    ))
            }
        }
        #expect(one.info.selectivelyAcknowledged == 0)
        #expect(one.host.invariantViolations(at: one.now).isEmpty)
    }

    @Test("a peer that gives up what it had selected gets it again (RFC 2018 8)")
    func reneging() throws {
        let one = try established()
        try one.send(10_000)
        _ = one.sent()
        one.pass(100)
        one.acknowledge(1, 2001..<4001)
        // Up to the block, but not over it.
        let again = one.positions(one.acknowledge(2001))
        #expect(again.first == 2001)
        #expect(one.info.selectivelyAcknowledged == 0)
        #expect(one.host.invariantViolations(at: one.now).isEmpty)
    }

    @Test("a lost retransmission is found by what was sent after it (RFC 8985)")
    func lostRetransmission() throws {
        let one = try established()
        try one.send(40_000)
        _ = one.sent()
        one.pass(100)
        for end in [2001, 3001] { one.acknowledge(1, 1001..<end) }
        #expect(one.positions(one.acknowledge(1, 1001..<4001)) == [1])
        for end in stride(from: 5001, through: 10_001, by: 1000) { one.acknowledge(1, 1001..<end) }
        one.pass(100)
        // What was sent after the retransmission arrives, the retransmission did not.
        var again: [Int] = []
        for end in stride(from: 11_001, through: 15_001, by: 1000) {
            again += one.positions(one.acknowledge(1, 1001..<end))
        }
        again += one.positions(one.wait(.milliseconds(50)))
        #expect(again.contains(1), "\(again)")
        #expect(one.info.timeouts == 0)
        #expect(one.info.recoveries == 1, "one reduction")
    }

    @Test("a SACK of the last segment alone: the reordering timer finds the loss (RFC 8985 6.2 step 5)")
    func reorderingTimer() throws {
        let one = try established()
        try one.send(4000)
        _ = one.sent()
        one.pass(100)
        #expect(one.positions(one.acknowledge(1, 3001..<4001)) == [])
        // min RTT is 100 ms: a quarter of it.
        #expect(one.positions(one.wait(.milliseconds(24))) == [])
        // RFC 6937bis: one for a start, then by what is delivered, and one more while nothing else is lost.
        #expect(one.positions(one.wait(.milliseconds(2))) == [1])
        one.pass(100)
        #expect(one.positions(one.acknowledge(1001, 3001..<4001)) == [1001, 2001])
    }

    @Test("RFC 6675's counting takes over where RACK is switched off")
    func counting() throws {
        let one = try established { $0.connection.recovery.remove(.rack) }
        try one.send(10_000)
        _ = one.sent()
        one.pass(100)
        #expect(one.positions(one.acknowledge(1, 1001..<3001)) == [])
        #expect(one.positions(one.acknowledge(1, 1001..<4001)) == [1])
        #expect(one.positions(one.acknowledge(1, 1001..<5001)) == [])
    }
}

@Suite struct TailLossProbeTests {
    @Test("the last segment again, two round trips after it was sent; then the timeout (RFC 8985 7)")
    func probe() throws {
        let one = try established()
        try one.send(4000)
        _ = one.sent()
        // SRTT is 100 ms.
        #expect(one.wait(.milliseconds(200)).isEmpty)
        #expect(one.positions(one.wait(.milliseconds(3))) == [3001])
        #expect(one.info.tailLossProbes == 1)
        #expect(one.info.timeouts == 0)
        // RTO is 100 + 200 ms, and nothing else answers.
        #expect(one.positions(one.wait(.milliseconds(301))) == [1])
        #expect(one.info.timeouts == 1)
    }

    @Test("new data takes the place of the last segment")
    func newData() throws {
        let one = try established()
        try one.send(20_000)
        let flight = one.positions(one.sent()).count
        #expect(flight == 10)
        #expect(one.positions(one.wait(.milliseconds(203))) == [10_001])
    }

    @Test("the SACK of a probe shows what was lost before it: fast recovery, no timeout")
    func recovers() throws {
        let one = try established()
        try one.send(4000)
        _ = one.sent()
        _ = one.wait(.milliseconds(203))
        one.pass(100)
        var again = one.positions(one.acknowledge(1, 3001..<4001))
        again += one.positions(one.wait(.milliseconds(30)))
        one.pass(100)
        again += one.positions(one.acknowledge(1001, 3001..<4001))
        #expect(again == [1, 1001, 2001])
        #expect(one.info.timeouts == 0)
    }

    @Test("a probe that repaired a loss reduces the window; one that was not needed does not (RFC 8985 7.4)")
    func outcome() throws {
        for needless in [false, true] {
            let one = try established()
            try one.send(4000)
            _ = one.sent()
            _ = one.wait(.milliseconds(203))
            let before = one.info.congestionWindow
            one.pass(50)
            if needless {
                // The original arrived after all, and then the probe.
                one.acknowledge(4001)
                one.acknowledge(4001, 3001..<4001)
                #expect(one.info.needlessRetransmissions == 1)
            } else {
                one.acknowledge(4001)
            }
            try one.send(1000)
            _ = one.sent()
            one.pass(100)
            one.acknowledge(5001)
            #expect((one.info.congestionWindow < before) == !needless)
        }
    }

    @Test("a flight of one huge segment is probed before the timeout, with its FIN", arguments: [1, 2, 3])
    func hugeSegments(count: Int) throws {
        let pair = TwoHosts(mss: 65_495)
        _ = try pair.listen()
        let client = try pair.connect()
        pair.run(for: .seconds(1)) { client.state == .established }
        var lost = 0
        // The last segment of the flight is lost, once.
        pair.drop = { _, toServer, _, bytes in
            guard toServer, bytes > 0 else { return false }
            lost += 1
            return lost == count
        }
        _ = try pattern(count * 65_000).withUnsafeBytes { try pair.client.send(client, $0, at: pair.now) }
        pair.client.shutdownSending(client, at: pair.now)
        pair.run(for: .seconds(5)) { client.state == .finWait2 }
        #expect(client.state == .finWait2)
        #expect(client.info.timeouts == 0, "\(pair.trace)")
    }
}

@Suite struct SpuriousRetransmissionTests {
    @Test("a recovery whose retransmission was not needed is taken back: the peer reports a duplicate (RFC 3708)")
    func duplicate() throws {
        let one = try established()
        try one.send(30_000)
        _ = one.sent()
        one.pass(100)
        one.acknowledge(1, 1001..<4001)
        #expect(one.info.slowStartThreshold == 7000)
        // The segment had only been late; then its repetition comes.
        one.acknowledge(4001)
        #expect(one.info.undoneReductions == 0)
        one.pass(100)
        one.acknowledge(10_001, 1..<1001)
        #expect(one.info.undoneReductions == 1)
        #expect(one.info.needlessRetransmissions == 1)
        #expect(one.info.slowStartThreshold == .max)
        #expect(one.info.congestionWindow >= 10_000)
        #expect(one.info.reorderingSeen)
    }

    @Test("an ACK that echoes the first transmission's timestamp takes the recovery back (RFC 3522)")
    func eifel() throws {
        let one = try established(timestamps: true)
        try one.send(30_000)
        let first = try #require(one.sent().first?.header.options.timestamps?.value)
        one.pass(100)
        one.acknowledge(1, 1001..<4001, echo: first)
        #expect(one.info.slowStartThreshold == 7000)
        one.pass(1)
        one.acknowledge(4001, echo: first)
        #expect(one.info.undoneReductions == 1)
        #expect(one.info.slowStartThreshold == .max)
        #expect(one.info.lost == 0)
    }

    @Test("an ACK that echoes the retransmission's timestamp does not")
    func needed() throws {
        let one = try established(timestamps: true)
        try one.send(30_000)
        let first = try #require(one.sent().first?.header.options.timestamps?.value)
        one.pass(100)
        let again = one.acknowledge(1, 1001..<4001, echo: first)
        let second = try #require(again.first?.header.options.timestamps?.value)
        one.pass(100)
        one.acknowledge(4001, echo: second)
        #expect(one.info.undoneReductions == 0)
        #expect(one.info.slowStartThreshold == 7000)
    }

    @Test("a timeout that came too early: F-RTO finds it by new data and takes it back (RFC 5682)")
    func forwardRTO() throws {
        let one = try established()
        try one.send(30_000)
        _ = one.sent()
        // Nothing for long: probe, then timeout.
        _ = one.wait(.milliseconds(203))
        let again = one.positions(one.wait(.milliseconds(301)))
        #expect(again == [1])
        #expect(one.info.timeouts == 1)
        // The ACK of the first segment: two new ones leave, not the next of the old.
        let fresh = one.positions(one.acknowledge(1001))
        #expect(fresh == [11_001, 12_001], "\(fresh)")
        // The next ACK covers data that was sent once.
        one.acknowledge(2001)
        #expect(one.info.undoneReductions == 1)
        #expect(one.info.slowStartThreshold == .max)
        #expect(one.info.congestionWindow >= 10_000)
        #expect(one.info.lost == 0)
    }

    @Test("a timeout that was right: a duplicate ACK ends the test and slow start repairs (RFC 5682 3.a)")
    func realTimeout() throws {
        let one = try established()
        try one.send(30_000)
        _ = one.sent()
        _ = one.wait(.milliseconds(203))
        _ = one.wait(.milliseconds(301))
        let fresh = one.positions(one.acknowledge(1001))
        #expect(fresh == [11_001, 12_001])
        let again = one.positions(one.acknowledge(1001, 11_001..<12_001))
        #expect(again.first == 1001, "\(again)")
        #expect(one.info.undoneReductions == 0)
    }

    @Test("network duplicates of what was sent once are not taken for needless retransmissions")
    func networkDuplicates() throws {
        let one = try established()
        try one.send(10_000)
        _ = one.sent()
        one.pass(100)
        for _ in 0..<5 { one.acknowledge(5001, 1..<1001) }
        #expect(one.info.needlessRetransmissions == 0)
        #expect(one.info.undoneReductions == 0)
    }
}

@Suite struct NewRenoTests {
    @Test("without SACK: three duplicates, then a hole for every partial ACK (RFC 6582)")
    func partialAcks() throws {
        let one = OneHost()
        try one.establish { $0.maximumSegmentSize = 1000 }
        try one.send(10_000)
        _ = one.sent()
        one.pass(100)
        one.inject(.ack, seq: 1, ack: 1)
        one.inject(.ack, seq: 1, ack: 1)
        #expect(one.positions(one.inject(.ack, seq: 1, ack: 1)) == [1])
        for _ in 0..<5 { one.inject(.ack, seq: 1, ack: 1) }
        #expect(one.positions(one.inject(.ack, seq: 1, ack: 3001)) == [3001])
        #expect(one.positions(one.inject(.ack, seq: 1, ack: 10_001)) == [])
        #expect(one.connection?.episode == nil)
        // Duplicates of what the recovery itself caused do not begin another (RFC 6582 3.2 (1)).
        try one.send(10_000)
        _ = one.sent()
        for _ in 0..<3 { one.inject(.ack, seq: 1, ack: 10_001) }
        #expect(one.info.recoveries == 1)
    }

    @Test("a window that is moved back does not stop what fits into it from being sent again")
    func shrunkWindow() throws {
        let one = try established()
        try one.send(10_000)
        _ = one.sent()
        _ = one.wait(.milliseconds(203))
        // The peer takes 9,500 bytes of its window back.
        one.inject(.ack, seq: 1, ack: 1, window: 500)
        let again = one.wait(.seconds(2))
        #expect(again.first.map(one.position) == 1)
        #expect(again.allSatisfy { one.position($0) + $0.payload.count <= 501 }, "\(again.map(one.position))")
        one.inject(.ack, seq: 1, ack: 501, window: 65_535)
        #expect(one.host.invariantViolations(at: one.now).isEmpty)
    }
}

@Suite struct ClockResolutionTests {
    @Test(
        "a clock that ticks coarsely loses nothing and repeats nothing without need",
        arguments: [0, 500, 1_000, 10_000])
    func coarse(microseconds: Int64) throws {
        var configuration = ConnectionConfiguration()
        configuration.clockResolution = .microseconds(microseconds)
        let pair = TwoHosts(configuration: configuration)
        pair.clockTick = .microseconds(microseconds)
        pair.delay = .microseconds(700)
        let bytes = pattern(2_000_000)
        let got = try exchange(pair, toServer: bytes, toClient: [])
        #expect((got.server == bytes) as Bool)
        #expect(pair.repeated == 0, "\(pair.repeated) segments were sent twice over a perfect path")
    }
}
