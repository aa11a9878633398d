// What BBR takes the path for: rounds, bandwidth, a full pipe, aggregated ACKs, the shortest round trip (draft-ietf-ccwg-bbr-06 5.5).
import TCPSegments

extension BBR {
    // MARK: Rounds and rates

    /// draft 5.5.1.
    func startRound() { nextRoundDelivered = totalDelivered }

    /// draft 5.5.10.3, UpdateLatestDeliverySignals and UpdateCongestionSignals; 5.5.5, UpdateMaxBw.
    func updateSignals(_ sample: AckSample, _ window: CongestionWindow) {
        lossRoundStarts = false
        roundStarts = false
        guard let rate = sample.rate else { return }
        latestBandwidth = max(latestBandwidth, rate.bytesPerSecond)
        latestInflight = max(latestInflight, rate.delivered)
        if rate.snapshot.delivered >= lossRoundDelivered {
            lossRoundDelivered = totalDelivered
            lossRoundStarts = true
        }
        if rate.snapshot.delivered >= nextRoundDelivered {
            startRound()
            roundStarts = true
            roundCount += 1
            roundsSinceProbe += 1
        }
        // draft 5.5.4: what the user has limited counts only if it shows more.
        if rate.bytesPerSecond >= maximumBandwidth || !rate.snapshot.isApplicationLimited {
            bandwidths.current = max(bandwidths.current, rate.bytesPerSecond)
        }
        if lossRoundStarts { endLossRound(sample, window) }
    }

    /// draft 5.5.10.3, AdvanceLatestDeliverySignals.
    func advanceSignals(_ sample: AckSample) {
        guard lossRoundStarts else { return }
        latestBandwidth = sample.rate?.bytesPerSecond ?? 0
        latestInflight = sample.rate?.delivered ?? 0
    }

    /// draft 5.5.6: a cycle of ProbeBW has shown what it could; samples of the one before the last are forgotten.
    func advanceBandwidthFilter() { bandwidths = (0, bandwidths.current) }

    // MARK: Full pipe

    func resetFullBandwidth(to rate: Int) {
        fullBandwidth = rate
        fullCount = 0
        isFullNow = false
    }

    /// draft 5.3.1.2: three rounds without a quarter more.
    func checkFullPipe(_ sample: AckSample) {
        guard !isFullNow, roundStarts, let rate = sample.rate, !rate.snapshot.isApplicationLimited else { return }
        if rate.bytesPerSecond >= proportion(fullBandwidth, 125, 100) {
            resetFullBandwidth(to: rate.bytesPerSecond)
            return
        }
        fullCount += 1
        isFullNow = fullCount >= 3
        if isFullNow { hasFilledPipe = true }
    }

    // MARK: Aggregation

    /// draft 5.5.9: how much more than the bandwidth ACKs deliver in bunches.
    func updateAggregation(_ sample: AckSample, _ window: CongestionWindow) {
        var expected = proportion(
            bandwidth, Int((sample.arrival - aggregateStart).nanoseconds), nanosecondsPerSecond)
        if aggregateDelivered <= expected {
            aggregateDelivered = 0
            aggregateStart = sample.arrival
            expected = 0
        }
        aggregateDelivered += sample.delivered
        let extra = min(aggregateDelivered - expected, window.size)
        // Deviation: two slots of five rounds each instead of a filter over ten; what is remembered is five to ten rounds old.
        if roundCount - extraRound >= (hasFilledPipe ? 5 : 1) {
            extraRound = roundCount
            extraAcked = (0, extraAcked.current)
        }
        extraAcked.current = max(extraAcked.current, extra)
    }
}
