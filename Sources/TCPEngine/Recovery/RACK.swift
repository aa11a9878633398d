// Loss by time: RACK (RFC 8985 6).
import TCPSegments

/// What RACK remembers: which of the delivered ranges was sent last, and how much reordering the path shows.
struct RACK {
    /// RACK.xmit_ts and RACK.end_seq.
    private(set) var sentAt = Instant.origin
    private(set) var end = StreamOffset.zero
    /// RACK.rtt.
    private(set) var roundTrip = TimeInterval.zero
    /// RACK.fack: the highest position delivered.
    private(set) var highest = StreamOffset.zero
    /// RACK.dsack_round: no second D-SACK counts before this is acknowledged.
    private var duplicateRound = StreamOffset.zero
    /// RACK.reo_wnd_mult and RACK.reo_wnd_persist.
    private(set) var multiplier: UInt8 = 1
    private var persistence: UInt8 = 0
    private(set) var reorderingSeen = false
    /// How often, and by how many segments at most: 3 to 300 (Linux's tcp_reordering and tcp_max_reordering).
    private(set) var reorderings: UInt32 = 0
    private(set) var degree = RACK.usualDegree

    static var usualDegree: Int { 3 }
    private static var largestDegree: Int { 300 }

    /// RFC 8985 6.2, steps 2 and 3. `isEchoOlder` tells whether the ACK echoes a timestamp from before that instant.
    @inline(__always) mutating func deliver(
        _ delivery: Delivery, segmentSize: Int, minimumRoundTrip: TimeInterval?, at now: Instant,
        isEchoOlder: (Instant) -> Bool
    ) {
        if let newest = delivery.newestOriginal { advance(to: newest, at: now) }
        if let newest = delivery.newestRepeated {
            // Step 2: an ACK that comes too soon, or echoes an older timestamp, is of the first transmission.
            let tooSoon = minimumRoundTrip.map { now - newest.at < $0 } ?? false
            if !tooSoon, !isEchoOlder(newest.at) { advance(to: newest, at: now) }
        }
        // Step 3: something that was sent once arrived after what was sent later.
        let before = highest
        highest = max(highest, delivery.highest)
        if let lowest = delivery.lowestOriginalEnd, lowest < before {
            reorderingSeen = true
            reorderings &+= 1
            if let start = delivery.lowestOriginalStart {
                let distance = (highest - start + segmentSize - 1) / segmentSize
                degree = min(max(degree, distance), Self.largestDegree)
            }
        }
    }

    private mutating func advance(to newest: (at: Instant, end: StreamOffset), at now: Instant) {
        guard SentRange.isSentAfter(newest, (sentAt, end)) else { return }
        sentAt = newest.at
        end = newest.end
        roundTrip = now - newest.at
    }

    /// RFC 8985 6.2 step 4: a retransmission proved needless, so the window grows, at most once a round trip.
    mutating func duplicateReported(una: StreamOffset, nxt: StreamOffset) {
        guard una >= duplicateRound else { return }
        duplicateRound = nxt
        multiplier = min(multiplier, 254) + 1
        persistence = 16
    }

    /// The timer expired while much was selected: the path reorders less than was thought (Linux).
    mutating func overestimatedReordering() { degree = min(degree, Self.usualDegree) }

    /// A recovery was needless as a whole: the path reorders.
    mutating func recoveryWasNeedless() { reorderingSeen = true }

    /// RFC 8985 6.2 step 4: after sixteen recoveries without a needless retransmission the window shrinks again.
    mutating func recoveryEnded() {
        guard multiplier > 1 else { return }
        persistence -= 1
        if persistence == 0 { multiplier = 1 }
    }

    /// RFC 8985 6.2 step 4: RACK.reo_wnd. `isCertain`: in recovery, or three segments were selected.
    func reorderingWindow(
        isCertain: Bool, minimumRoundTrip: TimeInterval?, smoothed: TimeInterval?, resolution: TimeInterval
    ) -> TimeInterval {
        if !reorderingSeen, isCertain { return .zero }
        let window = min((minimumRoundTrip ?? .zero) * Int64(multiplier) / 4, smoothed ?? .zero)
        // A clock that ticks slowly cannot tell less than a tick.
        return max(window, resolution)
    }
}

extension RetransmissionQueue {
    /// RFC 8985 6.2 step 5: what was sent before something that has arrived, longer ago than a round trip and the reordering
    /// window, is lost. Returns how long to wait before more of it counts as lost; zero: nothing does.
    mutating func detectLosses(
        _ rack: RACK, window: TimeInterval, at now: Instant, _ onLoss: (SentRange, Int) -> Void
    ) -> TimeInterval {
        var wait = TimeInterval.zero
        for index in ranges.indices {
            let range = ranges[index]
            if range.marks.contains(.selected) || range.awaitsRetransmission { continue }
            guard SentRange.isSentAfter((rack.sentAt, rack.end), (range.sentAt, range.end)) else {
                // What follows was sent still later, unless this is a retransmission.
                if range.marks.contains(.repeated) { continue }
                break
            }
            let remaining = range.sentAt + rack.roundTrip + window - now
            if remaining <= .zero {
                markLost(index, onLoss)
            } else {
                wait = max(wait, remaining)
            }
        }
        return wait
    }

    /// RFC 8985 6.3: when the retransmission timer expires, the first range is lost, and with it what was sent a round trip
    /// and the reordering window ago.
    mutating func detectLossesAfterTimeout(
        _ rack: RACK, window: TimeInterval, at now: Instant, _ onLoss: (SentRange, Int) -> Void
    ) {
        for index in ranges.indices
        where index == 0 || ranges[index].sentAt + rack.roundTrip + window - now <= .zero { markLost(index, onLoss) }
    }
}
