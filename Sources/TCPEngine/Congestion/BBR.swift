// BBR version 3 (draft-ietf-ccwg-bbr): a model of the path decides, not each loss. Integers only.
import TCPSegments

/// Keeps as much in the network as the path's bandwidth and round trip call for. Allocated only for connections that choose it.
/// The probing of ProbeBW is in BBRProbing.swift.
final class BBR {
    enum Mode: Equatable { case startup, drain, down, cruise, refill, up, probeRTT }
    /// Which probe the ACKs that arrive belong to.
    enum AckPhase { case none, starting, feedback, stopping, refilling }

    // Parameters of the draft, in percent.
    static let lossThreshold = 2
    static let beta = 70
    static let headroom = 15
    static let unset = Int.max

    var mode = Mode.startup
    var pacingGain = 277
    var windowGain = 200
    // The path model. Bandwidths in bytes per second.
    private var bandwidths = (current: 0, previous: 0)
    var shortBandwidth = BBR.unset
    var longInflight = BBR.unset
    var shortInflight = BBR.unset
    private(set) var minimumRoundTrip: TimeInterval?
    private var minimumAt = Instant.origin
    // Rounds: one ends when what was sent at its beginning has been delivered.
    var totalDelivered = 0
    private var nextRoundDelivered = 0
    private(set) var roundStarts = false
    var roundsSinceProbe = 0
    private var roundCount = 0
    // Full pipe.
    private var fullBandwidth = 0
    private var fullCount = 0
    private(set) var isFullNow = false
    private(set) var hasFilledPipe = false
    // Losses.
    private var lossRoundDelivered = 0
    private var lossRoundStarts = false
    var lossInRound = false
    private var lossEvents = 0
    private var latestBandwidth = 0
    private var latestInflight = 0
    var probesSample = false
    // ACK aggregation.
    private var aggregateStart = Instant.origin
    private var aggregateDelivered = 0
    private var extraAcked = (current: 0, previous: 0)
    private var extraRound = 0
    // ProbeBW.
    var ackPhase = AckPhase.none
    var cycleStart = Instant.origin
    var probeWait = TimeInterval.zero
    var probeUpRounds = 0
    var probeUpAcks = 0
    var probeUpCount = BBR.unset
    // ProbeRTT.
    private var probeMinimum = TimeInterval.seconds(3600)
    private var probeMinimumAt: Instant
    private var probeDone: Instant?
    private var probeRoundDone = false
    private var isRestarting = false
    private var priorWindow = 0
    // What a needless reaction is taken back to.
    private var undo: (mode: Mode, bandwidth: Int, long: Int, short: Int)?

    init(_ window: inout CongestionWindow, smoothed: TimeInterval?, at now: Instant) {
        probeMinimumAt = now
        minimumAt = now
        // draft 5.6.2: before the first sample the initial window in a round trip, or in a millisecond.
        let nanoseconds = max(Int((smoothed ?? .milliseconds(1)).nanoseconds), 1)
        window.pacingRate = proportion(window.size * pacingGain / 100, nanosecondsPerSecond, nanoseconds)
        setQuantum(&window)
    }

    // MARK: Derived

    var maximumBandwidth: Int { max(bandwidths.current, bandwidths.previous) }
    var bandwidth: Int { min(maximumBandwidth, shortBandwidth) }
    func minimumWindow(_ window: CongestionWindow) -> Int { 4 * window.segmentSize }

    /// Bandwidth times round trip, times `gain` percent.
    func product(_ bandwidth: Int, gain: Int, _ window: CongestionWindow) -> Int {
        guard let minimumRoundTrip else { return window.initial }
        return proportion(
            proportion(bandwidth, Int(minimumRoundTrip.nanoseconds), nanosecondsPerSecond), gain, 100)
    }

    /// draft 5.6.4.2: with room for what offloading and delayed ACKs hold back.
    func inflight(_ bandwidth: Int, gain: Int, _ window: CongestionWindow) -> Int {
        let wanted = max(product(bandwidth, gain: gain, window), 3 * window.quantum, minimumWindow(window))
        return min(wanted, CongestionWindow.limit) + (mode == .up ? 2 * window.segmentSize : 0)
    }

