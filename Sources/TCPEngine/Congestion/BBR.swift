// BBR version 3 (draft-ietf-ccwg-bbr-06): a model of the path decides, not each loss. Integers only.
import TCPSegments

/// Keeps as much in the network as the path's bandwidth and round trip call for. Allocated only for connections that choose it.
/// What stands here is the state and its machine; the model is in BBRModel.swift, losses and marks in BBRLosses.swift, the cycle
/// of ProbeBW in BBRProbing.swift, ProbeRTT and idle times in BBRProbeRTT.swift, what comes of it all in BBRControl.swift.
final class BBR {
    /// The states; those from `down` to `up` are ProbeBW's.
    enum Mode: CaseIterable {
        case startup, drain, down, cruise, refill, up, probeRTT

        /// draft 5.6.1: BBR.pacing_gain in percent.
        var pacingGain: Int {
            switch self {
            case .startup: return 277
            case .drain: return 50
            case .down: return 90
            case .cruise, .refill, .probeRTT: return 100
            case .up: return 125
            }
        }

        /// draft 5.6.1: BBR.cwnd_gain in percent.
        var windowGain: Int {
            switch self {
            case .startup, .drain, .down, .cruise, .refill: return 200
            case .up: return 225
            case .probeRTT: return 50
            }
        }

        /// draft 5.3.3.9, IsInAProbeBWState.
        var isProbeBandwidth: Bool {
            switch self {
            case .down, .cruise, .refill, .up: return true
            case .startup, .drain, .probeRTT: return false
            }
        }

        /// draft 5.3.3.9, IsProbingBW: it looks for more, and a loss tells how much was too much.
        var accelerates: Bool {
            switch self {
            case .startup, .refill, .up: return true
            case .drain, .down, .cruise, .probeRTT: return false
            }
        }
    }

    /// Which probe the ACKs that arrive belong to (draft 2.14, BBR.ack_phase).
    enum AckPhase { case none, starting, feedback, stopping, refilling }

    /// What a needless reaction is taken back to (draft 2.15).
    struct Undo {
        let shortBandwidth, shortInflight, longInflight: Int
        /// The state that losses have ended.
        var mode: Mode?
    }

    // Parameters of the draft (2.8, 2.16), in percent where they are shares.
    static let lossThreshold = 2
    static let beta = 70
    static let headroom = 15
    /// BBRStartupFullLossCnt.
    static let startupLosses = 6
    static let probeInterval = TimeInterval.seconds(5)
    static let probeDuration = TimeInterval.milliseconds(200)
    static let minimumFilterLength = TimeInterval.seconds(10)
    /// No bound.
    static let unset = Int.max

    private(set) var mode = Mode.startup
    /// BBR.full_bw_reached.
    var hasFilledPipe = false

    // The path model. Bandwidths in bytes per second.
    var bandwidths = (current: 0, previous: 0)
    var shortBandwidth = BBR.unset
    var longInflight = BBR.unset
    var shortInflight = BBR.unset
    var minimumRoundTrip: TimeInterval?
    var minimumAt: Instant

    // Rounds: one ends when what was sent after its beginning is delivered.
    var totalDelivered = 0
    var nextRoundDelivered = 0
    var roundStarts = false
    var roundCount = 0
    var roundsSinceProbe = 0
    private var drainRound = 0

    // Full pipe.
    var fullBandwidth = 0
    var fullCount = 0
    var isFullNow = false

    // Losses. A round of losses ends when what was sent after the first of them is delivered.
    var lossRoundDelivered = 0
    var lossRoundStarts = false
    var lossInRound = false
    /// Ranges lost in this round that do not touch, and the last of them.
    var lostRanges = 0
    var lastLost = StreamOffset.zero..<StreamOffset.zero
    var latestBandwidth = 0
    var latestInflight = 0
    var isRecovering = false
    var hasSavedState = false
    var undo: Undo?
    /// BBR.prior_cwnd: what the window was before a recovery or ProbeRTT.
    var priorWindow = 0

    // ACK aggregation.
    var aggregateStart: Instant
    var aggregateDelivered = 0
    var extraAcked = (current: 0, previous: 0)
    var extraRound = 0

