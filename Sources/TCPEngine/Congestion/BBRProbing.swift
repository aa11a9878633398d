// How BBR looks for more bandwidth once it has found some: the cycle of ProbeBW (draft-ietf-ccwg-bbr-06 5.3.3).
import TCPSegments

extension BBR {
    /// draft 5.3.3.9, UpdateProbeBWCyclePhase.
    func updateProbing(_ sample: AckSample, _ window: CongestionWindow) {
        if adaptLongTerm(sample, window) { return }
        switch mode {
        case .down:
            if isTimeToProbe(at: sample.arrival, window) {
                startRefill()
            } else if sample.inFlight <= inflightWithHeadroom(window),
                sample.inFlight <= inflight(maximumBandwidth, gain: 100, window)
            {
                enter(.cruise)
            }
        case .cruise:
            if isTimeToProbe(at: sample.arrival, window) { startRefill() }
        case .refill:
            if roundStarts {
                probesSample = true
                startUp(sample, window)
            }
        case .up:
            if isTimeToGoDown(sample, window) {
                previousProbeWasTooHigh = false
                startDown(at: sample.arrival)
            }
        case .startup, .drain, .probeRTT:
            break
        }
    }

    /// draft 5.3.3.8.3, IsTimeToProbeBW: after two to three seconds, or as many round trips as the standard's algorithm would need.
    private func isTimeToProbe(at now: Instant, _ window: CongestionWindow) -> Bool {
        let renoRounds = min(targetInflight(window) / window.segmentSize, 63)
        return now > cycleStart + probeWait || roundsSinceProbe >= max(renoRounds, 1)
    }

    /// draft 5.3.3.9, IsTimeToGoDown.
    private func isTimeToGoDown(_ sample: AckSample, _ window: CongestionWindow) -> Bool {
        // draft 5.3.3.6: what was too much the last time is not exceeded, nor kept up for a round trip, before it is known to be safe.
        // What counts is what was in the network when the ACK came, in whole segments: after it there is always room.
        let flight = sample.inFlight + sample.delivered + sample.lost
        if previousProbeWasTooHigh, flight > longInflight - window.segmentSize {
            previousProbeWasPrecautionary = true
            return true
        }
        if sample.isWindowLimited, window.size >= longInflight {
            // draft 5.3.3.7 (1): the bound, not the path, limits the rate.
            resetFullBandwidth(to: sample.rate?.bytesPerSecond ?? 0)
            return false
        }
        return isFullNow
    }

    // MARK: Phases

    /// draft 5.3.3.9, StartProbeBW_DOWN.
    func startDown(at now: Instant) {
        resetSignals()
        probeUpCount = Self.unset
        // draft 5.3.3.8.2: flows that share a path do not probe in step. Time and what was delivered are random enough for that.
        var mix = UInt64(bitPattern: now.nanoseconds) ^ UInt64(truncatingIfNeeded: totalDelivered)
        mix = (mix ^ (mix >> 31)) &* 0x9e37_79b9_7f4a_7c15
        roundsSinceProbe = Int(mix >> 63)
        probeWait = .milliseconds(2000 + Int64((mix >> 32) % 1000))
        cycleStart = now
        ackPhase = .stopping
        startRound()
        enter(.down)
    }

    /// draft 5.3.3.9, StartProbeBW_REFILL.
    func startRefill() {
        resetShortTerm()
        probeUpRounds = 0
        probeUpAcks = 0
        previousProbeWasPrecautionary = false
        ackPhase = .refilling
        startRound()
        enter(.refill)
    }

    /// draft 5.3.3.9, StartProbeBW_UP.
    private func startUp(_ sample: AckSample, _ window: CongestionWindow) {
        ackPhase = .starting
        startRound()
        resetFullBandwidth(to: sample.rate?.bytesPerSecond ?? 0)
        enter(.up)
        raiseSlope(window)
    }

    // MARK: The long-term bound

    /// draft 5.3.3.9, AdaptLongTermModel. True if it has changed the state.
    private func adaptLongTerm(_ sample: AckSample, _ window: CongestionWindow) -> Bool {
        if ackPhase == .starting, roundStarts { ackPhase = .feedback }
        if ackPhase == .stopping, roundStarts {
            probesSample = false
            ackPhase = .none
            if mode.isProbeBandwidth {
                if let rate = sample.rate, !rate.snapshot.isApplicationLimited { advanceBandwidthFilter() }
                // draft 5.3.3.6: the cautious probe did no harm; now for a real one.
                if previousProbeWasPrecautionary, !previousProbeWasTooHigh {
                    startRefill()
                    return true
                }
            }
        }
        guard longInflight != Self.unset, let rate = sample.rate else { return false }
        let flight = Int(rate.snapshot.inFlight)
        guard
            !isTooHigh(
                lost: sample.totalLost - rate.snapshot.lost, flight: flight, hasSelectiveAcks: sample.hasSelectiveAcks)
        else { return false }
        longInflight = max(longInflight, flight)
        if mode == .up { probeUpward(sample, window) }
        return false
    }

    /// draft 5.3.3.9, RaiseInflightLongtermSlope: twice as much in each round of a probe.
    private func raiseSlope(_ window: CongestionWindow) {
        probeUpCount = max(window.size >> probeUpRounds, window.segmentSize)
        probeUpRounds = min(probeUpRounds + 1, 30)
    }

    /// draft 5.3.3.9, ProbeInflightLongtermUpward.
    private func probeUpward(_ sample: AckSample, _ window: CongestionWindow) {
        guard sample.isWindowLimited, window.size >= longInflight else { return }
        probeUpAcks += sample.delivered
        if probeUpAcks >= probeUpCount {
            let steps = probeUpAcks / probeUpCount
            probeUpAcks -= steps * probeUpCount
            longInflight = min(longInflight + steps * window.segmentSize, CongestionWindow.limit)
        }
        if roundStarts { raiseSlope(window) }
    }
}
