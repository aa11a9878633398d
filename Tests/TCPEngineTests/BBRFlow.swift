// BBR by itself: ACKs, losses and pauses are made by hand.
import TCPSegments
import Testing

@testable import TCPEngine

/// BBR with segments of 1,000 bytes on a path of 1 MB/s and 100 ms: 100 segments are its product.
final class BBRFlow {
    static let rate = 1_000_000
    static let product = 100_000

    var window = CongestionWindow(segmentSize: 1000)
    let bbr: BBR
    var now = Instant(nanoseconds: 1_000_000_000)
    var delivered = 0
    var lost = 0
    /// What has been sent, as a position in the stream.
    private var position = 1

    init(smoothed: TimeInterval? = nil) { bbr = BBR(&window, smoothed: smoothed, at: now) }

    /// An ACK, `after` so long. It ends a round unless `newRound` is false; the range that it is for left with `sentInFlight` in
    /// the network, and `lostSince` bytes have been lost since. `inFlight` is left in the network.
    func acknowledge(
        _ bytes: Int = 1000, rate: Int = BBRFlow.rate, roundTrip: Int64? = 100, after: Int64 = 100,
        newRound: Bool = true, inFlight: Int = BBRFlow.product, sentInFlight: Int = BBRFlow.product, lostSince: Int = 0,
        newlyLost: Int = 0, isUserLimited: Bool = false, isWindowLimited: Bool = false, hasSelectiveAcks: Bool = true
    ) {
        now = now + .milliseconds(after)
        var snapshot = DeliverySnapshot()
        snapshot.delivered = newRound ? delivered : 0
        snapshot.inFlight = UInt32(sentInFlight)
        snapshot.lost = lost - lostSince
        snapshot.isApplicationLimited = isUserLimited
        delivered += bytes
        bbr.acknowledged(
            AckSample(
                delivered: bytes, lost: newlyLost, arrival: now, roundTrip: roundTrip.map { .milliseconds($0) },
                rate: RateSample(delivered: rate / 10, interval: .milliseconds(rate > 0 ? 100 : 0), snapshot: snapshot),
                totalDelivered: delivered, totalLost: lost, inFlight: inFlight, isWindowLimited: isWindowLimited,
                hasSelectiveAcks: hasSelectiveAcks, una: StreamOffset(1), nxt: StreamOffset(2)),
            &window)
    }

    /// A range of `count` bytes is lost that left with `sentInFlight` in the network. It touches the one before unless `apart`.
    func lose(
        _ count: Int = 1000, sentInFlight: Int = BBRFlow.product, lostSince: Int? = nil, apart: Bool = true,
        isUserLimited: Bool = false, hasSelectiveAcks: Bool = true
    ) {
        lost += count
        position += count + (apart ? 1000 : 0)
        var snapshot = DeliverySnapshot()
        snapshot.inFlight = UInt32(sentInFlight)
        snapshot.isApplicationLimited = isUserLimited
        bbr.rangeLost(
            SentRange(end: StreamOffset(UInt64(position)), sentAt: now, snapshot: snapshot), count: count,
            lostSince: lostSince ?? count, totalDelivered: delivered, hasSelectiveAcks: hasSelectiveAcks, window,
            at: now)
    }

    /// A shortest round trip has just been seen: no ProbeRTT for five seconds.
    func postponeProbeRTT() { bbr.probeMinimumAt = now }

    // MARK: Ways to a state

    /// Four rounds at the path's rate: the first sets it, three show that there is no more.
    func fillPipe() {
        for _ in 0..<4 { acknowledge(50_000, inFlight: 3 * Self.product) }
        #expect(bbr.mode == .drain)
    }

    func reach(_ mode: BBR.Mode) {
        switch mode {
        case .startup: break
        case .drain: fillPipe()
        case .down:
            // The queue does not go away.
            fillPipe()
            for _ in 0..<5 where bbr.mode != .down { acknowledge(inFlight: 2 * Self.product) }
        case .cruise:
            fillPipe()
            acknowledge()
        case .refill:
            reach(.cruise)
            acknowledge(after: 3001)
        case .up:
            reach(.refill)
            acknowledge()
        case .probeRTT:
            reach(.cruise)
            acknowledge(roundTrip: 101, after: 5001)
        }
        #expect(bbr.mode == mode)
    }

    static func reaching(_ mode: BBR.Mode) -> BBRFlow {
        let flow = BBRFlow()
        flow.reach(mode)
        return flow
    }
}
