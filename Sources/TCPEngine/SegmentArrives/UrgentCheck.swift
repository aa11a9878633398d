// Sixth check of RFC 9293 3.10.7.4: the URG bit. Urgent data stays in the stream (RFC 6093 6); only its end is told.
import TCPSegments

extension Connection {
    /// RCV.UP = max(RCV.UP, SEG.UP); the user hears of urgent data ahead of what was read.
    func checkUrgent(_ segment: ArrivingSegment) {
        guard segment.bits.contains(.urg), state.mayReceive else { return }
        // RFC 9293 3.8.5 and RFC 6093 3.1: the pointer counts from SEG.SEQ and names the byte after the urgent data.
        let end = segment.start + Int(segment.header.urgentPointer)
        let firstUnread = tcb.receive.nxt - receiveBuffer.count
        guard end - firstUnread > 0, receiveUrgent.map({ end > $0 }) ?? true else { return }
        receiveUrgent = end
        emit(.urgent)
    }

    /// How many unread bytes lie before the end of the urgent data; nil if none is known of. 0 and less: it was read.
    public var bytesToUrgentEnd: Int? { receiveUrgent.map { $0 - (tcb.receive.nxt - receiveBuffer.count) } }
}
