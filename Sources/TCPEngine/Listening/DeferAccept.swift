// TCP_DEFER_ACCEPT: a connection is made when its first data comes, not before (tcp(7)). Counted, as on Linux, in
// retransmissions of the SYN-ACK that are not sent.
import TCPSegments

extension HalfOpen {
    /// True if an ACK without text is to be ignored for now.
    func defers(_ header: SegmentHeader, payloadCount: Int) -> Bool {
        timeouts < listener.configuration.deferredAccepts && payloadCount == 0 && text == nil
            && !header.controlBits.contains(.fin)
    }

    /// True if the timer's expiry ends the record.
    var isTimedOut: Bool {
        let configuration = listener.configuration
        guard timeouts >= configuration.synAckRetries else { return false }
        return configuration.deferredAccepts == 0 || !isAcknowledged || timeouts >= configuration.deferredAccepts
    }

    /// True if the timer's expiry sends the SYN-ACK again. A peer that has acknowledged it hears of it at the end only, and
    /// gets a last chance.
    var repeatsSynAck: Bool {
        let limit = listener.configuration.deferredAccepts
        return limit == 0 || !isAcknowledged || timeouts >= limit - 1
    }
}

extension ConnectionConfiguration {
    /// How many retransmissions of a SYN-ACK fit into this time, as TCP_DEFER_ACCEPT counts: the last one ends after it.
    public static func synAckRetransmissions(in time: TimeInterval) -> Int {
        guard time > .zero else { return 0 }
        var count = 1
        var wait = TimeInterval.seconds(1)
        var sum = wait
        while time > sum, count < 255 {
            count += 1
            wait = min(wait * 2, .seconds(120))
            sum = sum + wait
        }
        return count
    }

    /// How long so many retransmissions take: what TCP_DEFER_ACCEPT gives back.
    public static func time(ofSynAckRetransmissions count: Int) -> TimeInterval {
        var wait = TimeInterval.seconds(1)
        var sum = TimeInterval.zero
        for _ in 0..<max(0, count) {
            sum = sum + wait
            wait = min(wait * 2, .seconds(120))
        }
        return sum
    }
}
