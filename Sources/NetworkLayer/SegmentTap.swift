// Who watches segments on their way: the capture and the log. One for all links of a daemon.
import Glibc
import Impairments
import TCPSegments

/// Hears of every segment that enters or leaves, and of what filters did to it. Not thread-safe: the event loop's thread
/// calls it.
public final class SegmentTap {
    /// Records segments, if set.
    public var capture: CaptureWriter?
    /// Hears of every segment, for the log, if set. The tuple's local end is ours.
    public var observer: ((SegmentEvent, SegmentHeader, _ count: Int, FourTuple) -> Void)?

    /// One that watches nothing yet.
    public init() {}

    /// True if anybody watches.
    var isOn: Bool { capture != nil || observer != nil }

    /// A segment came in; `drop` says why an impairment keeps it from going on. It was on the wire: the capture has it in any
    /// case, at the moment it came. `tuple.local` is ours.
    func received(
        _ segment: UnsafeRawBufferPointer, _ header: SegmentHeader, count: Int, _ tuple: FourTuple,
        drop: ImpairmentDrop? = nil
    ) {
        capture?.record(segment, from: tuple.remote.address, to: tuple.local.address, time: Self.wallClock())
        observer?(drop == nil ? .received : .dropReceived, header, count, tuple)
    }

    /// A segment leaves, or would have; `drop` says why an impairment drops it, and then it is not captured. One that is
    /// delayed is seen when it sets out, one that is corrupted as it was before.
    func sent(
        _ segment: UnsafeRawBufferPointer, _ header: SegmentHeader, count: Int, _ tuple: FourTuple,
        drop: ImpairmentDrop? = nil
    ) {
        observer?(drop == nil ? .sent : .dropSent, header, count, tuple)
        guard drop == nil else { return }
        capture?.record(segment, from: tuple.local.address, to: tuple.remote.address, time: Self.wallClock())
    }

    private static func wallClock() -> Int64 {
        var t = timespec()
        clock_gettime(CLOCK_REALTIME, &t)
        return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
    }
}
