// What a user says about its writes besides the bytes: more follows, a record ends here (TCP_CORK, MSG_MORE, MSG_EOR).
import TCPSegments

/// Kept only for connections whose users say any of it.
final class WriteMarks {
    /// TCP_CORK: a segment below full size waits until that is over.
    var isCorked = false
    /// MSG_MORE: the last write was not the last of its message; so until the next one.
    private(set) var moreFollows = false
    /// An ACK has come since: what waits for more may leave.
    private var moreMayBeLate = false
    /// What waits may leave, although it is corked: TCP_NODELAY was set.
    var pushesOnce = false
    /// Where segments have to end, ascending: at the ends of records (MSG_EOR) and of Linux's socket buffers; `pushes`: with PSH.
    /// Each stands for a byte in the send buffer at least.
    private var ends: [(position: StreamOffset, pushes: Bool)] = []

    /// Another write: more follows it, or not.
    func wrote(moreFollows: Bool) {
        self.moreFollows = moreFollows
        moreMayBeLate = false
        pushesOnce = false
    }

    /// Nothing is outstanding any more, or a timeout has passed: what waits for more waits no longer. It leaves with PSH if it is
    /// `pushing`.
    func letGo(pushing: Bool) {
        if pushing { moreFollows = false } else { moreMayBeLate = true }
    }

    /// A segment below full size waits although Nagle's algorithm would let it go.
    var holdsSmallSegments: Bool { (isCorked || (moreFollows && !moreMayBeLate)) && !pushesOnce }

    func end(at position: StreamOffset, pushes: Bool) {
        if let last = ends.last, position <= last.position {
            if position == last.position { ends[ends.count - 1].pushes = pushes || last.pushes }
            return
        }
        ends.append((position, pushes))
    }

    /// The first end behind `position`.
    func nextEnd(after position: StreamOffset) -> StreamOffset? { ends.first { $0.position > position }?.position }

    /// What ends at `position` is to be pushed.
    func pushes(endingAt position: StreamOffset) -> Bool { ends.contains { $0.position == position && $0.pushes } }

    func forgetEnd(at position: StreamOffset) {
        if let last = ends.last, last.position == position { ends.removeLast() }
    }

    func forget(upTo position: StreamOffset) { ends.removeAll { $0.position <= position } }
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
        writes.wrote(moreFollows: moreFollows)
        if endsRecord { writes.end(at: sendBuffer.end, pushes: true) }
    }

    /// A socket buffer of Linux's is full: no segment, and no batch, goes across its end. `isPushed`: the last one carries PSH.
    public func noteFullBuffer(isPushed: Bool) {
        ownWrites.forget(upTo: tcb.send.una)
        ownWrites.end(at: sendBuffer.end, pushes: isPushed)
    }

    /// The buffer whose end was just told goes on.
    public func forgetFullBuffer() { writes?.forgetEnd(at: sendBuffer.end) }

    /// Where the next segment of new data has to end at the latest.
    var sendLimit: StreamOffset { writes?.nextEnd(after: tcb.send.nxt) ?? sendBuffer.end }

    /// A segment below full size waits although Nagle's algorithm would let it go.
    var holdsSmallSegments: Bool { writes?.holdsSmallSegments ?? false }

    /// RFC 9293 3.9.1.2: PSH when the last queued byte leaves, unless the user has said that more follows; and where a record ends.
    func endsWrite(_ position: StreamOffset) -> Bool {
        if position == sendBuffer.end, !(writes?.moreFollows ?? false) { return true }
        return writes?.pushes(endingAt: position) ?? false
    }
}
