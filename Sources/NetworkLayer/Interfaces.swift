// What the network layer asks of its surroundings: an event loop, and somebody who takes segments.
import CLinux
import Glibc
import TCPSegments

/// What a descriptor is ready for. Edge-triggered: told once, until a call says EAGAIN.
public struct Readiness: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt32
    /// One with these values.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// There is something to read, or an end.
    public static let readable = Readiness(rawValue: 1)
    /// There is room to write.
    public static let writable = Readiness(rawValue: 2)
    /// The peer has shut down its sending side.
    public static let readHangup = Readiness(rawValue: 4)
    /// Hang-up of both sides, or an error.
    public static let hangup = Readiness(rawValue: 8)
    /// There is urgent data among what there is to read.
    public static let urgent = Readiness(rawValue: 16)
}

/// Hears of one descriptor's readiness.
public protocol EventHandler: AnyObject {
    func descriptorReady(_ readiness: Readiness, at now: Instant)
}

/// An event loop's list of descriptors.
public protocol EventRegistry: AnyObject {
    /// Watches `descriptor` for everything, edge-triggered.
    func register(_ descriptor: Int32, _ handler: any EventHandler) throws(SystemError)
    /// Forgets it; call before closing it.
    func deregister(_ descriptor: Int32)
    /// Has `handler` called again soon, as if readable: it left work behind for fairness' sake.
    func again(_ handler: any EventHandler)
}

/// A failed system call.
public struct SystemError: Error, CustomStringConvertible, Sendable {
    /// What was tried, as the beginning of a sentence: "cannot listen on 127.0.0.1:23300".
    public let attempt: String
    /// The errno of Linux.
    public let errno: Int32
    /// What to do about it; may be empty.
    public let advice: String

    /// One with these values.
    public init(_ attempt: String, errno: Int32 = Glibc.errno, advice: String = "") {
        self.attempt = attempt
        self.errno = errno
        self.advice = advice
    }

    /// The text for people.
    public var description: String {
        "\(attempt): \(String(cString: strerror(errno)).lowercased())" + (advice.isEmpty ? "" : " (\(advice))")
    }
}

/// Takes what comes in from links.
public protocol SegmentReceiver: AnyObject {
    /// A segment arrived; the payload is borrowed for the call. `tuple.local` is ours. `ecn` is what its IP header said; links
    /// without one say `notCapable`.
    func segmentArrived(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, on link: LinkID, ecn: ECNField,
        at now: Instant)
    /// A router or host reports about a segment of ours.
    func pathError(_ error: PathError, about segment: QuotedSegment, at now: Instant)
    /// There is a link: segments come over it from now on, and answers may go out over it.
    func linkOpened(_ link: LinkID, _ properties: LinkProperties, for addresses: AddressPair)
    /// The link to use between these addresses, for all who wanted one.
    func linkAvailable(_ link: LinkID, _ properties: LinkProperties, for addresses: AddressPair, at now: Instant)
    /// A wanted link cannot be had.
    func linkUnavailable(_ addresses: AddressPair, _ failure: LinkFailure, at now: Instant)
    /// The link takes more, or does not.
    func linkWritable(_ link: LinkID, _ writable: Bool, at now: Instant)
    /// The link has ended.
    func linkGone(_ link: LinkID, at now: Instant)
}

/// What becomes of a segment on its way through the filters.
public enum SegmentEvent: String, Sendable {
    case sent = "SENT"
    case received = "RCVD"
    case dropSent = "DROP_SENT"
    case dropReceived = "DROP_RCVD"
}
