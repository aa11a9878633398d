// How fast data is delivered: an estimate from the ACKs (draft-ietf-ccwg-bbr 4.1).
import TCPSegments

/// Bytes in a time, as one ACK shows them.
struct RateSample {
    /// Bytes delivered in `interval`.
    let delivered: Int
    /// Zero: the ACK shows no rate.
    let interval: TimeInterval
    /// What was known when the range was sent that this ACK delivers.
    let snapshot: DeliverySnapshot

    /// Bytes per second; 0 if it shows no rate.
    var bytesPerSecond: Int {
        interval > .zero ? proportion(delivered, nanosecondsPerSecond, Int(interval.nanoseconds)) : 0
    }
}

/// A connection's delivery-rate estimate.
struct DeliveryRate {
    /// Bytes delivered so far.
    private(set) var delivered = 0
    private(set) var deliveredAt = Instant.origin
    private var firstSentAt = Instant.origin
    /// Bytes found lost so far.
    var lost = 0
    /// Samples count as limited by the user until this much is delivered; 0: they do not.
    private var limitedUntil = 0
    /// The last sample that counts.
    private(set) var last: (delivered: Int, interval: TimeInterval, isApplicationLimited: Bool)?

    /// draft-ietf-ccwg-bbr 4.1.2.2: what to remember of a transmission. `pipe` does not include it yet.
    @inline(__always) mutating func snapshot(at now: Instant, pipe: Int, count: Int) -> DeliverySnapshot {
        if pipe <= 0 {
            firstSentAt = now
            deliveredAt = now
        }
        return DeliverySnapshot(
            delivered: delivered, deliveredAt: deliveredAt, firstSentAt: firstSentAt, lost: lost,
            inFlight: UInt32(clamping: pipe + count), isApplicationLimited: limitedUntil > 0)
    }

    /// draft-ietf-ccwg-bbr 4.1.2.4: there is room in the window and nothing to fill it with.
    @inline(__always) mutating func becameApplicationLimited(pipe: Int) { limitedUntil = max(1, delivered + pipe) }

    /// draft-ietf-ccwg-bbr 4.1.2.3: an ACK delivers. False if it shows no rate.
    @inline(__always) mutating func take(
        _ delivery: borrowing Delivery, minimumRoundTrip: TimeInterval?, at now: Instant
    )
        -> Bool
    {
        guard delivery.bytes > 0, let snapshot = delivery.snapshot else { return false }
        delivered += delivery.bytes
        deliveredAt = now
        if limitedUntil > 0, delivered > limitedUntil { limitedUntil = 0 }
        firstSentAt = delivery.snapshotSentAt
        let sending = delivery.snapshotSentAt - snapshot.firstSentAt
        let acknowledging = now - snapshot.deliveredAt
        let interval = max(sending, acknowledging)
        // What took less than the shortest round trip tells of compressed ACKs, not of the path.
        guard interval > .zero, interval >= minimumRoundTrip ?? .zero else { return false }
        last = (delivered - snapshot.delivered, interval, snapshot.isApplicationLimited)
        return true
    }

    /// What `take` was told of; `showsRate` is what it said. Nil if nothing was delivered.
    func sample(of delivery: borrowing Delivery, showsRate: Bool) -> RateSample? {
        guard let snapshot = delivery.snapshot else { return nil }
        return RateSample(
            delivered: delivered - snapshot.delivered, interval: showsRate ? last?.interval ?? .zero : .zero,
            snapshot: snapshot)
    }

    /// There was nothing to send: samples are the user's doing.
    var isApplicationLimited: Bool { limitedUntil > 0 }

    /// The last estimate in bytes per second, and whether the user limited it; nil before the first.
    var estimate: (bytesPerSecond: Int, isApplicationLimited: Bool)? {
        last.map {
            (
                RateSample(delivered: $0.delivered, interval: $0.interval, snapshot: DeliverySnapshot()).bytesPerSecond,
                $0.isApplicationLimited
            )
        }
    }
}
