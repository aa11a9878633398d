// How much may be outstanding: the plug for congestion control, and the choice among its implementations.
import TCPSegments

/// The algorithms of congestion control to choose from.
public enum CongestionControlAlgorithm: String, Sendable, Hashable, CaseIterable {
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406).
    case cubic
    /// The standard's: slow start and congestion avoidance (RFC 5681).
    case reno
    /// BBR version 3 (draft-ietf-ccwg-bbr).
    case bbr
}

/// What an ACK tells congestion control. Sizes are in bytes.
struct AckSample {
    /// What the peer is newly known to have, and what was newly found lost.
    let delivered: Int
    let lost: Int
    /// When the ACK arrived.
    let arrival: Instant
    /// From the last transmission of what was sent once.
    let roundTrip: TimeInterval?
    let rate: RateSample?
    /// Bytes delivered, and found lost, since the connection began.
    let totalDelivered: Int
    let totalLost: Int
    /// What is in the network after this ACK.
    let inFlight: Int
    /// True if the window, not the user, limits sending: otherwise it must not grow (RFC 9438 5.8, RFC 7661).
    let isWindowLimited: Bool
    /// The peer permits SACK: more than one loss a round trip can be seen.
    let hasSelectiveAcks: Bool
    let una: StreamOffset
    let nxt: StreamOffset
    /// `delivered` in segments, each counted whole; only where they count (`ConnectionConfiguration.countsSegments`).
    var segments = 0
}

/// What every algorithm decides about, in bytes.
struct CongestionWindow {
    var size: Int
    /// The slow-start threshold.
    var threshold = Int.max
    var segmentSize: Int
    /// Bytes per second at which segments leave; 0: as fast as the window allows.
    var pacingRate = 0
    /// How much may leave at once when paced.
    var quantum = 0
    /// Whole segments count (`ConnectionConfiguration.countsSegments`).
    var countsSegments = false

    /// No window is larger.
    static let limit = 1 << 30

    init(segmentSize: Int, countsSegments: Bool = false) {
        self.segmentSize = segmentSize
        self.countsSegments = countsSegments
        size = 0
        size = initial
    }

    /// RFC 6928 2: min(10 MSS, max(2 MSS, 14600)); Linux begins with ten segments of any size.
    var initial: Int { countsSegments ? 10 * segmentSize : min(10 * segmentSize, max(2 * segmentSize, 14_600)) }

    /// A part of the window: at least two segments, and whole ones if those count.
    func reduced(to bytes: Int) -> Int {
        max(countsSegments ? bytes / segmentSize * segmentSize : bytes, 2 * segmentSize)
    }

    /// RFC 5681 3.1: the window grows by what was acknowledged until it reaches the threshold. Returns what is left over.
    mutating func slowStart(_ bytes: Int) -> Int {
        let growth = min(bytes, max(0, threshold - size))
        size = min(size + growth, Self.limit)
        return bytes - growth
    }
}

/// An algorithm that sizes the congestion window.
protocol CongestionAlgorithm {
    /// Something was delivered, or found lost. Only those that say themselves how much may be sent during recovery hear of what
    /// was delivered while the window was no limit.
    mutating func acknowledged(_ sample: AckSample, _ window: inout CongestionWindow)
    /// Loss was detected by other means than a timeout, for the first time in this recovery. `flight` is what was outstanding.
    mutating func lossDetected(flight: Int, _ window: inout CongestionWindow, at now: Instant)
    /// The peer told of congestion marks, for the first time in this window of data (RFC 3168 6.1.2).
    mutating func marked(flight: Int, _ window: inout CongestionWindow, at now: Instant)
    /// The retransmission timer expired while `flight` was in the network; not called again for the same segment.
    mutating func timedOut(flight: Int, _ window: inout CongestionWindow, at now: Instant)
}

