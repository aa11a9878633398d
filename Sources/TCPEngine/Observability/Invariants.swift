// What must hold of a connection after every step; the simulator asks in debug builds.
import TCPSegments

extension Connection {
    /// Sentences about what does not hold; empty if all is well.
    public func invariantViolations(at now: Instant) -> [String] {
        var broken: [String] = []
        func check(_ holds: Bool, _ sentence: @autoclosure () -> String) {
            if !holds { broken.append("\(tuple.local.port)>\(tuple.remote.port) \(state): \(sentence())") }
        }
        let send = tcb.send
        check(send.una <= send.nxt, "SND.UNA \(send.una) is beyond SND.NXT \(send.nxt)")
        check(
            send.nxt <= sendBuffer.end + (finQueued ? 1 : 0) || state == .closed || state == .timeWait,
            "SND.NXT \(send.nxt) is beyond what was queued \(sendBuffer.end)")
        // A retransmission and its original may both be in the network.
        check(inFlight <= 2 * (send.nxt - send.una), "\(inFlight) bytes in flight")
        let queue = retransmissionQueue
        if let inconsistency = queue.inconsistency { check(false, "the retransmission queue: \(inconsistency)") }
        check(
            queue.ranges.isEmpty || (queue.start == send.una && queue.end == send.nxt),
            "the retransmission queue holds \(queue.start)..<\(queue.end), not \(send.una)..<\(send.nxt)")
        check(
            !queue.ranges.isEmpty || send.una == send.nxt || state == .closed || handshakeRetransmitted,
            "nothing is known of what is outstanding")
        check(
            tcb.receive.nxt <= tcb.receive.edge || hasReceivedFin || state == .closed || state == .synSent,
            "RCV.NXT \(tcb.receive.nxt) is beyond the window's edge \(tcb.receive.edge)")
        check(
            receiveBuffer.count <= receiveCapacity + (1 << 14),
            "\(receiveBuffer.count) unread bytes in a buffer of \(receiveCapacity)")
        check(sendBuffer.count <= sendCapacity, "\(sendBuffer.count) queued bytes exceed the buffer")
        check(state != .closed || timers.next == nil, "a timer is armed that nobody waits for: \(timers)")
        // At a breakpoint nothing is polled or timed; what is due then is seen to when it goes on.
        guard !isFrozen else { return broken }
        if let next = timers.next { check(next >= now, "a timer is armed in the past: \(next) at \(now)") }
        // The liveness rule: what is unacknowledged, or stuck behind a zero window, has a timer.
        if state.isSynchronized && state != .timeWait {
            let outstanding = send.nxt > send.una
            let stuck = send.wnd == 0 && (sendBuffer.end > send.nxt || (finQueued && !finWasSent))
            let timed = timers.isArmed(.retransmission) || timers.isArmed(.persist) || probePending
            check(
                !(outstanding || stuck) || timed || isQueuedForLink,
                "unacknowledged or stuck data without a timer (una \(send.una), nxt \(send.nxt), wnd \(send.wnd))")
        }
        return broken
    }
}
