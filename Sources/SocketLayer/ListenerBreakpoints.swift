// Segments that arrive at a watched listening socket: SYNs, before there is a connection to hold them back for.
import NetworkLayer
import TCPEngine
import TCPSegments

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
        let segment = HeldSegment(tuple: tuple, header: header, payload: Array(payload), link: link, ecn: ecn)
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
        case .none, .stop, .acceptMonitor: handle(segment, at: now)
        case .drop: breakpoints.statistics.dropped += 1
        case .withhold: withholdAtListener(segment, stop.monitor)
        case .duplicate:
            handle(segment, at: now)
            withholdAtListener(segment, stop.monitor)
        case .drawWithheld:
            handle(segment, at: now)
            if let drawn = stop.monitor.withheld.popFirst() { handle(drawn, at: now) }
        }
    }

    private func withholdAtListener(_ segment: HeldSegment, _ monitor: Monitor) {
        if !monitor.withheld.append(segment) { breakpoints.statistics.overflowed += 1 }
    }
}
