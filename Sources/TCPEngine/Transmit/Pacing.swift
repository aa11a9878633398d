// When paced segments may leave, and what idle time does to the window.
import TCPSegments

extension Connection {
    /// Bytes per second at which segments leave; 0: not paced. Where only the configuration asks for pacing, twice the window a
    /// round trip in slow start, and 1.2 times later (Linux's tcp_pacing_ss_ratio, tcp_pacing_ca_ratio).
    @inline(__always) var paceRate: Int {
        let limit = configuration.maximumPacingRate
        if congestion.pacingRate > 0 { return min(congestion.pacingRate, limit) }
        guard configuration.pacing || limit < .max else { return 0 }
        guard let smoothed = roundTrip.smoothed else { return limit < .max ? limit : 0 }
        let gain = congestion.window < congestion.slowStartThreshold / 2 ? 200 : 120
        return min(max(1, proportion(sendWindow * gain / 100, nanosecondsPerSecond, Int(smoothed.nanoseconds))), limit)
    }

    /// How much leaves at once: a millisecond's worth, at least two segments.
    var paceQuantum: Int {
        congestion.pacingRate > 0 && configuration.maximumPacingRate == .max
            ? congestion.quantum : max(min(paceRate / 1000, 65_536), 2 * tcb.sendMSS)
    }

    /// Bytes that may leave now.
    func pacedAllowance(at now: Instant) -> Int { pacer.allowance(rate: paceRate, depth: paceQuantum, at: now) }

    /// The next poll finds nothing to send; the timer says when it will.
    func waitForPace(for count: Int) {
        held = .pacing
        timers.arm(.pacing, at: pacer.time(of: count, rate: paceRate))
    }

    /// Data is about to leave into an empty network.
    func resumeAfterIdle(at now: Instant) {
        congestion.resumed(
            afterIdle: now - lastSent, isApplicationLimited: rate.isApplicationLimited, at: now)
        guard configuration.slowStartAfterIdle, now - lastSent > roundTrip.base else { return }
        // RFC 5681 4.1.
        congestion.restarted(afterIdle: now - lastSent, timeout: roundTrip.base)
    }

    /// `flight` is in the network; `isLimited`: the window has no room for another segment.
    @inline(__always) func noteUsage(flight: Int, isLimited: Bool, at now: Instant) {
        let used = usage.note(
            flight: flight, isLimited: isLimited, una: tcb.send.una, nxt: tcb.send.nxt, timeout: roundTrip.base, at: now
        )
        if let used, configuration.slowStartAfterIdle { congestion.validate(used: used) }
    }
}
