// How BBR finds the shortest round trip, by emptying the queue if need be, and how it goes on after idle times
// (draft-ietf-ccwg-bbr-06 5.3.4, 5.4).
import TCPSegments

extension BBR {
    /// draft 5.3.4.3, UpdateMinRTT and CheckProbeRTT.
    func updateMinimum(_ sample: AckSample, _ window: inout CongestionWindow) {
        let now = sample.arrival
        let isDue = now > probeMinimumAt + Self.probeInterval
        if let roundTrip = sample.roundTrip, isDue || probeMinimum.map({ roundTrip < $0 }) ?? true {
            probeMinimum = roundTrip
            probeMinimumAt = now
        }
        if let shortest = probeMinimum {
            let isOld = now > minimumAt + Self.minimumFilterLength
            if isOld || minimumRoundTrip.map({ shortest < $0 }) ?? true {
                minimumRoundTrip = shortest
                minimumAt = probeMinimumAt
            }
        }
        if mode != .probeRTT, isDue, !isRestarting {
            saveWindow(window)
            enter(.probeRTT)
            probeDone = nil
            ackPhase = .stopping
            startRound()
        }
        if mode == .probeRTT { stayInProbeRTT(sample, &window) }
        if sample.delivered > 0 { isRestarting = false }
    }

    /// draft 5.3.4.3, HandleProbeRTT: half of the path's product for 200 ms and a round trip.
    private func stayInProbeRTT(_ sample: AckSample, _ window: inout CongestionWindow) {
        guard let done = probeDone else {
            guard sample.inFlight <= probeWindow(window) else { return }
            probeDone = sample.arrival + Self.probeDuration
            probeRoundDone = false
            startRound()
            return
        }
        if roundStarts { probeRoundDone = true }
        if probeRoundDone, sample.arrival > done { endProbeRTT(&window, at: sample.arrival) }
    }

    /// draft 5.3.4.4: losses of this time tell nothing. The queue is empty: there is nothing to let go in DOWN.
    private func endProbeRTT(_ window: inout CongestionWindow, at now: Instant) {
        probeMinimumAt = now
        restoreWindow(&window)
        resetShortTerm()
        if hasFilledPipe {
            startDown(at: now)
            enter(.cruise)
        } else {
            enter(.startup)
        }
    }

    /// draft 5.6.4.5, ProbeRTTCwnd.
    func probeWindow(_ window: CongestionWindow) -> Int {
        max(product(bandwidth, gain: Mode.probeRTT.windowGain, window), minimumWindow(window))
    }

    /// draft 5.4.1: data leaves after the network was empty, because the user had none.
    func resumed(_ window: inout CongestionWindow, at now: Instant) {
        isRestarting = true
        aggregateStart = now
        // The draft leaves it as it was: it would count what came before the pause.
        aggregateDelivered = 0
        if mode.isProbeBandwidth {
            setPacingRate(&window, gain: 100)
        } else if mode == .probeRTT, let done = probeDone, now > done {
            endProbeRTT(&window, at: now)
        }
    }
}
