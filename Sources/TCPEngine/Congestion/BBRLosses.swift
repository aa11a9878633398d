// What losses and marks do to BBR's model, and what is taken back when nothing was lost (draft-ietf-ccwg-bbr-06 5.5.10, 5.5.11).
import TCPSegments

extension BBR {
    // MARK: What the recovery tells

    /// draft 5.6.4.4, OnEnterFastRecovery.
    func lossDetected(_ window: CongestionWindow) {
        saveState(window)
        isRecovering = true
    }

    /// draft 5.6.4.4, OnEnterRTO. The window itself is the caller's.
    func timedOut(_ window: CongestionWindow) { lossDetected(window) }

    /// draft 5.6.4.4: everything is repaired. The next ACK bounds the window by the model again.
    func recoveryEnded(_ window: inout CongestionWindow) {
        restoreWindow(&window)
        isRecovering = false
        hasSavedState = false
    }

    /// draft 5.6.4.4, SaveCwnd.
    func saveWindow(_ window: CongestionWindow) {
        priorWindow = isRecovering || mode == .probeRTT ? max(priorWindow, window.size) : window.size
    }

    /// draft 5.6.4.4, RestoreCwnd.
    func restoreWindow(_ window: inout CongestionWindow) { window.size = max(window.size, priorWindow) }

    /// draft 5.5.10.2, NoteLoss. `totalDelivered` includes what the ACK delivers that shows the loss.
    func noteLoss(totalDelivered: Int, _ window: CongestionWindow) {
        saveState(window)
        if !lossInRound { lossRoundDelivered = totalDelivered }
        lossInRound = true
    }

    /// draft 5.5.10.2, HandleLostPacket: `count` bytes of a range were found lost; `lostSince` bytes were since it was sent, itself
    /// included. If it belongs to a probe, and more than the threshold was lost, the probe went too far.
    func rangeLost(
        _ range: SentRange, count: Int, lostSince: Int, totalDelivered: Int, hasSelectiveAcks: Bool,
        _ window: CongestionWindow, at now: Instant
    ) {
        noteLoss(totalDelivered: totalDelivered, window)
        let begin = range.end + -count
        if begin != lastLost.upperBound && range.end != lastLost.lowerBound { lostRanges += 1 }
        lastLost = begin..<range.end
        let flight = Int(range.snapshot.inFlight)
        guard probesSample, isTooHigh(lost: lostSince, flight: flight, hasSelectiveAcks: hasSelectiveAcks) else {
            return
        }
        // InflightAtLoss: what was in the network when the losses reached the threshold, perhaps within the range.
        let flightBefore = max(flight - count, 0)
        let lostBefore = max(lostSince - count, 0)
        let prefix = max(0, (flightBefore * Self.lossThreshold - lostBefore * 100) / (100 - Self.lossThreshold))
        if mode == .up { undo?.mode = .up }
        wentTooHigh(
            inflight: range.snapshot.isApplicationLimited
                ? nil : max(flightBefore + prefix, proportion(targetInflight(window), Self.beta, 100)), at: now)
    }

    /// draft 5.5.10.2, HandleInflightTooHigh: once for each probe; nil if the user was the limit.
    private func wentTooHigh(inflight: Int?, at now: Instant) {
        previousProbeWasTooHigh = true
        probesSample = false
        if let inflight { longInflight = inflight }
        if mode == .up { startDown(at: now) }
    }

    /// draft 5.5.10.2, IsInflightTooHigh. Without SACK one loss a round is all that can be seen.
    func isTooHigh(lost: Int, flight: Int, hasSelectiveAcks: Bool) -> Bool {
        lost * 100 > flight * Self.lossThreshold || lost > 0 && !hasSelectiveAcks
    }

    // MARK: Once a round

    func endLossRound(_ sample: AckSample, _ window: CongestionWindow) {
        if lossInRound {
            checkStartupLoss(sample, window)
            adaptLowerBounds(window)
        }
        lossInRound = false
        lostRanges = 0
        lastLost = .zero ..< .zero
    }

    /// draft 5.5.10.3: a round with loss that was no probe bounds what is sent until the next probe.
    private func adaptLowerBounds(_ window: CongestionWindow) {
        guard !mode.accelerates else { return }
        if shortBandwidth == Self.unset { shortBandwidth = maximumBandwidth }
        if shortInflight == Self.unset { shortInflight = window.size }
        shortBandwidth = max(latestBandwidth, proportion(shortBandwidth, Self.beta, 100))
        shortInflight = max(latestInflight, proportion(shortInflight, Self.beta, 100))
    }

    /// draft 5.3.1.3: many losses in a round of startup: the pipe is full.
    private func checkStartupLoss(_ sample: AckSample, _ window: CongestionWindow) {
        guard mode == .startup, !hasFilledPipe, isRecovering, let rate = sample.rate,
            lostRanges >= Self.startupLosses || !sample.hasSelectiveAcks,
            isTooHigh(
                lost: sample.totalLost - rate.snapshot.lost, flight: Int(rate.snapshot.inFlight),
                hasSelectiveAcks: sample.hasSelectiveAcks)
        else { return }
        undo?.mode = .startup
        fillPipe(window)
    }

    private func fillPipe(_ window: CongestionWindow) {
        hasFilledPipe = true
        longInflight = max(product(bandwidth, gain: 100, window), latestInflight)
    }

    /// draft 5.5.10.3, ResetCongestionSignals.
    func resetSignals() {
        lossInRound = false
        latestBandwidth = 0
        latestInflight = 0
    }

    /// draft 5.5.10.3, ResetShortTermModel.
    func resetShortTerm() {
        shortBandwidth = Self.unset
        shortInflight = Self.unset
    }

    // MARK: Marks

    /// draft 3.7 has no rule for marks, but wants them taken for congestion: one counts as more loss in its round than the threshold
    /// allows.
    func marked(_ window: CongestionWindow, at now: Instant) {
        if !lossInRound { lossRoundDelivered = totalDelivered }
        lossInRound = true
        switch mode {
        case .startup: fillPipe(window)
        case .refill, .up:
            wentTooHigh(
                inflight: proportion(
                    max(min(longInflight, window.size), targetInflight(window)), Self.beta, 100), at: now)
            if mode == .refill { startDown(at: now) }
        case .drain, .down, .cruise, .probeRTT: break
        }
    }

    // MARK: Undo

    /// draft 5.5.11.1, SaveStateUponLoss.
    /// Deviation: once for each recovery, before the first loss has changed anything. What is undone is a whole recovery.
    private func saveState(_ window: CongestionWindow) {
        guard !hasSavedState else { return }
        saveWindow(window)
        hasSavedState = true
        undo = Undo(shortBandwidth: shortBandwidth, shortInflight: shortInflight, longInflight: longInflight)
    }

    /// draft 5.5.11.2, HandleSpuriousLossDetection.
    func lossWasSpurious(_ window: inout CongestionWindow) {
        guard let before = undo else { return }
        undo = nil
        isRecovering = false
        hasSavedState = false
        restoreWindow(&window)
        lossInRound = false
        resetFullBandwidth(to: 0)
        shortBandwidth = max(shortBandwidth, before.shortBandwidth)
        shortInflight = max(shortInflight, before.shortInflight)
        longInflight = max(longInflight, before.longInflight)
        guard let ended = before.mode, ended != mode else { return }
        if ended == .startup { hasFilledPipe = false }
        guard mode != .probeRTT else { return }
        if ended == .startup { enter(.startup) } else { startRefill() }
    }
}
