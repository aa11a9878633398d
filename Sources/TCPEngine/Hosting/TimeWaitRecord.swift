// TIME-WAIT as a compact record (RFC 9293 3.6.1): the connection itself is gone.
import TCPSegments

/// What is needed to answer late segments of a closed connection.
final class TimeWaitRecord {
    let tuple: FourTuple
    let sndNxt: SequenceNumber
    let rcvNxt: SequenceNumber
    /// RCV.WND in bytes, and the shift of its field.
    let window: UInt32
    let windowScale: WindowScale
    /// MAX.SND.WND of RFC 5961 5.2.
    let maximumWindow: UInt32
    var link: LinkID
    /// The clock and TS.Recent; `isOn` is false if the connection had no timestamps.
    var timestamps: TimestampState
    let enteredAt: Instant
    let lifetime: TimeInterval
    var deadline: Instant
    var challenges = ChallengeLimit()
    private let shared: SharedConfiguration
    var configuration: ConnectionConfiguration { shared.values }

    init(_ connection: Connection, link: LinkID, at now: Instant) {
        tuple = connection.tuple
        sndNxt = connection.tcb.send.nxt.wrapped(from: connection.tcb.send.iss)
        rcvNxt = connection.tcb.receive.nxt.wrapped(from: connection.tcb.receive.irs)
        window = UInt32(clamping: connection.tcb.receive.wnd)
        windowScale = connection.tcb.receive.scale
        maximumWindow = connection.tcb.send.maximumWindow
        self.link = link
        timestamps = connection.timestamps
        shared = connection.shared
        enteredAt = now
        lifetime = connection.maximumSegmentLifetime * 2
        deadline = now + lifetime
    }

    /// True if a new connection from here may take these ports: with timestamps, a second suffices to tell the segments
    /// of both apart (RFC 6191 2, and what Linux does with tcp_tw_reuse).
    func mayBeReused(at now: Instant) -> Bool { timestamps.isOn && now - enteredAt >= .seconds(1) }

    /// True if this SYN begins a new connection (RFC 6191 2): by its timestamp if both have one, else by its number.
    func isNewIncarnation(_ syn: SegmentHeader) -> Bool {
        if timestamps.isOn, let value = syn.options.timestamps?.value {
            let difference = Int32(bitPattern: value &- timestamps.recent)
            return difference > 0 || (difference == 0 && rcvNxt.isBefore(syn.sequenceNumber))
        }
        return rcvNxt.isBefore(syn.sequenceNumber)
    }

    /// The ACK that answers a segment in TIME-WAIT.
    func acknowledgment(at now: Instant) -> SegmentHeader {
        var header = SegmentHeader(
            sourcePort: tuple.local.port, destinationPort: tuple.remote.port, sequenceNumber: sndNxt,
            acknowledgmentNumber: rcvNxt, controlBits: .ack, window: WindowSize(window).field(scaledBy: windowScale))
        if timestamps.isOn { header.options.timestamps = timestamps.option(at: now) }
        return header
    }
}