    func targetInflight(_ window: CongestionWindow) -> Int { min(product(bandwidth, gain: 100, window), window.size) }

    var isInProbeBandwidth: Bool {
        switch mode {
        case .down, .cruise, .refill, .up: return true
        case .startup, .drain, .probeRTT: return false
        }
    }

    // MARK: Events

    /// draft 5.2.3: what every ACK does.
    func acknowledged(_ sample: AckSample, _ window: inout CongestionWindow) {
        totalDelivered = sample.totalDelivered
        let rate = sample.rate?.bytesPerSecond ?? 0
        let isLimited = sample.rate?.snapshot.isApplicationLimited ?? true
        updateSignals(sample, rate: rate, isLimited: isLimited, window)
        updateAggregation(sample, window)
        checkFullPipe(rate: rate, isLimited: isLimited)
        if mode == .startup, hasFilledPipe {
            mode = .drain
            (pacingGain, windowGain) = (50, 200)
        }
        if mode == .drain, sample.inFlight <= inflight(maximumBandwidth, gain: 100, window) {
            startDown(at: sample.arrival)
        }
        if hasFilledPipe { updateProbing(sample, rate: rate, isLimited: isLimited, window) }
        updateMinimum(sample, &window)
        if lossRoundStarts {
            latestBandwidth = rate
            latestInflight = sample.rate?.delivered ?? 0
        }
        setPacingRate(&window)
        setQuantum(&window)
        setWindow(sample, &window)
    }

    func lossDetected(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        if undo == nil { undo = (mode, shortBandwidth, longInflight, shortInflight) }
    }

    /// The draft has no rule for marks: one counts as more loss in its round than the threshold allows.
    func marked(_ window: inout CongestionWindow, at now: Instant) {
        if !lossInRound { lossRoundDelivered = totalDelivered }
        lossInRound = true
        switch mode {
        case .startup:
            hasFilledPipe = true
            longInflight = max(product(maximumBandwidth, gain: 100, window), latestInflight)
        case .refill, .up:
            probesSample = false
            longInflight = max(min(longInflight, window.size), targetInflight(window)) / 100 * Self.beta
            startDown(at: now)
        case .drain, .down, .cruise, .probeRTT: break
        }
    }

    func timedOut(flight: Int, _ window: inout CongestionWindow, at now: Instant) {
        lossDetected(flight: flight, &window, at: now)
        priorWindow = max(priorWindow, window.size)
    }

    func recoveryEnded(_ window: inout CongestionWindow) {
        window.size = max(window.size, priorWindow)
        priorWindow = 0
        undo = nil
    }

    /// draft 5.5.11.1: a range of a probe was lost; if more than the threshold was, the probe went too far.
    func rangeLost(_ range: SentRange, count: Int, lostSince: Int, _ window: CongestionWindow) {
        if !lossInRound { lossRoundDelivered = totalDelivered }
        lossInRound = true
        lossEvents += 1
        guard probesSample else { return }
        let flight = Int(range.snapshot.inFlight)
        guard lostSince * 100 > flight * Self.lossThreshold else { return }
        // What was in the network when the losses reached the threshold.
        let flightBefore = max(flight - count, 0)
        let lostBefore = max(lostSince - count, 0)
        let prefix = max(0, (flightBefore * Self.lossThreshold - lostBefore * 100) / (100 - Self.lossThreshold))
        probesSample = false
        if !range.snapshot.isApplicationLimited {
            longInflight = max(flightBefore + prefix, targetInflight(window) * Self.beta / 100)
        }
        if mode == .up { startDown(at: range.sentAt + (minimumRoundTrip ?? .zero)) }
    }

    /// draft 5.5.11.2: nothing had been lost.
    func lossWasSpurious(_ window: inout CongestionWindow) {
        guard let before = undo else { return }
        lossInRound = false
        shortBandwidth = max(shortBandwidth, before.bandwidth)
        longInflight = max(longInflight, before.long)
        shortInflight = max(shortInflight, before.short)
        window.size = max(window.size, priorWindow)
        undo = nil
    }

