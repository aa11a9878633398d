// The transmission control block of RFC 9293 3.3.1: plain data, one struct for each direction.
import TCPSegments

/// The send sequence variables (RFC 9293 3.3.1), as 64-bit positions; `iss` ties them to the wire.
struct SendSequence {
    /// ISS.
    var iss: SequenceNumber
    /// SND.UNA: the oldest unacknowledged position.
    var una = StreamOffset.zero
    /// SND.NXT: the first position never sent. Retransmission does not move it back.
    var nxt = StreamOffset.zero
    /// SND.WND in bytes, scaled.
    var wnd: UInt32 = 0
    /// The largest SND.WND the peer ever announced (RFC 9293 3.8.6.2.1).
    var maximumWindow: UInt32 = 0
    /// SND.WL1 and SND.WL2: the segment that last updated the window.
    var wl1 = SequenceNumber(0)
    var wl2 = StreamOffset.zero
    /// The shift that the peer's window fields carry.
    var scale = WindowScale.none

    /// The first position the peer does not allow.
    var windowEdge: StreamOffset { una + Int(wnd) }
}

/// The receive sequence variables (RFC 9293 3.3.1).
struct ReceiveSequence {
    /// IRS.
    var irs = SequenceNumber(0)
    /// RCV.NXT.
    var nxt = StreamOffset.zero
    /// RCV.NXT + RCV.WND as last announced; never moves left (RFC 9293 3.8.6).
    var edge = StreamOffset.zero
    /// The shift that our window fields carry, and the one that our SYN told of.
    var scale = WindowScale.none
    var offeredScale = WindowScale.none

    /// RCV.WND.
    var wnd: Int { max(0, edge - nxt) }
}

/// What a connection knows of itself and its peer.
struct TransmissionControlBlock {
    /// Changed by `Connection.transition(to:)` alone.
    var state = State.closed
    var send: SendSequence
    var receive = ReceiveSequence()
    /// The largest payload a segment to the peer may carry (RFC 9293 3.7.1).
    var sendMSS = 536
    /// The largest payload, options included, that the link takes.
    var linkMSS = 536
    /// The MSS we announced.
    var receiveMSS = 536
}
