// How BBR looks for more bandwidth once it has found some: the cycle of ProbeBW (draft-ietf-ccwg-bbr 5.3.3).
import TCPSegments

extension BBR {
    func updateProbing(_ sample: AckSample, rate: Int, isLimited: Bool, _ window: CongestionWindow) {
        adaptLongTerm(sample, isLimited: isLimited, window)
        switch mode {
        case .down:
            if probeIfDue(at: sample.arrival, window) { return }
            if sample.inFlight <= inflightWithHeadroom(window),
                sample.inFlight <= inflight(maximumBandwidth, gain: 100, window)
            {
                startCruise()
            }
        case .cruise:
            _ = probeIfDue(at: sample.arrival, window)
        case .refill:
            if roundStarts {
                probesSample = true
                startUp(rate: rate, window)
            }
        case .up:
            if sample.isWindowLimited, window.size >= longInflight {
                resetFullBandwidth(to: rate)
            } else if isFullNow {
                startDown(at: sample.arrival)
            }
        case .startup, .drain, .probeRTT:
            break
        }
    }

    /// draft 5.3.3.6: after two to three seconds, or as many round trips as the standard's algorithm would need.
    private func probeIfDue(at now: Instant, _ window: CongestionWindow) -> Bool {
        let renoRounds = min(targetInflight(window) / window.segmentSize, 63)
        guard now > cycleStart + probeWait || roundsSinceProbe >= max(renoRounds, 1) else { return false }
        startRefill()
        return true
    }

    // MARK: Phases

    func startDown(at now: Instant) {
        resetSignals()
        probeUpCount = Self.unset
        // draft 5.3.3.5.1: flows that share a path do not probe in step. Time and what was delivered are random enough for that.
        var mix = UInt64(bitPattern: now.nanoseconds) ^ UInt64(truncatingIfNeeded: totalDelivered)
        mix = (mix ^ (mix >> 31)) &* 0x9e37_79b9_7f4a_7c15
        roundsSinceProbe = Int(mix >> 63)
        probeWait = .milliseconds(2000 + Int64((mix >> 32) % 1000))
        cycleStart = now
        ackPhase = .stopping
        startRound()
        mode = .down
        (pacingGain, windowGain) = (90, 200)
    }

    func startCruise() {
        mode = .cruise
        (pacingGain, windowGain) = (100, 200)
    }

    private func startRefill() {
        resetShortTerm()
        probeUpRounds = 0
        probeUpAcks = 0
        ackPhase = .refilling
        startRound()
        mode = .refill
        (pacingGain, windowGain) = (100, 200)
    }

    private func startUp(rate: Int, _ window: CongestionWindow) {
        ackPhase = .starting
        startRound()
        resetFullBandwidth(to: rate)
        mode = .up
        (pacingGain, windowGain) = (125, 225)
        raiseSlope(window)
    }

    // MARK: The long-term bound

    private func adaptLongTerm(_ sample: AckSample, isLimited: Bool, _ window: CongestionWindow) {
        if ackPhase == .starting, roundStarts { ackPhase = .feedback }
        if ackPhase == .stopping, roundStarts {
            ackPhase = .none
            probesSample = false
            if isInProbeBandwidth, !isLimited { advanceBandwidthFilter() }
        }
        guard longInflight != Self.unset, let rate = sample.rate else { return }
        let flight = Int(rate.snapshot.inFlight)
        guard (sample.totalLost - rate.snapshot.lost) * 100 <= flight * Self.lossThreshold else { return }
        if flight > longInflight { longInflight = flight }
        if mode == .up { probeUpward(sample, window) }
    }

    /// draft 5.3.3.5.2: exponentially more in each round of a probe.
    private func raiseSlope(_ window: CongestionWindow) {
        let growth = window.segmentSize << probeUpRounds
        probeUpRounds = min(probeUpRounds + 1, 12)
        probeUpCount = max(window.size / max(growth, 1) * window.segmentSize, window.segmentSize)
    }

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