    /// draft 5.4.1: data leaves after the network was empty.
    func resumed(_ window: inout CongestionWindow, at now: Instant) {
        isRestarting = true
        aggregateStart = now
        aggregateDelivered = 0
        if isInProbeBandwidth { window.pacingRate = max(1, proportion(bandwidth, 99, 100)) }
    }

    // MARK: Model

    func startRound() { nextRoundDelivered = totalDelivered }

    func advanceBandwidthFilter() { bandwidths = (0, bandwidths.current) }

    func resetFullBandwidth(to rate: Int) {
        fullBandwidth = rate
        fullCount = 0
        isFullNow = false
    }

    func resetSignals() {
        lossInRound = false
        latestBandwidth = 0
        latestInflight = 0
    }

    func resetShortTerm() {
        shortBandwidth = Self.unset
        shortInflight = Self.unset
    }

    private func updateSignals(_ sample: AckSample, rate: Int, isLimited: Bool, _ window: CongestionWindow) {
        lossRoundStarts = false
        roundStarts = false
        if let prior = sample.rate?.snapshot.delivered {
            latestBandwidth = max(latestBandwidth, rate)
            latestInflight = max(latestInflight, sample.rate?.delivered ?? 0)
            if prior >= lossRoundDelivered {
                lossRoundDelivered = totalDelivered
                lossRoundStarts = true
            }
            if prior >= nextRoundDelivered {
                startRound()
                roundStarts = true
                roundCount += 1
                roundsSinceProbe += 1
            }
        }
        if rate > 0, rate >= maximumBandwidth || !isLimited { bandwidths.current = max(bandwidths.current, rate) }
        if sample.lost > 0 { lossInRound = true }
        guard lossRoundStarts else { return }
        if lossInRound {
            checkStartupLoss(sample, window)
            adaptLowerBounds(window)
        }
        lossInRound = false
        lossEvents = 0
    }

    /// draft 5.5.10.3: a round with loss that was no probe bounds what is sent until the next probe.
    private func adaptLowerBounds(_ window: CongestionWindow) {
        if mode == .startup || mode == .refill || mode == .up { return }
        if shortBandwidth == Self.unset { shortBandwidth = maximumBandwidth }
        if shortInflight == Self.unset { shortInflight = window.size }
        shortBandwidth = max(latestBandwidth, shortBandwidth / 100 * Self.beta)
        shortInflight = max(latestInflight, shortInflight / 100 * Self.beta)
    }

    /// draft 5.3.1.3: many losses in a round of startup: the pipe is full.
    private func checkStartupLoss(_ sample: AckSample, _ window: CongestionWindow) {
        guard mode == .startup, !hasFilledPipe, lossEvents >= 6, let rate = sample.rate,
            (sample.totalLost - rate.snapshot.lost) * 100 > Int(rate.snapshot.inFlight) * Self.lossThreshold
        else { return }
        hasFilledPipe = true
        longInflight = max(product(maximumBandwidth, gain: 100, window), latestInflight)
    }

    /// draft 5.3.1.2: three rounds without a quarter more.
    private func checkFullPipe(rate: Int, isLimited: Bool) {
        guard !isFullNow, !isLimited else { return }
        if rate >= fullBandwidth / 4 * 5 {
            resetFullBandwidth(to: max(rate, 1))
            return
        }
        guard roundStarts else { return }
        fullCount += 1
        isFullNow = fullCount >= 3
        if isFullNow { hasFilledPipe = true }
    }

    /// draft 5.5.9: how much more than the bandwidth ACKs deliver in bunches.
    private func updateAggregation(_ sample: AckSample, _ window: CongestionWindow) {
        var expected = proportion(
            bandwidth, Int((sample.arrival - aggregateStart).nanoseconds), nanosecondsPerSecond)
        if aggregateDelivered <= expected {
            aggregateDelivered = 0
            aggregateStart = sample.arrival
            expected = 0
        }
        aggregateDelivered += sample.delivered
        let extra = min(aggregateDelivered - expected, window.size)
        if roundCount - extraRound >= (hasFilledPipe ? 5 : 1) {
            extraRound = roundCount
            extraAcked = (0, extraAcked.current)
        }
        extraAcked.current = max(extraAcked.current, extra)
    }