/// The congestion control of a connection: one window, and the algorithm that moves it. The algorithm can change at run
/// time; what is rarely chosen is allocated apart.
struct CongestionControl {
    private enum Algorithm {
        case reno(NewReno)
        case cubic(Cubic)
        /// The same in whole segments.
        case segmentCubic(SegmentCubic)
        case bbr(BBR)
    }

    private(set) var state: CongestionWindow
    private var algorithm: Algorithm

    init(
        _ algorithm: CongestionControlAlgorithm, segmentSize: Int, countsSegments: Bool = false, at now: Instant
    ) {
        state = CongestionWindow(segmentSize: segmentSize, countsSegments: countsSegments)
        self.algorithm = .reno(NewReno())
        choose(algorithm, smoothed: nil, at: now)
    }

    /// The congestion window in bytes.
    var window: Int { state.size }
    var slowStartThreshold: Int { state.threshold }
    /// Bytes per second; 0: not paced.
    var pacingRate: Int { state.pacingRate }
    var quantum: Int { state.quantum }

    var chosen: CongestionControlAlgorithm {
        switch algorithm {
        case .reno: return .reno
        case .cubic, .segmentCubic: return .cubic
        case .bbr: return .bbr
        }
    }

    /// The model of the path, if the algorithm has one.
    @inline(__always) var bbr: BBR? {
        if case .bbr(let a) = algorithm { return a }
        return nil
    }

    /// False if the algorithm says itself how much may be sent during recovery.
    var needsReduction: Bool { bbr == nil }

    /// True if the algorithm hears of what was delivered although the window must not grow for it.
    var isCurious: Bool {
        switch algorithm {
        case .reno, .cubic: return false
        case .segmentCubic, .bbr: return true
        }
    }

    /// Another algorithm goes on with the window as it is.
    mutating func choose(_ next: CongestionControlAlgorithm, smoothed: TimeInterval?, at now: Instant) {
        state.pacingRate = 0
        switch next {
        case .reno: algorithm = .reno(NewReno())
        case .cubic: algorithm = state.countsSegments ? .segmentCubic(SegmentCubic()) : .cubic(Cubic())
        case .bbr: algorithm = .bbr(BBR(&state, smoothed: smoothed, at: now))
        }
    }

    @inline(__always) mutating func acknowledged(_ sample: AckSample) {
        switch algorithm {
        case .reno(var a):
            a.acknowledged(sample, &state)
            algorithm = .reno(a)
        case .cubic(var a):
            a.acknowledged(sample, &state)
            algorithm = .cubic(a)
        case .segmentCubic(var a):
            a.acknowledged(sample, &state)
            algorithm = .segmentCubic(a)
        case .bbr(let a):
            a.acknowledged(sample, &state)
        }
    }

    mutating func lossDetected(flight: Int, at now: Instant) {
        switch algorithm {
        case .reno(var a):
            a.lossDetected(flight: flight, &state, at: now)
            algorithm = .reno(a)
        case .cubic(var a):
            a.lossDetected(flight: flight, &state, at: now)
            algorithm = .cubic(a)
        case .segmentCubic(var a):
            a.lossDetected(flight: flight, &state, at: now)
            algorithm = .segmentCubic(a)
        case .bbr(let a):
            a.lossDetected(state)
        }
    }

    /// A tail loss probe has repaired a loss (RFC 8985 7.4.2): it is known too late for a recovery.
    mutating func tailLossRepaired(flight: Int, totalDelivered: Int, at now: Instant) {
        if let bbr {
            bbr.noteLoss(totalDelivered: totalDelivered, state)
        } else {
            lossDetected(flight: flight, at: now)
        }
    }

    /// The peer told of congestion marks while `flight` was outstanding: once in a window of data.
    mutating func marked(flight: Int, at now: Instant) {
        switch algorithm {
        case .reno(var a):
            a.marked(flight: flight, &state, at: now)
            algorithm = .reno(a)
        case .cubic(var a):
            a.marked(flight: flight, &state, at: now)
            algorithm = .cubic(a)
        case .segmentCubic(var a):
            a.marked(flight: flight, &state, at: now)
            algorithm = .segmentCubic(a)
        case .bbr(let a):
            a.marked(state, at: now)
        }
    }

