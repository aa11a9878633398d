// One range of the sequence space that left at one time, and what became of it.
import TCPSegments

/// What the delivery-rate estimate needs to know of the moment of a transmission (draft-ietf-ccwg-bbr 4.1).
struct DeliverySnapshot {
    /// Bytes delivered by then, and when the last of them was.
    var delivered = 0
    var deliveredAt = Instant.origin
    /// When the first range of the flight was sent that the next sample covers.
    var firstSentAt = Instant.origin
    /// Bytes found lost by then.
    var lost = 0
    /// Bytes in the network, this range included.
    var inFlight: UInt32 = 0
    /// The user, not the window, limited sending.
    var isApplicationLimited = false
}

/// A range that left at one time and has one fate. It begins where the range before it ends.
struct SentRange {
    /// What is known of a range.
    struct Marks: OptionSet {
        let rawValue: UInt8
        /// The peer has it, although something before it is missing (SACK).
        static let selected = Marks(rawValue: 1)
        /// It counts as lost.
        static let lost = Marks(rawValue: 2)
        /// A retransmission of it is in the network.
        static let retransmitted = Marks(rawValue: 4)
        /// It was sent more than once: an ACK does not say which of them arrived (Karn).
        static let repeated = Marks(rawValue: 8)
        /// Its last segment carried PSH; kept only where batches of several segments do.
        static let pushed = Marks(rawValue: 16)
    }

    /// The position after the range.
    var end: StreamOffset
    /// When it was last sent.
    var sentAt: Instant
    var marks: Marks = []
    /// As of the last transmission.
    var snapshot: DeliverySnapshot

    /// Lost, and nothing has been done about it yet.
    var awaitsRetransmission: Bool { marks.intersection([.selected, .lost, .retransmitted]) == .lost }

    /// RFC 8985 6.1: of what was sent at the same time, the later in the stream counts as sent later.
    static func isSentAfter(_ a: (at: Instant, end: StreamOffset), _ b: (at: Instant, end: StreamOffset)) -> Bool {
        a.at > b.at || (a.at == b.at && a.end > b.end)
    }
}

/// What one ACK delivers, gathered range by range.
struct Delivery {
    /// Bytes that the peer is now known to have, by SND.UNA and by SACK blocks.
    private(set) var bytes = 0
    /// Those that SACK blocks told of.
    private(set) var selected = 0
    /// `bytes` in segments of `segmentSize`, each piece rounded up; 0 if the size is 0.
    private(set) var segments = 0
    private let segmentSize: Int
    /// When ranges that were sent once were sent: the first and the last of them.
    private(set) var oldestOriginal: Instant?
    private(set) var newestOriginal: (at: Instant, end: StreamOffset)?
    /// The last sent of the ranges that were sent more than once.
    private(set) var newestRepeated: (at: Instant, end: StreamOffset)?
    /// The lowest end of a range that was sent once, and the lowest beginning of one.
    private(set) var lowestOriginalEnd: StreamOffset?
    private(set) var lowestOriginalStart: StreamOffset?
    /// The highest position delivered.
    private(set) var highest = StreamOffset.zero
    /// The snapshot of the range sent last, and when that was.
    private(set) var snapshot: DeliverySnapshot?
    private(set) var snapshotSentAt = Instant.origin
    private var snapshotEnd = StreamOffset.zero

    /// `segmentSize`: segments are to be counted; 0: they are not.
    init(segmentSize: Int = 0) { self.segmentSize = segmentSize }

    @inline(__always) mutating func note(_ range: SentRange, end: StreamOffset, count: Int, bySelection: Bool) {
        bytes += count
        if segmentSize > 0 { segments += (count + segmentSize - 1) / segmentSize }
        if bySelection { selected += count }
        if end > highest { highest = end }
        if range.marks.contains(.repeated) {
            if newestRepeated.map({ SentRange.isSentAfter((range.sentAt, end), $0) }) ?? true {
                newestRepeated = (range.sentAt, end)
            }
        } else {
            if oldestOriginal.map({ range.sentAt < $0 }) ?? true { oldestOriginal = range.sentAt }
            if newestOriginal.map({ SentRange.isSentAfter((range.sentAt, end), $0) }) ?? true {
                newestOriginal = (range.sentAt, end)
            }
            if lowestOriginalEnd.map({ end < $0 }) ?? true {
                lowestOriginalEnd = end
                lowestOriginalStart = end + -count
            }
        }
        // draft-ietf-ccwg-bbr 4.1.2.3: the sample begins with the range that was sent last.
        if snapshot == nil || SentRange.isSentAfter((range.sentAt, end), (snapshotSentAt, snapshotEnd)) {
            snapshot = range.snapshot
            snapshotSentAt = range.sentAt
            snapshotEnd = end
        }
    }
}
