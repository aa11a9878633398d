// Segments that arrive at a watched listening socket: SYNs, before there is a connection to hold them back for.
import DequeModule
import NetworkLayer
import TCPEngine
import TCPSegments

/// Segments that a listener's debugger withholds, at most 256 of them and 1 MiB.
struct SegmentsAtListener {
    private var segments = Deque<(tuple: FourTuple, segment: HeldSegment)>()
    private var bytes = 0

    /// False if there is no room.
    mutating func append(_ segment: HeldSegment, from tuple: FourTuple) -> Bool {
        guard segments.count < 256, bytes + segment.cost <= 1 << 20 else { return false }
        segments.append((tuple, segment))
        bytes += segment.cost
        return true
    }

    mutating func popFirst() -> (tuple: FourTuple, segment: HeldSegment)? {
        guard let first = segments.popFirst() else { return nil }
        bytes -= first.segment.cost
        return first
    }
}

extension SocketLayer {
    /// A segment that would reach a listener whose debugger wants to see it: true if it waits at a breakpoint. Whatever else
    /// comes from its sender meanwhile counts as lost: there is no connection that could need it.
    func stopsAtListener(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, _ tuple: FourTuple, on link: LinkID, ecn: ECNField,
        at now: Instant
    ) -> Bool {
        guard let listening = host.listenerOwner(for: tuple) as? Socket, let monitor = listening.monitor,
            monitor.events.contains(.incomingSegment)
        else { return false }
        let conversation = Conversation(tuple, listening, isAtListener: true)
        breakpoints.conversations[tuple] = conversation
        let segment = HeldSegment(header: header, payload: Array(payload), link: link, ecn: ecn)
        stop(Stop(.incoming(segment), monitor, conversation, nil), at: now)
        return true
    }

    /// The debugger's answer to a segment at a listener.
    func deliverAtListener(
        _ segment: HeldSegment, _ response: BreakpointResponse, _ stop: Stop, at now: Instant
    ) {
        let tuple = stop.conversation.tuple
        if breakpoints.conversations[tuple] === stop.conversation { breakpoints.conversations[tuple] = nil }
        switch response {
        case .none, .stop, .acceptMonitor: handleAtListener(segment, tuple, at: now)
        case .drop: breakpoints.statistics.dropped += 1
        case .withhold: withholdAtListener(segment, tuple, stop.monitor)
        case .duplicate:
            handleAtListener(segment, tuple, at: now)
            withholdAtListener(segment, tuple, stop.monitor)
        case .drawWithheld:
            handleAtListener(segment, tuple, at: now)
            if let drawn = stop.monitor.withheld.popFirst() { handleAtListener(drawn.segment, drawn.tuple, at: now) }
        }
    }

    private func handleAtListener(_ segment: HeldSegment, _ tuple: FourTuple, at now: Instant) {
        segment.payload.withUnsafeBytes {
            host.handle(segment.header, payload: $0, tuple: tuple, on: segment.link, ecn: segment.ecn, at: now)
        }
    }

    private func withholdAtListener(_ segment: HeldSegment, _ tuple: FourTuple, _ monitor: Monitor) {
        if !monitor.withheld.append(segment, from: tuple) { breakpoints.statistics.overflowed += 1 }
    }
}
