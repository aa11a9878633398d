// The reset that a segment is answered with.
import TCPSegments

extension SegmentHeader {
    /// The reset that answers this segment, which carries `payloadCount` bytes and fits no connection (RFC 9293 3.10.7.1): the peer
    /// takes it for one of the connection's.
    func answeringReset(payloadCount: Int) -> SegmentHeader {
        var reset = SegmentHeader(
            sourcePort: destinationPort, destinationPort: sourcePort, sequenceNumber: SequenceNumber(0),
            controlBits: .rst)
        if controlBits.contains(.ack) {
            reset.sequenceNumber = acknowledgmentNumber
        } else {
            reset.controlBits.insert(.ack)
            reset.acknowledgmentNumber =
                sequenceNumber + UInt32(truncatingIfNeeded: segmentLength(payloadCount: payloadCount))
        }
        return reset
    }
}

extension PendingReset {
    /// That which answers `segment`.
    convenience init(answering segment: ArrivingSegment) {
        self.init(segment.header.answeringReset(payloadCount: segment.payload.count))
    }
}
