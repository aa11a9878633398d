// TIME-WAIT as a compact record (RFC 9293 3.6.1): the connection itself is gone.
import TCPSegments

/// What is needed to answer late segments of a closed connection.
final class TimeWaitRecord {
    let tuple: FourTuple
    let sndNxt: SequenceNumber
    let rcvNxt: SequenceNumber
    let window: WindowField
    var link: LinkID
    let lifetime: TimeInterval
    var deadline: Instant

    init(_ connection: Connection, link: LinkID, at now: Instant) {
        tuple = connection.tuple
        sndNxt = connection.tcb.send.nxt.wrapped(from: connection.tcb.send.iss)
        rcvNxt = connection.tcb.receive.nxt.wrapped(from: connection.tcb.receive.irs)
        window = WindowSize(UInt32(clamping: connection.tcb.receive.wnd)).field(scaledBy: connection.tcb.receive.scale)
        self.link = link
        lifetime = connection.maximumSegmentLifetime * 2
        deadline = now + lifetime
    }

    /// The ACK that answers a segment in TIME-WAIT.
    var acknowledgment: SegmentHeader {
        SegmentHeader(
            sourcePort: tuple.local.port, destinationPort: tuple.remote.port, sequenceNumber: sndNxt,
            acknowledgmentNumber: rcvNxt, controlBits: .ack, window: window)
    }
}
