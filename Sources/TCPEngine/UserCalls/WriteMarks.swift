// What a user says about its writes besides the bytes: more follows, a record ends here (TCP_CORK, MSG_MORE, MSG_EOR).
import TCPSegments

/// Kept only for connections whose users say any of it.
final class WriteMarks {
    /// TCP_CORK: a segment below full size waits until that is over.
    var isCorked = false
    /// MSG_MORE: the last write was not the last of its message; so until the next one, or an ACK.
    var moreFollows = false
    /// What waits may leave, although it is corked: TCP_NODELAY was set.
    var pushesOnce = false
    /// MSG_EOR: where records end, ascending. Each stands for a byte in the send buffer at least.
    private var recordEnds: [StreamOffset] = []

    func endRecord(at position: StreamOffset) {
        if let last = recordEnds.last, position <= last { return }
        recordEnds.append(position)
    }

    /// The first end of a record behind `position`.
    func nextEnd(after position: StreamOffset) -> StreamOffset? { recordEnds.first { $0 > position } }

    func isEnd(_ position: StreamOffset) -> Bool { recordEnds.contains(position) }

    func forget(upTo position: StreamOffset) { recordEnds.removeAll { $0 <= position } }
}

extension Connection {
    private var ownWrites: WriteMarks {
        if let writes { return writes }
        let new = WriteMarks()
        writes = new
        return new
    }

    /// TCP_CORK: while it is on, segments below full size wait, for as long as a retransmission timeout at most.
    public func setCorked(_ on: Bool) {
        guard on || writes != nil else { return }
        ownWrites.isCorked = on
    }

    /// The write that has just been queued ends a record, or is not the last of its message. Bytes of two records never share a
    /// segment.
    public func noteWrite(endsRecord: Bool, moreFollows: Bool) {
        guard endsRecord || moreFollows || writes != nil else { return }
        let writes = ownWrites
        writes.forget(upTo: tcb.send.una)
        writes.moreFollows = moreFollows
        writes.pushesOnce = false
        if endsRecord { writes.endRecord(at: sendBuffer.end) }
    }

    /// Where the next segment of new data has to end at the latest.
    var sendLimit: StreamOffset { writes?.nextEnd(after: tcb.send.nxt) ?? sendBuffer.end }

    /// A segment below full size waits although Nagle's algorithm would let it go.
    var holdsSmallSegments: Bool {
        guard let writes else { return false }
        return (writes.isCorked || writes.moreFollows) && !writes.pushesOnce
    }

    /// RFC 9293 3.9.1.2: PSH when the last queued byte leaves, unless the user has said that more follows; and where a record ends.
    func endsWrite(_ position: StreamOffset) -> Bool {
        if position == sendBuffer.end { return !(writes?.moreFollows ?? false) }
        return writes?.isEnd(position) ?? false
    }
}
