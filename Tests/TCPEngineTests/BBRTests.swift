// BBR's state machine and what it makes of its model, rule by rule (draft-ietf-ccwg-bbr-06).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct BBRStateTests {
    @Test("each state has its gains (5.6.1)")
    func gains() {
        let table: [(BBR.Mode, pacing: Int, window: Int)] = [
            (.startup, 277, 200), (.drain, 50, 200), (.down, 90, 200), (.cruise, 100, 200), (.refill, 100, 200),
            (.up, 125, 225), (.probeRTT, 100, 50),
        ]
        #expect(table.count == BBR.Mode.allCases.count)
        for (mode, pacing, window) in table {
            let flow = BBRFlow.reaching(mode)
            #expect(flow.bbr.mode.pacingGain == pacing && flow.bbr.mode.windowGain == window, "\(mode)")
            guard mode != .startup else { continue }
            // 5.6.2: one percent less than the bandwidth.
            #expect(flow.window.pacingRate == BBRFlow.rate * pacing / 100 * 99 / 100, "\(mode)")
        }
    }

    // MARK: Startup

    @Test("the first pace is 2.77 times the window in the round trip, or in a millisecond until there is one (5.6.2)")
    func firstPace() {
        #expect(BBRFlow(smoothed: .milliseconds(100)).window.pacingRate == 277_000)
        let flow = BBRFlow()
        #expect(flow.window.pacingRate == 27_700_000)
        // What has no round trip changes nothing, and the first sample sets it right.
        flow.acknowledge(rate: 10, roundTrip: nil)
        #expect(flow.window.pacingRate == 27_700_000)
        let size = flow.window.size
        flow.acknowledge(rate: 10, roundTrip: 50, newRound: false)
        #expect(flow.window.pacingRate == size * 277 / 100 * 20)
        flow.acknowledge(rate: 10, roundTrip: 200, newRound: false)
        #expect(flow.window.pacingRate == size * 277 / 100 * 20)
    }

    struct Course: Sendable, CustomStringConvertible {
        let description: String
        /// Bytes per second in each round.
        let rates: [Int]
        var isUserLimited = false
        let isFull: Bool
    }

    static let courses: [Course] = [
        Course(description: "three rounds without growth", rates: [100, 100, 100, 100], isFull: true),
        Course(description: "two rounds are not enough", rates: [100, 100, 100], isFull: false),
        Course(description: "growth of less than a quarter is none", rates: [100, 124, 124, 124], isFull: true),
        Course(description: "a quarter is growth", rates: [100, 100, 100, 125, 125, 125], isFull: false),
        Course(
            description: "small steps that make a quarter together are growth",
            rates: [100, 115, 130, 149, 163, 187, 205, 234], isFull: false),
        Course(description: "falling rates are no growth", rates: [100, 80, 60, 40], isFull: true),
        Course(
            description: "rounds that the user limits do not count", rates: Array(repeating: 100, count: 20),
            isUserLimited: true, isFull: false),
    ]

    @Test("startup ends after three rounds without a quarter more (5.3.1.2, A.1, A.7)", arguments: courses)
    func fullPipe(course: Course) {
        let flow = BBRFlow()
        for rate in course.rates {
            #expect(flow.bbr.mode == .startup)
            flow.acknowledge(rate: rate * 10_000, inFlight: 10_000_000, isUserLimited: course.isUserLimited)
            // Further ACKs of the same round are no further rounds.
            for _ in 0..<5 {
                flow.acknowledge(
                    rate: rate * 10_000, after: 1, newRound: false, inFlight: 10_000_000,
                    isUserLimited: course.isUserLimited)
            }
        }
        #expect(flow.bbr.mode == (course.isFull ? .drain : .startup))
        #expect(flow.bbr.hasFilledPipe == course.isFull && flow.bbr.isFullNow == course.isFull)
    }

    struct Losses: Sendable, CustomStringConvertible {
        let description: String
        let ranges: Int
        var touch = false
        var share = 3_000
        var isRecovering = true
        var hasSelectiveAcks = true
        let ends: Bool
    }

    static let losses: [Losses] = [
        Losses(description: "six ranges and more than 2 %", ranges: 6, ends: true),
        Losses(description: "five ranges are a burst", ranges: 5, ends: false),
        Losses(description: "six ranges that touch are one", ranges: 6, touch: true, ends: false),
        Losses(description: "2 % are tolerated", ranges: 6, share: 2_000, ends: false),
        Losses(description: "a recovery that is over", ranges: 6, isRecovering: false, ends: false),
        Losses(description: "without SACK one loss tells it", ranges: 1, share: 1, hasSelectiveAcks: false, ends: true),
    ]

    @Test("startup ends by losses where all three signs are there (5.3.1.3, A.2)", arguments: losses)
    func startupLosses(losses: Losses) {
        let flow = BBRFlow()
        flow.acknowledge(rate: 500_000, isUserLimited: true)
        flow.acknowledge(isUserLimited: true)
        for _ in 0..<losses.ranges { flow.lose(apart: !losses.touch, hasSelectiveAcks: losses.hasSelectiveAcks) }
        if losses.isRecovering { flow.bbr.lossDetected(flow.window) }
        // The round of the losses is not over.
        flow.acknowledge(newRound: false, lostSince: losses.share, hasSelectiveAcks: losses.hasSelectiveAcks)
        #expect(flow.bbr.mode == .startup)
        flow.acknowledge(
            inFlight: 3 * BBRFlow.product, lostSince: losses.share, isUserLimited: true,
            hasSelectiveAcks: losses.hasSelectiveAcks)
        #expect(flow.bbr.mode == (losses.ends ? .drain : .startup))
        #expect(flow.bbr.hasFilledPipe == losses.ends)
        #expect(flow.bbr.longInflight == (losses.ends ? BBRFlow.product : BBR.unset))
    }

    // MARK: Drain

    @Test("drain ends when the product is all that is in the network (5.3.2, A.3)")
    func drained() {
        let flow = BBRFlow.reaching(.drain)
        flow.acknowledge(newRound: false, inFlight: BBRFlow.product + 1)
        #expect(flow.bbr.mode == .drain)
        flow.acknowledge(newRound: false, inFlight: BBRFlow.product)
        // DOWN has nothing left to do: there is no queue.
        #expect(flow.bbr.mode == .cruise)
    }

    @Test("drain ends after three rounds all the same (5.3.2, A.4)")
    func drainedByTime() {
        let flow = BBRFlow.reaching(.drain)
        for _ in 0..<3 {
            flow.acknowledge(inFlight: 2 * BBRFlow.product)
            #expect(flow.bbr.mode == .drain)
        }
        flow.acknowledge(inFlight: 2 * BBRFlow.product)
        #expect(flow.bbr.mode == .down)
    }

    // MARK: ProbeBW

    @Test("DOWN ends when the queue is gone and there is headroom (5.3.3.1, A.8)")
    func down() {
        let flow = BBRFlow.reaching(.down)
        flow.bbr.longInflight = 90_000
        flow.acknowledge(newRound: false, inFlight: 76_501, sentInFlight: 1000)
        #expect(flow.bbr.mode == .down)
        flow.acknowledge(newRound: false, inFlight: 76_500, sentInFlight: 1000)
        #expect(flow.bbr.mode == .cruise)
    }

    @Test("the next probe comes after two to three seconds, from DOWN as from CRUISE (5.3.3.8.3, A.9)")
    func probeByTime() {
        for mode in [BBR.Mode.down, .cruise] {
            let flow = BBRFlow.reaching(mode)
            #expect(flow.bbr.probeWait >= .seconds(2) && flow.bbr.probeWait < .seconds(3))
            let inFlight = mode == .down ? 2 * BBRFlow.product : BBRFlow.product
            let left = (flow.bbr.cycleStart + flow.bbr.probeWait - flow.now).nanoseconds / 1_000_000
            flow.acknowledge(after: left, newRound: false, inFlight: inFlight)
            #expect(flow.bbr.mode == mode)
            flow.acknowledge(after: 1, newRound: false, inFlight: inFlight)
            #expect(flow.bbr.mode == .refill)
        }
    }

    @Test(
        "the next probe comes after as many rounds as the product has segments, 63 at most (5.3.3.8.2)",
        arguments: [(10, 10), (62, 62), (100, 63)])
    func probeByRounds(segments: Int, rounds: Int) {
        let flow = BBRFlow.reaching(.cruise)
        flow.bbr.minimumRoundTrip = .milliseconds(Int64(segments))
        flow.window.size = 200_000
        var count = flow.bbr.roundsSinceProbe
        #expect(count <= 2)
        while flow.bbr.mode == .cruise, count < 100 {
            flow.acknowledge(roundTrip: 200, after: 1, inFlight: segments * 1000, sentInFlight: segments * 1000)
            count += 1
        }
        #expect(flow.bbr.mode == .refill && count == rounds)
    }

    @Test("flows that begin at different instants do not probe in step (5.3.3.8.2)")
    func randomWaits() {
        var waits: Set<Int64> = []
        var rounds: Set<Int> = []
        for millisecond in 0..<50 {
            let flow = BBRFlow()
            flow.now = flow.now + .milliseconds(Int64(millisecond))
            flow.reach(.down)
            waits.insert(flow.bbr.probeWait.nanoseconds)
            rounds.insert(flow.bbr.roundsSinceProbe)
        }
        #expect(waits.count > 40 && rounds == [0, 1])
    }

    @Test("REFILL forgets the short-term bounds and lasts a round; UP follows (5.3.3.3)")
    func refill() {
        let flow = BBRFlow.reaching(.cruise)
        flow.bbr.shortBandwidth = 1000
        flow.bbr.shortInflight = 5000
        flow.acknowledge(after: 3001)
        #expect(flow.bbr.mode == .refill)
        #expect(flow.bbr.shortBandwidth == BBR.unset && flow.bbr.shortInflight == BBR.unset)
        flow.acknowledge(newRound: false)
        #expect(flow.bbr.mode == .refill && !flow.bbr.probesSample)
        flow.acknowledge()
        #expect(flow.bbr.mode == .up && flow.bbr.probesSample)
    }

    @Test("UP ends after three rounds without a quarter more, and not while the user limits (5.3.3.7, A.5, A.7)")
    func upEnds() {
        for isUserLimited in [false, true] {
            let flow = BBRFlow.reaching(.up)
            for _ in 0..<2 {
                flow.acknowledge(isUserLimited: isUserLimited)
                #expect(flow.bbr.mode == .up)
            }
            for _ in 0..<10 { flow.acknowledge(isUserLimited: isUserLimited) }
            #expect((flow.bbr.mode == .up) == isUserLimited)
        }
    }

    @Test(
        "UP goes on while the long-term bound limits the rate, and raises it by 1, 2, 4, 8 segments a round (5.3.3.7, 5.3.3.9)"
    )
    func upRaises() {
        let flow = BBRFlow.reaching(.refill)
        flow.bbr.longInflight = 64_000
        flow.acknowledge(sentInFlight: 1000)
        #expect(flow.bbr.mode == .up)
        var growth: [Int] = []
        for round in 0..<5 {
            let before = flow.bbr.longInflight
            // A window of ACKs: the round begins with its first.
            for ack in 0..<(flow.bbr.longInflight / 1000) {
                flow.window.size = flow.bbr.longInflight
                flow.acknowledge(
                    1000, after: 1, newRound: ack == 0, sentInFlight: 1000, isWindowLimited: true)
            }
            growth.append((flow.bbr.longInflight - before) / 1000)
            #expect(flow.bbr.mode == .up, "round \(round)")
        }
        #expect((1...2).contains(growth[0]), "\(growth)")
        for (slower, faster) in zip(growth, growth.dropFirst()) {
            #expect((slower * 2 - 1...slower * 2 + 2).contains(faster), "\(growth)")
        }
    }

    @Test("a window that is not used up raises no bound (5.3.3.9)")
    func unusedWindow() {
        let flow = BBRFlow.reaching(.refill)
        flow.bbr.longInflight = 64_000
        for _ in 0..<3 { flow.acknowledge(64_000, sentInFlight: 1000) }
        #expect(flow.bbr.longInflight == 64_000)
    }

    @Test("what was in the network without loss is the least that the path holds (5.3.3.9)")
    func provenFlight() {
        let flow = BBRFlow.reaching(.cruise)
        flow.bbr.longInflight = 64_000
        flow.acknowledge(sentInFlight: 70_000)
        #expect(flow.bbr.longInflight == 70_000)
        flow.lost += 2000
        flow.acknowledge(sentInFlight: 80_000, lostSince: 2000)
        #expect(flow.bbr.longInflight == 70_000, "more than 2 % were lost")
    }

    @Test(
        "after a probe that lost too much the next one stops where that was; if it did no harm a real one follows (5.3.3.6)"
    )
    func precaution() {
        let flow = BBRFlow.reaching(.up)
        flow.lose(10_000, sentInFlight: 130_000)
        #expect(flow.bbr.mode == .down && flow.bbr.previousProbeWasTooHigh)
        let bound = flow.bbr.longInflight
        flow.postponeProbeRTT()
        // The round of the probe's last ACKs ends without another probe.
        flow.acknowledge(inFlight: 80_000, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .cruise)
        flow.acknowledge(after: 3001, inFlight: 80_000, sentInFlight: 80_000)
        flow.acknowledge(inFlight: 80_000, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .up)
        flow.acknowledge(newRound: false, inFlight: bound - 3000, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .up)
        flow.acknowledge(newRound: false, inFlight: bound - 1500, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .down && flow.bbr.previousProbeWasPrecautionary)
        #expect(!flow.bbr.previousProbeWasTooHigh)
        // No loss in the round of feedback: at once again, and now it may stay there.
        flow.acknowledge(inFlight: 2 * BBRFlow.product, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .refill)
        flow.acknowledge(inFlight: 80_000, sentInFlight: 80_000)
        flow.acknowledge(newRound: false, inFlight: bound, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .up)
    }

    @Test("a cautious probe that did harm is not followed by a real one at once (5.3.3.6)")
    func precautionWasRight() {
        let flow = BBRFlow.reaching(.up)
        flow.lose(10_000, sentInFlight: 130_000)
        flow.postponeProbeRTT()
        flow.acknowledge(inFlight: 80_000, sentInFlight: 80_000)
        flow.acknowledge(after: 3001, inFlight: 80_000, sentInFlight: 80_000)
        flow.acknowledge(inFlight: 80_000, sentInFlight: 80_000)
        flow.acknowledge(newRound: false, inFlight: 130_000, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .down && flow.bbr.previousProbeWasPrecautionary)
        flow.lose(10_000, sentInFlight: 120_000)
        flow.acknowledge(inFlight: 2 * BBRFlow.product, sentInFlight: 80_000)
        #expect(flow.bbr.mode == .down && flow.bbr.previousProbeWasTooHigh)
    }

    // MARK: ProbeRTT

    @Test("ProbeRTT comes when five seconds have shown no shorter round trip, in every state (5.3.4.1, A.10, A.20)")
    func probeRTT() {
        for mode in BBR.Mode.allCases where mode != .probeRTT {
            let flow = BBRFlow()
            flow.acknowledge(rate: 500_000)
            flow.reach(mode)
            let left = (flow.bbr.probeMinimumAt + .seconds(5) - flow.now).nanoseconds / 1_000_000
            flow.acknowledge(roundTrip: 101, after: left, newRound: false, inFlight: 200_000)
            #expect(flow.bbr.mode != .probeRTT, "\(mode)")
            flow.acknowledge(roundTrip: 101, after: 1, newRound: false, inFlight: 200_000)
            #expect(flow.bbr.mode == .probeRTT, "\(mode)")
        }
    }

    @Test("a shorter round trip puts ProbeRTT off (5.3.4.3)")
    func shorterRoundTrip() {
        let flow = BBRFlow.reaching(.cruise)
        for roundTrip in 0..<20 as Range<Int64> {
            flow.acknowledge(roundTrip: 99 - roundTrip, after: 4000)
            #expect(flow.bbr.mode != .probeRTT)
        }
    }

    @Test(
        "ProbeRTT lasts 200 ms and a round from when the network is half empty, and gives the window back (5.3.4.3, 5.3.4.4)"
    )
    func probeRTTEnds() {
        let flow = BBRFlow.reaching(.cruise)
        let before = flow.window.size
        flow.acknowledge(roundTrip: 101, after: 5001, inFlight: BBRFlow.product)
        #expect(flow.bbr.mode == .probeRTT && flow.window.size == BBRFlow.product / 2)
        // Half of the product is still too much in the network: the time does not run.
        flow.acknowledge(after: 500, inFlight: BBRFlow.product / 2 + 1)
        #expect(flow.bbr.probeDone == nil)
        flow.acknowledge(after: 1, inFlight: BBRFlow.product / 2)
        #expect(flow.bbr.probeDone == flow.now + .milliseconds(200))
        flow.bbr.shortBandwidth = 500_000
        flow.acknowledge(after: 199, newRound: true, inFlight: 10_000)
        flow.acknowledge(after: 1, newRound: false, inFlight: 10_000)
        #expect(flow.bbr.mode == .probeRTT, "not longer than 200 ms")
        flow.acknowledge(after: 1, newRound: false, inFlight: 10_000)
        #expect(flow.bbr.mode == .cruise && flow.window.size >= before)
        #expect(flow.bbr.shortBandwidth == BBR.unset)
        // The clock of the next bandwidth probe and of the next ProbeRTT has begun.
        #expect(flow.bbr.cycleStart == flow.now && flow.bbr.probeMinimumAt == flow.now)
    }

    @Test("ProbeRTT does not end within its round (5.3.4.1)")
    func probeRTTRound() {
        let flow = BBRFlow.reaching(.probeRTT)
        flow.acknowledge(after: 1, inFlight: 10_000)
        for _ in 0..<10 { flow.acknowledge(after: 100, newRound: false, inFlight: 10_000) }
        #expect(flow.bbr.mode == .probeRTT)
        flow.acknowledge(after: 1, inFlight: 10_000)
        #expect(flow.bbr.mode == .cruise)
    }

    @Test("ProbeRTT before the pipe was full leads back to startup (5.3.4.4, A.20)")
    func probeRTTInStartup() {
        let flow = BBRFlow()
        flow.acknowledge()
        flow.acknowledge(roundTrip: 101, after: 5001, inFlight: 10_000)
        #expect(flow.bbr.mode == .probeRTT)
        flow.acknowledge(after: 201, inFlight: 10_000)
        #expect(flow.bbr.mode == .startup)
    }

    @Test(
        "the window of ProbeRTT is half of the product, four segments at least (5.6.4.5)",
        arguments: [(1_000_000, 100, 50_000), (1_000_000, 10, 5_000), (1_000_000, 1, 4_000), (20_000, 100, 4_000)])
    func probeRTTWindow(rate: Int, roundTrip: Int64, expected: Int) {
        let flow = BBRFlow()
        for _ in 0..<4 { flow.acknowledge(200_000, rate: rate, roundTrip: roundTrip, inFlight: 1000) }
        flow.acknowledge(rate: rate, roundTrip: roundTrip + 1, after: 5001, inFlight: 1000)
        #expect(flow.bbr.mode == .probeRTT && flow.window.size == expected)
    }

    @Test("a recovery that ends during ProbeRTT does not lose the window from before (5.6.4.4)")
    func recoveryInProbeRTT() {
        let flow = BBRFlow.reaching(.cruise)
        let before = flow.window.size
        flow.lose()
        flow.bbr.lossDetected(flow.window)
        flow.acknowledge(roundTrip: 101, after: 5001)
        #expect(flow.bbr.mode == .probeRTT)
        flow.bbr.recoveryEnded(&flow.window)
        flow.acknowledge(after: 1, inFlight: 10_000)
        #expect(flow.window.size <= BBRFlow.product / 2)
        flow.acknowledge(after: 201, inFlight: 10_000)
        #expect(flow.bbr.mode == .cruise && flow.window.size >= before)
    }

    // MARK: Idle times

    @Test("after an idle time ProbeBW paces at the bandwidth, and ProbeRTT is not needed (5.4.1, 5.3.4.2, A.11)")
    func idle() {
        for mode in [BBR.Mode.down, .cruise, .refill, .up] {
            let flow = BBRFlow.reaching(mode)
            let size = flow.window.size
            flow.now = flow.now + .seconds(60)
            flow.bbr.resumed(&flow.window, at: flow.now)
            #expect(flow.window.pacingRate == BBRFlow.rate * 99 / 100, "\(mode)")
            #expect(flow.window.size == size)
            flow.acknowledge(roundTrip: 150, newRound: false)
            #expect(flow.bbr.mode != .probeRTT, "\(mode)")
            // The idle time has been the attempt: five seconds of it count from the sample after it.
            flow.acknowledge(roundTrip: 150, after: 4000, newRound: false)
            #expect(flow.bbr.mode != .probeRTT)
        }
    }

    @Test("an idle time in ProbeRTT ends it, if it has lasted long enough (5.4.1)")
    func idleInProbeRTT() {
        for (pause, mode) in [(200, BBR.Mode.probeRTT), (201, .cruise)] as [(Int64, BBR.Mode)] {
            let flow = BBRFlow.reaching(.probeRTT)
            flow.acknowledge(after: 1, inFlight: 0)
            flow.now = flow.now + .milliseconds(pause)
            flow.bbr.resumed(&flow.window, at: flow.now)
            #expect(flow.bbr.mode == mode)
        }
    }
}