    // ProbeBW.
    var ackPhase = AckPhase.none
    /// BBR.is_bw_probe_sample.
    var probesSample = false
    var previousProbeWasTooHigh = false
    var previousProbeWasPrecautionary = false
    var cycleStart = Instant.origin
    var probeWait = TimeInterval.zero
    var probeUpRounds = 0
    var probeUpAcks = 0
    var probeUpCount = BBR.unset

    // ProbeRTT.
    var probeMinimum: TimeInterval?
    var probeMinimumAt: Instant
    var probeDone: Instant?
    var probeRoundDone = false
    var isRestarting = false

    // Pacing.
    var hasPacedByRoundTrip: Bool

    init(_ window: inout CongestionWindow, smoothed: TimeInterval?, at now: Instant) {
        minimumRoundTrip = smoothed
        minimumAt = now
        probeMinimumAt = now
        aggregateStart = now
        hasPacedByRoundTrip = smoothed != nil
        // draft 5.6.2, InitPacingRate: before the first sample the window in a millisecond.
        setInitialPace(&window, roundTrip: smoothed ?? .milliseconds(1))
        setQuantum(&window)
    }

    // MARK: The machine

    /// The only way to another state.
    func enter(_ next: Mode) { mode = next }

    /// draft 5.2.3: what every ACK does.
    func acknowledged(_ sample: AckSample, _ window: inout CongestionWindow) {
        totalDelivered = sample.totalDelivered
        if !hasPacedByRoundTrip, let roundTrip = sample.roundTrip {
            hasPacedByRoundTrip = true
            setInitialPace(&window, roundTrip: roundTrip)
        }
        updateSignals(sample, window)
        updateAggregation(sample, window)
        checkFullPipe(sample)
        if mode == .startup, hasFilledPipe { startDrain() }
        if mode == .drain { endDrain(sample, window) }
        if hasFilledPipe { updateProbing(sample, window) }
        updateMinimum(sample, &window)
        advanceSignals(sample)
        setPacingRate(&window, gain: mode.pacingGain)
        setQuantum(&window)
        setWindow(sample, &window)
        if !isRecovering { hasSavedState = false }
    }

    /// draft 5.3.2: what startup has queued is let go.
    private func startDrain() {
        drainRound = roundCount
        enter(.drain)
    }

    /// draft 5.3.2, CheckDrainDone: the queue is gone, or after three rounds the bandwidth was taken for too much.
    private func endDrain(_ sample: AckSample, _ window: CongestionWindow) {
        guard sample.inFlight <= inflight(bandwidth, gain: 100, window) || roundCount > drainRound + 3 else { return }
        startDown(at: sample.arrival)
    }

    // MARK: Derived

    var maximumBandwidth: Int { max(bandwidths.current, bandwidths.previous) }
    var bandwidth: Int { min(maximumBandwidth, shortBandwidth) }
    /// BBR.MinPipeCwnd.
    func minimumWindow(_ window: CongestionWindow) -> Int { 4 * window.segmentSize }

    /// draft 5.6.4.2, BDPMultiple: bandwidth times round trip, times `gain` percent.
    func product(_ bandwidth: Int, gain: Int, _ window: CongestionWindow) -> Int {
        guard let minimumRoundTrip else { return window.initial }
        return proportion(
            proportion(bandwidth, Int(minimumRoundTrip.nanoseconds), nanosecondsPerSecond), gain, 100)
    }

    /// draft 5.6.4.2, QuantizationBudget: with room for what offloading and delayed ACKs hold back.
    func quantized(_ bytes: Int, _ window: CongestionWindow) -> Int {
        let wanted = max(bytes, 3 * window.quantum, minimumWindow(window))
        return min(wanted, CongestionWindow.limit) + (mode == .up ? 2 * window.segmentSize : 0)
    }

    /// draft 5.6.4.2, Inflight.
    func inflight(_ bandwidth: Int, gain: Int, _ window: CongestionWindow) -> Int {
        quantized(product(bandwidth, gain: gain, window), window)
    }

    /// draft 5.3.3.8.3, TargetInflight.
    func targetInflight(_ window: CongestionWindow) -> Int { min(product(bandwidth, gain: 100, window), window.size) }
}
