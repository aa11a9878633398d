// How much may be outstanding: the plug for congestion control, and the choice among its implementations.
import TCPSegments

/// What an ACK of new data tells congestion control.
struct AckSample {
    /// Bytes newly acknowledged.
    let acknowledged: Int
    /// When the ACK arrived.
    let arrival: Instant
    /// Bytes outstanding before this ACK.
    let inFlightBefore: Int
    /// True if the sender had used the whole window: otherwise it must not grow (RFC 9293 has no say; RFC 7661).
    let wasWindowLimited: Bool
    let roundTrip: TimeInterval?
    let segmentSize: Int
}

/// An algorithm that sizes the congestion window. All sizes are in bytes.
protocol CongestionControl {
    static var name: String { get }
    var window: Int { get }
    var slowStartThreshold: Int { get }
    mutating func acknowledged(_ sample: AckSample)
    /// Loss was detected by other means than a timeout.
    mutating func lossDetected(inFlight: Int, segmentSize: Int, at now: Instant)
    /// The retransmission timer expired; `first` for the first time in a row.
    mutating func timedOut(inFlight: Int, segmentSize: Int, first: Bool, at now: Instant)
    /// A retransmission proved needless: the reaction to it is taken back.
    mutating func lossWasSpurious()
    /// Nothing was sent for a retransmission timeout (RFC 5681 4.1).
    mutating func restartedAfterIdle()
    mutating func segmentSizeChanged(to segmentSize: Int)
}

/// The algorithms to choose from. An enum of trivial payloads: calls are direct, and it can change at run time.
enum AnyCongestionControl {
    case newReno(NewReno)

    var name: String {
        switch self {
        case .newReno: return NewReno.name
        }
    }
    var window: Int {
        switch self {
        case .newReno(let c): return c.window
        }
    }
    var slowStartThreshold: Int {
        switch self {
        case .newReno(let c): return c.slowStartThreshold
        }
    }

    /// Lets the chosen algorithm change itself.
    mutating func update(_ body: (inout any CongestionControl) -> Void) {
        switch self {
        case .newReno(let c):
            var any: any CongestionControl = c
            body(&any)
            if let c = any as? NewReno { self = .newReno(c) }
        }
    }

    mutating func acknowledged(_ sample: AckSample) {
        switch self {
        case .newReno(var c):
            c.acknowledged(sample)
            self = .newReno(c)
        }
    }
}
