// Who watches segments on their way: the captures and the log. One for all links of a daemon.
import Glibc
import TCPSegments

/// A segment as it is seen on its way in or out.
public struct TappedSegment {
    /// The segment, its TCP header in front; valid during the call.
    public let bytes: UnsafeRawBufferPointer
    /// Its connection; the local end is ours.
    public let tuple: FourTuple
    /// True if it leaves.
    public let isOutgoing: Bool
    /// What an impairment does to it, if there is one for it.
    public let impairment: SegmentImpairment?
    /// The TUN device it goes through; nil: it travels in a frame.
    public let device: String?
    /// What its IP header says of congestion; frames have none.
    public let ecn: ECNField
    /// Nanoseconds since 1970.
    public let time: Int64

    /// Where it comes from.
    public var source: Endpoint { isOutgoing ? tuple.local : tuple.remote }
    /// Where it goes.
    public var destination: Endpoint { isOutgoing ? tuple.remote : tuple.local }

    /// One with these values.
    public init(
        bytes: UnsafeRawBufferPointer, tuple: FourTuple, isOutgoing: Bool, impairment: SegmentImpairment? = nil,
        device: String? = nil, ecn: ECNField = .notCapable, time: Int64
    ) {
        self.bytes = bytes
        self.tuple = tuple
        self.isOutgoing = isOutgoing
        self.impairment = impairment
        self.device = device
        self.ecn = ecn
        self.time = time
    }
}

/// Keeps segments: a file, or a stream for somebody who watches. Called by the event loop's thread.
public protocol SegmentRecorder: AnyObject {
    /// A segment passes, or would have.
    func record(_ segment: TappedSegment)
}

/// Hears of every segment that enters or leaves, and of what filters did to it. Not thread-safe: the event loop's thread
/// calls it.
public final class SegmentTap {
    private var recorders: [any SegmentRecorder] = []
    /// Hears of every segment, for the log, if set. The tuple's local end is ours.
    public var observer: ((SegmentEvent, SegmentHeader, _ count: Int, FourTuple) -> Void)?

    /// One that watches nothing yet.
    public init() {}

    /// True if anybody watches.
    var isOn: Bool { !recorders.isEmpty || observer != nil }

    /// From now on `recorder` sees all segments.
    public func add(_ recorder: any SegmentRecorder) { recorders.append(recorder) }

    /// From now on `recorder` sees nothing.
    public func remove(_ recorder: any SegmentRecorder) { recorders.removeAll { $0 === recorder } }

    /// A segment came in; `impairment` says what happens to it from here on. It was on the wire: it is seen at the moment it
    /// came. `tuple.local` is ours.
    func received(
        _ segment: UnsafeRawBufferPointer, _ header: SegmentHeader, count: Int, _ tuple: FourTuple,
        impairment: SegmentImpairment? = nil, through device: String? = nil, ecn: ECNField = .notCapable
    ) {
        record(segment, tuple, isOutgoing: false, impairment, device, ecn)
        observer?(impairment?.drop == nil ? .received : .dropReceived, header, count, tuple)
    }

    /// A segment leaves, or would have; `impairment` says what happens to it from here on. One that is delayed is seen when it
    /// sets out, one that is corrupted as it was before.
    func sent(
        _ segment: UnsafeRawBufferPointer, _ header: SegmentHeader, count: Int, _ tuple: FourTuple,
        impairment: SegmentImpairment? = nil, through device: String? = nil, ecn: ECNField = .notCapable
    ) {
        observer?(impairment?.drop == nil ? .sent : .dropSent, header, count, tuple)
        record(segment, tuple, isOutgoing: true, impairment, device, ecn)
    }

    private func record(
        _ segment: UnsafeRawBufferPointer, _ tuple: FourTuple, isOutgoing: Bool, _ impairment: SegmentImpairment?,
        _ device: String?, _ ecn: ECNField
    ) {
        guard !recorders.isEmpty else { return }
        let tapped = TappedSegment(
            bytes: segment, tuple: tuple, isOutgoing: isOutgoing, impairment: impairment, device: device, ecn: ecn,
            time: Self.wallClock())
        for recorder in recorders { recorder.record(tapped) }
    }

    private static func wallClock() -> Int64 {
        var t = timespec()
        clock_gettime(CLOCK_REALTIME, &t)
        return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
    }
}
