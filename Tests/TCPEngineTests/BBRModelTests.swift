// BBR's model of the path: bandwidth, round trip, what it holds; losses, and taking them back (draft-ietf-ccwg-bbr-06 5.5, 5.6).
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct BBRModelTests {
    // MARK: Bandwidth

    @Test("the bandwidth is the largest sample of two cycles (5.5.3, 5.5.6)")
    func bandwidthFilter() {
        let flow = BBRFlow.reaching(.cruise)
        flow.acknowledge(rate: 2_000_000, newRound: false)
        flow.acknowledge(rate: 1_000_000, newRound: false)
        #expect(flow.bbr.maximumBandwidth == 2_000_000)
        // The samples of each cycle: the largest of the last one counts until this one has ended.
        for (largest, last, expected) in [
            (700_000, 2_000_000, 2_000_000), (600_000, 2_000_000, 600_000), (500_000, 600_000, 500_000),
        ] {
            flow.postponeProbeRTT()
            flow.acknowledge(rate: largest, after: 3001)
            #expect(flow.bbr.mode == .refill)
            while flow.bbr.mode != .down, flow.bbr.mode != .cruise { flow.acknowledge(rate: largest, after: 10) }
            // One round after UP.
            flow.acknowledge(rate: largest, after: 10, newRound: false)
            #expect(flow.bbr.maximumBandwidth == last, "before the end of \(largest)")
            flow.acknowledge(rate: largest, after: 10)
            #expect(flow.bbr.maximumBandwidth == expected, "after \(largest)")
        }
    }

    @Test("samples that the user limits count only if they are larger (5.5.4, A.22)")
    func userLimited() {
        let flow = BBRFlow.reaching(.cruise)
        #expect(flow.bbr.bandwidths == (0, 1_000_000))
        flow.acknowledge(rate: 900_000, newRound: false, isUserLimited: true)
        #expect(flow.bbr.bandwidths.current == 0 && flow.bbr.maximumBandwidth == 1_000_000)
        flow.acknowledge(rate: 1_100_000, newRound: false, isUserLimited: true)
        #expect(flow.bbr.maximumBandwidth == 1_100_000)
    }

    @Test("a cycle that the user limits does not make the filter forget (5.3.3.9)")
    func userLimitedCycles() {
        let flow = BBRFlow.reaching(.cruise)
        for _ in 0..<6 {
            flow.postponeProbeRTT()
            flow.acknowledge(rate: 10_000, after: 3001, isUserLimited: true)
            for _ in 0..<8 { flow.acknowledge(rate: 10_000, after: 10, isUserLimited: true) }
        }
        #expect(flow.bbr.maximumBandwidth == 1_000_000)
    }

    @Test("an ACK that shows no rate ends a round all the same (5.5.1)")
    func roundWithoutRate() {
        let flow = BBRFlow.reaching(.refill)
        flow.acknowledge(rate: 0)
        #expect(flow.bbr.mode == .up && flow.bbr.maximumBandwidth == BBRFlow.rate)
    }

    // MARK: Round trip

    @Test("the round trip is the shortest of ten seconds (5.5.7.2, 5.3.4.3)")
    func minimumRoundTrip() {
        let flow = BBRFlow.reaching(.cruise)
        flow.acknowledge(roundTrip: 80, after: 1, newRound: false)
        #expect(flow.bbr.minimumRoundTrip == .milliseconds(80))
        // A longer one of ProbeRTT's does not count before the shortest is ten seconds old.
        flow.acknowledge(roundTrip: 120, after: 5001, newRound: false)
        #expect(flow.bbr.minimumRoundTrip == .milliseconds(80))
        flow.acknowledge(roundTrip: 120, after: 4999, newRound: false)
        #expect(flow.bbr.minimumRoundTrip == .milliseconds(80))
        flow.acknowledge(roundTrip: 120, after: 1, newRound: false)
        #expect(flow.bbr.minimumRoundTrip == .milliseconds(120))
    }

    @Test("without a sample there is no round trip, however long it takes; a known one is where it begins (5.2.1)")
    func noSample() {
        let flow = BBRFlow()
        for _ in 0..<20 { flow.acknowledge(roundTrip: nil, after: 1000) }
        #expect(flow.bbr.minimumRoundTrip == nil)
        #expect(flow.bbr.product(BBRFlow.rate, gain: 200, flow.window) == 10_000)
        #expect(BBRFlow(smoothed: .milliseconds(30)).bbr.minimumRoundTrip == .milliseconds(30))
    }

    // MARK: Window

    @Test(
        "the window is bounded by what the state lets the path hold (5.6.4.7)",
        arguments: [
            (BBR.Mode.drain, BBR.unset), (.down, 60_000), (.cruise, 51_000), (.refill, 60_000), (.up, 60_000),
            (.probeRTT, 50_000),
        ])
    func bounds(mode: BBR.Mode, long: Int) {
        for short in [BBR.unset, 40_000, 1_000] {
            let flow = BBRFlow.reaching(mode)
            flow.bbr.longInflight = 60_000
            flow.bbr.shortInflight = short
            flow.window.size = 150_000
            flow.acknowledge(newRound: false, inFlight: 2 * BBRFlow.product, sentInFlight: 1000)
            #expect(flow.bbr.mode == mode)
            // Whatever the bounds say: four segments.
            #expect(flow.window.size == min(max(min(long, short), 4000), 151_000), "\(short)")
        }
    }

    @Test("the window grows by what is delivered, to the gain's multiple of the product (5.6.4.6)")
    func growth() {
        let flow = BBRFlow.reaching(.cruise)
        flow.bbr.extraAcked = (0, 0)
        flow.window.size = 100_000
        flow.acknowledge(3000, newRound: false)
        #expect(flow.window.size == 103_000)
        for _ in 0..<200 { flow.acknowledge(3000, after: 3, newRound: false) }
        #expect((2 * BBRFlow.product...2 * BBRFlow.product + 10_000).contains(flow.window.size))
        // Too much is cut at once.
        flow.bbr.extraAcked = (0, 0)
        flow.window.size = 1_000_000
        flow.acknowledge(1000, after: 1, newRound: false)
        #expect(flow.window.size < 210_000)
    }

    @Test("startup does not take a window away that it has not outgrown (5.6.4.6)")
    func startupKeeps() {
        let flow = BBRFlow()
        flow.acknowledge(20_000, rate: 1000)
        flow.window.size = 300_000
        flow.acknowledge(rate: 1000)
        #expect(flow.window.size == 300_000)
    }

    @Test("however small the product is, four segments and three quanta may be out (5.6.4.2, 5.6.4.3, A.14)")
    func smallProduct() {
        let flow = BBRFlow()
        for _ in 0..<5 { flow.acknowledge(rate: 5000, roundTrip: 10, inFlight: 1000) }
        #expect(flow.bbr.mode.isProbeBandwidth)
        #expect(
            flow.window.quantum == 2000 && flow.window.pacingRate == 5000 * flow.bbr.mode.pacingGain / 100 * 99 / 100)
        #expect(flow.window.size >= 6000 && flow.window.size <= 10_000)
        flow.bbr.shortInflight = 1
        flow.acknowledge(rate: 5000, roundTrip: 10, newRound: false, inFlight: 1000)
        #expect(flow.window.size == 4000)
    }

    @Test("what ACKs deliver in bunches is added, and lies under the least of offloading (5.5.9, 5.6.4.2, A.13)")
    func aggregation() {
        let flow = BBRFlow.reaching(.cruise)
        // Nothing for 30 ms, and then 30,000 bytes at once: all but the time's worth is extra.
        flow.bbr.extraAcked = (0, 0)
        for _ in 0..<10 {
            flow.acknowledge(1000, after: 30, newRound: false)
            for _ in 0..<29 { flow.acknowledge(1000, after: 0, newRound: false) }
        }
        #expect((29_000...31_000).contains(flow.bbr.extraAcked.current), "\(flow.bbr.extraAcked)")
        #expect((229_000...231_000).contains(flow.window.size), "\(flow.window.size)")
        // It is forgotten after ten rounds.
        for _ in 0..<12 { flow.acknowledge(1000, after: 100) }
        #expect(max(flow.bbr.extraAcked.current, flow.bbr.extraAcked.previous) <= 1000)
        // A product below three quanta has room for the extra already.
        flow.bbr.minimumRoundTrip = .milliseconds(1)
        flow.bbr.extraAcked = (1000, 0)
        flow.acknowledge(1000, after: 1, newRound: false)
        #expect(flow.window.size == 3 * flow.window.quantum)
    }

    @Test("an idle time is no bunch of ACKs (5.4.1)")
    func aggregationAfterIdle() {
        let flow = BBRFlow.reaching(.cruise)
        for _ in 0..<50 { flow.acknowledge(1000, after: 0, newRound: false) }
        flow.bbr.extraAcked = (0, 0)
        flow.now = flow.now + .milliseconds(10)
        flow.bbr.resumed(&flow.window, at: flow.now)
        flow.acknowledge(1000, after: 10, newRound: false)
        #expect(flow.bbr.extraAcked.current <= 1000)
    }

    // MARK: Losses while not probing

    @Test("a round with loss bounds bandwidth and flight by what arrived, or 0.7 of before (5.5.10.3)")
    func lowerBounds() {
        for mode in [BBR.Mode.drain, .down, .cruise, .probeRTT] {
            let flow = BBRFlow.reaching(mode)
            flow.acknowledge(rate: 950_000, after: 1, inFlight: 2 * BBRFlow.product)
            flow.lose()
            flow.acknowledge(rate: 900_000, after: 1, newRound: false, inFlight: 2 * BBRFlow.product)
            let size = flow.window.size
            #expect(flow.bbr.shortBandwidth == BBR.unset, "\(mode): the round is not over")
            flow.acknowledge(rate: 800_000, after: 1, inFlight: 2 * BBRFlow.product)
            #expect(flow.bbr.mode == mode)
            // The largest of the round.
            #expect(flow.bbr.shortBandwidth == 950_000 && flow.bbr.bandwidth == 950_000, "\(mode)")
            #expect(flow.bbr.shortInflight == max(95_000, size * 7 / 10), "\(mode)")
            // Far below: 0.7 is the floor, round by round.
            for _ in 0..<3 { flow.acknowledge(rate: 1000, after: 1, inFlight: 2 * BBRFlow.product) }
            #expect(flow.bbr.shortBandwidth == 950_000, "\(mode): rounds without loss change nothing")
            flow.lose()
            flow.acknowledge(rate: 1000, after: 1, inFlight: 2 * BBRFlow.product)
            #expect(flow.bbr.shortBandwidth == 665_000, "\(mode)")
        }
    }

    @Test("losses of STARTUP, REFILL and UP do not set the short-term bounds (5.5.10.3)")
    func acceleration() {
        for mode in [BBR.Mode.startup, .refill, .up] {
            let flow = BBRFlow.reaching(mode)
            flow.lose(100)
            flow.acknowledge(after: 1)
            flow.acknowledge(after: 1)
            #expect(flow.bbr.shortBandwidth == BBR.unset && flow.bbr.shortInflight == BBR.unset, "\(mode)")
        }
    }

    // MARK: Losses of a probe

    struct Probe: Sendable, CustomStringConvertible {
        let description: String
        var count = 1000
        var sentInFlight = 150_000
        var lostSince = 4000
        var isUserLimited = false
        var hasSelectiveAcks = true
        /// The bound, or nil if the probe goes on.
        let bound: Int?
    }

    static let probes: [Probe] = [
        Probe(description: "2 % are tolerated", lostSince: 3000, bound: nil),
        // 149,000 with 3,000 lost are 2.01 %: no part of the range fits.
        Probe(description: "more is not", bound: 149_000),
        // 100,000 of 200,000 left as one batch, all lost; 2 % of it more than the path held.
        Probe(
            description: "the threshold lies within a batch", count: 100_000, sentInFlight: 200_000, lostSince: 100_000,
            bound: 100_000 + 100_000 * 2 / 98),
        Probe(
            description: "a small flight: 0.7 of the product is the floor", sentInFlight: 30_000,
            bound: 70_000),
        Probe(description: "without SACK every loss", lostSince: 1, hasSelectiveAcks: false, bound: 152_040),
    ]

    @Test("more loss than 2 % ends UP and bounds the flight by where that was (5.5.10.2, A.21)", arguments: probes)
    func tooHigh(probe: Probe) {
        let flow = BBRFlow.reaching(.up)
        flow.lose(
            probe.count, sentInFlight: probe.sentInFlight, lostSince: probe.lostSince,
            hasSelectiveAcks: probe.hasSelectiveAcks)
        #expect(flow.bbr.mode == (probe.bound == nil ? .up : .down))
        #expect(flow.bbr.longInflight == probe.bound ?? BBR.unset)
        guard probe.bound != nil else { return }
        #expect(flow.bbr.cycleStart == flow.now)
        // Once for each probe.
        flow.lose(50_000, sentInFlight: 60_000)
        #expect(flow.bbr.longInflight == probe.bound)
    }

    @Test("losses of a probe that the user limited end it, but bound nothing (5.5.10.2, A.6)")
    func tooHighUserLimited() {
        let flow = BBRFlow.reaching(.up)
        flow.lose(10_000, isUserLimited: true)
        #expect(flow.bbr.mode == .down && flow.bbr.longInflight == BBR.unset)
    }

    @Test("losses of REFILL's data show in UP and later, until the round after the probe is over (5.5.10.2)")
    func lateFeedback() {
        let flow = BBRFlow.reaching(.up)
        for _ in 0..<3 { flow.acknowledge() }
        #expect(flow.bbr.mode != .up)
        flow.lose(10_000, sentInFlight: 130_000)
        #expect(flow.bbr.longInflight != BBR.unset)
        let other = BBRFlow.reaching(.up)
        for _ in 0..<4 { other.acknowledge() }
        other.lose(10_000, sentInFlight: 130_000)
        #expect(other.bbr.longInflight == BBR.unset)
    }

    // MARK: Timeouts and undo

    @Test("a recovery gives back the window that it found, within the model's bounds (5.6.4.4)")
    func restores() {
        let flow = BBRFlow.reaching(.cruise)
        let before = flow.window.size
        flow.bbr.timedOut(flow.window)
        flow.window.size = 1000
        flow.acknowledge(newRound: false)
        #expect(flow.window.size < 5001)
        flow.bbr.recoveryEnded(&flow.window)
        #expect(flow.window.size == before)
    }

    @Test("a spurious recovery is taken back: window, bounds, and the probe that it ended (5.5.11, A.18, A.19)")
    func undoProbe() {
        let flow = BBRFlow.reaching(.up)
        flow.bbr.longInflight = 140_000
        flow.window.size = 140_000
        flow.lose(10_000, sentInFlight: 130_000)
        flow.bbr.lossDetected(flow.window)
        flow.acknowledge(rate: 500_000, inFlight: 2 * BBRFlow.product)
        flow.lose()
        flow.acknowledge(rate: 500_000, inFlight: 2 * BBRFlow.product)
        #expect(flow.bbr.mode == .down && flow.bbr.longInflight < 140_000 && flow.bbr.bandwidth < BBRFlow.rate)
        flow.bbr.lossWasSpurious(&flow.window)
        #expect(flow.bbr.mode == .refill && flow.bbr.longInflight == 140_000 && flow.window.size == 140_000)
        #expect(flow.bbr.shortBandwidth == BBR.unset && flow.bbr.shortInflight == BBR.unset)
        #expect(!flow.bbr.lossInRound && flow.bbr.fullBandwidth == 0 && flow.bbr.fullCount == 0)
        flow.acknowledge()
        #expect(flow.bbr.mode == .up)
    }

    @Test("a spurious recovery that ended startup leads back to it (5.5.11)")
    func undoStartup() {
        for duringProbeRTT in [false, true] {
            let flow = BBRFlow()
            flow.acknowledge()
            for _ in 0..<6 { flow.lose() }
            flow.bbr.lossDetected(flow.window)
            flow.acknowledge(inFlight: 2 * BBRFlow.product, lostSince: 6000)
            #expect(flow.bbr.mode == .drain && flow.bbr.longInflight != BBR.unset)
            if duringProbeRTT { flow.acknowledge(roundTrip: 101, after: 5001) }
            flow.bbr.lossWasSpurious(&flow.window)
            #expect(!flow.bbr.hasFilledPipe && flow.bbr.longInflight == BBR.unset)
            #expect(flow.bbr.mode == (duringProbeRTT ? .probeRTT : .startup))
            guard duringProbeRTT else { continue }
            flow.acknowledge(after: 1, inFlight: 1000)
            flow.acknowledge(after: 201, inFlight: 1000)
            #expect(flow.bbr.mode == .startup)
        }
    }

    @Test("losses that ended no state are taken back without changing it (5.5.11.2)")
    func undoCruise() {
        let flow = BBRFlow.reaching(.cruise)
        flow.acknowledge(rate: 300_000, after: 1)
        let before = flow.window.size
        flow.lose()
        flow.bbr.lossDetected(flow.window)
        flow.acknowledge(rate: 300_000, after: 1)
        #expect(flow.bbr.bandwidth < BBRFlow.rate && flow.window.size < before)
        flow.bbr.lossWasSpurious(&flow.window)
        #expect(flow.bbr.mode == .cruise && flow.bbr.bandwidth == BBRFlow.rate && flow.window.size == before)
    }

    @Test("the report that nothing was lost may come after the recovery, and is good for that one alone (5.5.11.1)")
    func lateUndo() {
        let flow = BBRFlow.reaching(.cruise)
        flow.lose()
        flow.bbr.lossDetected(flow.window)
        flow.acknowledge(rate: 300_000)
        flow.bbr.recoveryEnded(&flow.window)
        flow.acknowledge(rate: 300_000, newRound: false)
        // A real loss later: what it finds is already bounded.
        flow.lose()
        flow.bbr.lossDetected(flow.window)
        let bound = flow.bbr.shortBandwidth
        flow.acknowledge(rate: 300_000)
        #expect(flow.bbr.shortBandwidth < bound)
        flow.bbr.recoveryEnded(&flow.window)
        flow.bbr.lossWasSpurious(&flow.window)
        #expect(flow.bbr.shortBandwidth == bound)
        flow.bbr.lossWasSpurious(&flow.window)
        #expect(flow.bbr.shortBandwidth == bound)
    }

    // MARK: Marks

    @Test("a mark counts as more loss than the threshold allows (3.7)")
    func marks() {
        let startup = BBRFlow()
        startup.acknowledge()
        startup.bbr.marked(startup.window, at: startup.now)
        #expect(startup.bbr.hasFilledPipe && startup.bbr.longInflight == BBRFlow.product)
        for mode in [BBR.Mode.refill, .up] {
            let flow = BBRFlow.reaching(mode)
            flow.window.size = 150_000
            flow.bbr.marked(flow.window, at: flow.now)
            #expect(flow.bbr.mode == .down && flow.bbr.longInflight == 105_000, "\(mode)")
            #expect(flow.bbr.previousProbeWasTooHigh)
        }
        let cruise = BBRFlow.reaching(.cruise)
        cruise.acknowledge(rate: 900_000)
        cruise.bbr.marked(cruise.window, at: cruise.now)
        cruise.acknowledge(rate: 900_000)
        #expect(cruise.bbr.mode == .cruise && cruise.bbr.shortBandwidth < BBRFlow.rate)
        #expect(cruise.bbr.longInflight == BBR.unset)
    }
}