    // MARK: ProbeRTT (draft 5.3.4)

    private func updateMinimum(_ sample: AckSample, _ window: inout CongestionWindow) {
        let now = sample.arrival
        let isDue = now > probeMinimumAt + .seconds(5)
        if let roundTrip = sample.roundTrip, roundTrip < probeMinimum || isDue {
            probeMinimum = roundTrip
            probeMinimumAt = now
        }
        if minimumRoundTrip.map({ probeMinimum < $0 }) ?? (sample.roundTrip != nil) || now > minimumAt + .seconds(10) {
            minimumRoundTrip = probeMinimum
            minimumAt = probeMinimumAt
        }
        if mode != .probeRTT, isDue, !isRestarting {
            mode = .probeRTT
            (pacingGain, windowGain) = (100, 50)
            priorWindow = max(priorWindow, window.size)
            probeDone = nil
            ackPhase = .stopping
            startRound()
        }
        if mode == .probeRTT { stayInProbeRTT(sample, &window) }
        if sample.delivered > 0 { isRestarting = false }
    }

    private func stayInProbeRTT(_ sample: AckSample, _ window: inout CongestionWindow) {
        guard let done = probeDone else {
            guard sample.inFlight <= probeWindow(window) else { return }
            probeDone = sample.arrival + .milliseconds(200)
            probeRoundDone = false
            startRound()
            return
        }
        if roundStarts { probeRoundDone = true }
        guard probeRoundDone, sample.arrival > done else { return }
        probeMinimumAt = sample.arrival
        window.size = max(window.size, priorWindow)
        priorWindow = 0
        resetShortTerm()
        if hasFilledPipe {
            startDown(at: sample.arrival)
            startCruise()
        } else {
            mode = .startup
            (pacingGain, windowGain) = (277, 200)
        }
    }

    private func probeWindow(_ window: CongestionWindow) -> Int {
        max(product(bandwidth, gain: 50, window), minimumWindow(window))
    }

    // MARK: Control

    private func setPacingRate(_ window: inout CongestionWindow) {
        guard bandwidth > 0 else { return }
        let rate = max(1, proportion(proportion(bandwidth, pacingGain, 100), 99, 100))
        if hasFilledPipe || rate > window.pacingRate { window.pacingRate = rate }
    }

    /// draft 5.6.3: a millisecond's worth, at most 64 KB, at least two segments.
    private func setQuantum(_ window: inout CongestionWindow) {
        window.quantum = max(min(window.pacingRate / 1000, 65_536), 2 * window.segmentSize)
    }

    private func setWindow(_ sample: AckSample, _ window: inout CongestionWindow) {
        let extra = max(extraAcked.current, extraAcked.previous)
        let most = inflight(bandwidth, gain: windowGain, window) + extra
        var size = window.size
        if hasFilledPipe {
            size = min(size + sample.delivered, most)
        } else if size < most || totalDelivered < window.initial {
            size += sample.delivered
        }
        size = max(size, minimumWindow(window))
        if mode == .probeRTT { size = min(size, probeWindow(window)) }
        // draft 5.6.4.7: what the model says the path can hold.
        var cap = Self.unset
        switch mode {
        case .down, .refill, .up: cap = longInflight
        case .cruise, .probeRTT: cap = inflightWithHeadroom(window)
        case .startup, .drain: break
        }
        cap = max(min(cap, shortInflight), minimumWindow(window))
        window.size = min(size, cap, CongestionWindow.limit)
    }

    func inflightWithHeadroom(_ window: CongestionWindow) -> Int {
        guard longInflight != Self.unset else { return Self.unset }
        let headroom = max(window.segmentSize, longInflight / 100 * Self.headroom)
        return max(longInflight - headroom, minimumWindow(window))
    }
}