    /// The retransmission timer expired; `isFirst` for the first time in this recovery. `inFlight` is left in the network.
    mutating func timedOut(flight: Int, isFirst: Bool, inFlight: Int, at now: Instant) {
        if isFirst {
            switch algorithm {
            case .reno(var a):
                a.timedOut(flight: flight, &state, at: now)
                algorithm = .reno(a)
            case .cubic(var a):
                a.timedOut(flight: flight, &state, at: now)
                algorithm = .cubic(a)
            case .segmentCubic(var a):
                a.timedOut(flight: flight, &state, at: now)
                algorithm = .segmentCubic(a)
            case .bbr(let a):
                a.timedOut(state)
            }
        }
        // RFC 5681 3.1: the loss window is one segment, beside what is still on its way.
        state.size = inFlight + state.segmentSize
    }

    /// A range was found lost: BBR looks at how much was in the network when it was sent.
    /// `totalLost` includes it.
    func rangeLost(
        _ range: SentRange, count: Int, totalLost: Int, totalDelivered: Int, hasSelectiveAcks: Bool, at now: Instant
    ) {
        bbr?.rangeLost(
            range, count: count, lostSince: totalLost - range.snapshot.lost, totalDelivered: totalDelivered,
            hasSelectiveAcks: hasSelectiveAcks, state, at: now)
    }

    /// Data leaves after the network was empty and nothing left for `idle`; BBR cares only if that was the user's doing.
    mutating func resumed(afterIdle idle: TimeInterval, isApplicationLimited: Bool, at now: Instant) {
        switch algorithm {
        case .reno, .cubic: break
        case .segmentCubic(var a):
            a.resumed(afterIdle: idle, at: now)
            algorithm = .segmentCubic(a)
        case .bbr(let a): if isApplicationLimited { a.resumed(&state, at: now) }
        }
    }

    mutating func recoveryEnded() { bbr?.recoveryEnded(&state) }

    /// A reduction was needless: everything is as it was `before`.
    mutating func restore(_ before: CongestionControl) {
        state.size = max(state.size, before.state.size)
        state.threshold = before.state.threshold
        // Linux: no lower than what congestion avoidance had come to.
        if state.countsSegments { state.threshold = max(state.threshold, before.state.size / 4 * 3) }
        switch (algorithm, before.algorithm) {
        case (.bbr(let a), .bbr): a.lossWasSpurious(&state)
        case (.reno, .reno), (.cubic, .cubic): algorithm = before.algorithm
        case (.reno, _), (.cubic, _), (.segmentCubic, _), (.bbr, _): break
        }
    }

    /// The path takes segments of another size. A window that is still the initial one follows.
    mutating func segmentSizeChanged(to segmentSize: Int) {
        let wasInitial = state.size == state.initial
        state.segmentSize = segmentSize
        state.size = wasInitial ? state.initial : max(state.size, segmentSize)
    }

    /// RFC 5681 4.1 as Linux does it: for every timeout without a transmission the window is halved, down to the initial one.
    mutating func restarted(afterIdle idle: TimeInterval, timeout: TimeInterval) {
        guard needsReduction, idle > timeout else { return }
        let floor = min(state.size, state.initial)
        // What was safe once is remembered (RFC 7661 4.4.2 does the same).
        if state.threshold != .max { state.threshold = max(state.threshold, state.size / 4 * 3) }
        var left = idle
        while left > timeout, state.size > floor {
            state.size = max(state.size / 2, floor)
            left = left - timeout
        }
    }

    /// The user used no more than `used` of the window for a round trip or more: it moves half the way there (RFC 2861).
    mutating func validate(used: Int) {
        guard needsReduction else { return }
        let used = max(used, state.initial)
        guard used < state.size else { return }
        if state.threshold != .max { state.threshold = max(state.threshold, state.size / 4 * 3) }
        state.size = (state.size + used) / 2
    }
}
