// What was sent when: one record a transmission, for RTT samples by Karn's rule.
import DequeModule
import TCPSegments

/// The transmissions between SND.UNA and SND.NXT in order of position.
struct RetransmissionQueue {
    struct Record {
        /// The position after the transmission's last byte (or SYN or FIN).
        let end: StreamOffset
        let sentAt: Instant
        var retransmitted: Bool
    }

    private var records = Deque<Record>()

    mutating func sent(upTo end: StreamOffset, at now: Instant) {
        records.append(Record(end: end, sentAt: now, retransmitted: false))
    }

    /// Marks what overlaps [from, to) as retransmitted.
    mutating func retransmitted(from: StreamOffset, to: StreamOffset) {
        var start = StreamOffset.zero
        for i in records.indices {
            if start >= to { break }
            if records[i].end > from { records[i].retransmitted = true }
            start = records[i].end
        }
    }

    /// Takes out what is acknowledged and returns when the newest of it was sent, or nil if anything of it was
    /// retransmitted (Karn's algorithm, RFC 6298 3).
    mutating func acknowledge(upTo position: StreamOffset) -> Instant? {
        var newest: Instant?
        var ambiguous = false
        while let record = records.first, record.end <= position {
            newest = record.sentAt
            if record.retransmitted { ambiguous = true }
            records.removeFirst()
        }
        return ambiguous ? nil : newest
    }

    mutating func removeAll() { records = Deque() }
}
