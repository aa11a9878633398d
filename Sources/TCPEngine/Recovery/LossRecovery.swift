// What an ACK means for what is outstanding: what it delivers, what is lost, and how much may follow.
import TCPSegments

/// Which of the ways to detect and repair losses are in use.
public struct RecoveryFeatures: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt8
    /// One with these values.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Detection by time (RFC 8985); without it by counting (RFC 6675). Peers without SACK get NewReno (RFC 6582).
    public static let rack = RecoveryFeatures(rawValue: 1)
    /// Tail loss probes (RFC 8985 7).
    public static let tailLossProbe = RecoveryFeatures(rawValue: 2)
    /// Proportional rate reduction (RFC 6937bis).
    public static let proportionalRateReduction = RecoveryFeatures(rawValue: 4)
    /// F-RTO (RFC 5682).
    public static let forwardRTO = RecoveryFeatures(rawValue: 8)
    /// Needless reductions are taken back: Eifel (RFC 3522, 4015) and D-SACK (RFC 3708).
    public static let undo = RecoveryFeatures(rawValue: 16)
    /// Everything.
    public static let all: RecoveryFeatures = [.rack, .tailLossProbe, .proportionalRateReduction, .forwardRTO, .undo]
}

/// What the recovery needs to know of one ACK.
private struct AckNews {
    /// SND.UNA moved.
    let advanced: Bool
    let isDuplicate: Bool
    /// What the peer received twice (RFC 2883).
    let duplicate: Range<StreamOffset>?
    /// TSecr.
    let echo: UInt32?
    let delivery: Delivery
    /// SND.NXT - SND.UNA before the ACK, and that part of it without SACK.
    let outstanding: Int
    let unselected: Int
}

extension Connection {
    /// Bytes believed to be in the network.
    @inline(__always) var inFlight: Int {
        max(0, retransmissionQueue.pipe(outstanding: tcb.send.nxt - tcb.send.una) - duplicates.departed)
    }

    /// How much may be in the network now: the congestion window, or what fast recovery makes of it.
    @inline(__always) var sendWindow: Int {
        guard let episode, episode.phase == .fast, reducesProportionally else { return congestion.window }
        return episode.reduction.window
    }

    private var reducesProportionally: Bool {
        congestion.needsReduction && configuration.recovery.contains(.proportionalRateReduction)
    }

    /// An acceptable ACK: `ack` is its number, which may lie before SND.UNA: its SACK blocks count all the same.
    func takeAcknowledgment(upTo ack: StreamOffset, _ header: SegmentHeader, isDuplicate: Bool, at now: Instant) {
        let outstanding = tcb.send.nxt - tcb.send.una
        let unselected = outstanding - retransmissionQueue.selected
        let bytes = max(0, ack - tcb.send.una)
        let isQuiet = retransmissionQueue.isClean && isUndisturbed
        var delivery = Delivery(segmentSize: configuration.countsSegments ? tcb.sendMSS : 0)
        if bytes > 0 {
            retransmissionQueue.acknowledge(upTo: ack, &delivery)
            tcb.send.una = ack
            if let sizeSearch { settleSizeProbe(sizeSearch, at: now) }
        }
        var duplicate: Range<StreamOffset>?
        if selectiveAcks, header.options.sackBlocks.count > 0 {
            duplicate = takeSelections(header.options.sackBlocks, upTo: ack, &delivery)
        }
        let echo = timestamps.isOn ? header.options.timestamps?.echoReply : nil
        let roundTripSample = takeRoundTrip(delivery, advanced: bytes > 0, echo: echo, at: now)
        let showsRate = rate.take(delivery, minimumRoundTrip: minimumRoundTrip.value, at: now)
        var delivered = delivery.bytes
        var segments = delivery.segments
        if selectiveAcks {
            rack.deliver(
                delivery, segmentSize: tcb.sendMSS, minimumRoundTrip: minimumRoundTrip.value, at: now
            ) { [timestamps] sentAt in
                echo.map { Int32(bitPattern: $0 &- timestamps.value(at: sentAt)) < 0 } ?? false
            }
        } else if bytes > 0 {
            delivered = duplicates.advance(by: bytes, segmentSize: tcb.sendMSS)
            if delivered < bytes { segments = (delivered + tcb.sendMSS - 1) / tcb.sendMSS }
        } else if isDuplicate {
            duplicates.add(segmentSize: tcb.sendMSS, limit: outstanding - tcb.sendMSS)
            delivered = tcb.sendMSS
            segments = 1
        }
        if configuration.countsSegments { statistics.segmentsDelivered += UInt64(segments) }
        let lostBefore = rate.lost
        if !isQuiet || !retransmissionQueue.isClean || duplicates.count > 0 || duplicate != nil {
            recover(
                AckNews(
                    advanced: bytes > 0, isDuplicate: isDuplicate, duplicate: duplicate, echo: echo, delivery: delivery,
                    outstanding: outstanding, unselected: unselected), at: now)
        }
        if let episode, episode.phase == .fast, reducesProportionally {
            // RFC 6937bis: SND.UNA advanced and nothing more was lost: the slow-start bound.
            episode.reduction.acknowledged(
                delivered, inFlight: inFlight, threshold: congestion.slowStartThreshold, segmentSize: tcb.sendMSS,
                isSafe: bytes > 0 && rate.lost == lostBefore)
        } else if delivered > 0 || rate.lost > lostBefore {
            // RFC 5681 3.2: duplicate ACKs do not open the window, unless the path is known to reorder.
            let mayGrow =
                (bytes > 0 || isKnownToReorder)
                && usage.isLimited(window: congestion.window, threshold: congestion.slowStartThreshold)
                && !(marks?.holdsWindow ?? false)
            guard mayGrow || congestion.isCurious else { return }
            congestion.acknowledged(
                AckSample(
                    delivered: delivered, lost: rate.lost - lostBefore, arrival: now, roundTrip: roundTripSample,
                    rate: rate.sample(of: delivery, showsRate: showsRate), totalDelivered: rate.delivered,
                    totalLost: rate.lost, inFlight: inFlight,
                    isWindowLimited: congestion.bbr == nil ? mayGrow : usage.wasLimited,
                    hasSelectiveAcks: selectiveAcks,
                    una: tcb.send.una, nxt: tcb.send.nxt, segments: segments))
            // draft-ietf-ccwg-bbr-06 5.3.4.3: with so small a window rates tell nothing of the path.
            if congestion.bbr?.mode == .probeRTT { rate.becameApplicationLimited(pipe: inFlight) }
        }
    }

    /// Duplicate ACKs may open the window.
    private var isKnownToReorder: Bool {
        configuration.countsSegments ? rack.degree > RACK.usualDegree : rack.reorderingSeen
    }

    /// True if nothing about losses is pending.
    @inline(__always) private var isUndisturbed: Bool {
        episode == nil && reduction == nil && tailProbe == nil && duplicates.departed == 0
    }

    /// Karn: only what was sent once gives a sample, unless the peer echoes timestamps (RFC 6298 3, RFC 7323 4.1).
    @inline(__always) private func takeRoundTrip(
        _ delivery: Delivery, advanced: Bool, echo: UInt32?, at now: Instant
    ) -> TimeInterval? {
        if delivery.newestRepeated == nil, let oldest = delivery.oldestOriginal, let newest = delivery.newestOriginal {
            roundTrip.sample(now - oldest)
            let shortest = now - newest.at
            minimumRoundTrip.sample(shortest, at: now)
            return shortest
        }
        guard advanced else { return nil }
        if let sample = echo.flatMap({ timestamps.roundTrip(echo: $0, at: now) }) {
            roundTrip.sample(sample)
        } else {
            roundTrip.endBackoff()
        }
        return nil
    }

    // MARK: Losses

    private func recover(_ news: AckNews, at now: Instant) {
        let lostBefore = rate.lost
        let wasRecovering = episode != nil
        settleTailProbe(news, at: now)
        if let duplicate = news.duplicate { duplicateWasReported(duplicate) }
        if retransmissionQueue.hasReneged {
            // RFC 2018 8: what the peer gave up has to be sent again.
            retransmissionQueue.deselectAll()
            loseEverything()
        } else {
            detectLosses(news, at: now)
            if let sizeSearch, rate.lost > lostBefore { excuseSizeProbe(sizeSearch, at: now) }
        }
        let isSpurious = mayUndo(echo: news.advanced ? news.echo : nil)
        switch episode?.phase {
        case nil:
            if isSpurious { undoReduction() }
        case .fast:
            if isSpurious { undoReduction() } else if tcb.send.una >= recoveryPoint { endRecovery() }
        case .timeout:
            if isSpurious || forwardRTOFindsSpurious(news) {
                undoReduction()
            } else if tcb.send.una >= recoveryPoint {
                endRecovery()
            }
        }
        // What a closed window or a smaller path swallowed is sent again, too, but is no sign of congestion.
        if episode == nil, retransmissionQueue.awaiting > 0, wasRecovering || rate.lost > lostBefore {
            beginFastRecovery(outstanding: news.outstanding, unselected: news.unselected, at: now)
        }
        if let expiry = reduction?.expiry, tcb.send.una >= expiry { reduction = nil }
    }

    /// Looks for losses by whichever rule the peer permits.
    private func detectLosses(_ news: AckNews, at now: Instant) {
        guard selectiveAcks else {
            detectLossesByDuplicates(news, at: now)
            return
        }
        if configuration.recovery.contains(.rack) {
            detectLossesByTime(at: now)
        } else {
            countLosses(at: now) { $0.detectLosses(segmentSize: tcb.sendMSS, $1) }
        }
    }

    /// `mark` marks as lost what it finds, and tells of each range: congestion control hears of it.
    private func countLosses(
        at now: Instant, _ mark: (inout RetransmissionQueue, (SentRange, Int) -> Void) -> Void
    ) {
        var found = 0
        let probeEnd = sizeSearch?.probe?.range.upperBound
        mark(&retransmissionQueue) { [congestion, rate, selectiveAcks] range, count in
            found += count
            // A probe that is too large tells nothing of how much the path carries.
            guard range.end != probeEnd else { return }
            congestion.rangeLost(
                range, count: count, totalLost: rate.lost + found, totalDelivered: rate.delivered,
                hasSelectiveAcks: selectiveAcks, at: now)
        }
        rate.lost += found
    }

    /// RFC 8985 6.2 step 5, and the timer for what may be lost soon.
    private func detectLossesByTime(at now: Instant) {
        var wait = TimeInterval.zero
        let window = reorderingWindow
        countLosses(at: now) { wait = $0.detectLosses(rack, window: window, at: now, $1) }
        if wait > .zero {
            timers.arm(.reordering, at: now + reorderingTimerDelay(wait))
        } else {
            timers.cancel(.reordering)
        }
    }

    /// Linux's timer comes late, by the ticks of its clock and what it never waits less than: 40 ms in place of 25 ms.
    private func reorderingTimerDelay(_ wait: TimeInterval) -> TimeInterval {
        let tick = configuration.reorderingTimerTick.nanoseconds
        guard tick > 0 else { return wait }
        return .nanoseconds((wait.nanoseconds / 5 * 8 + tick - 1) / tick * tick)
    }

    /// RACK.reo_wnd now.
    var reorderingWindow: TimeInterval {
        rack.reorderingWindow(
            isCertain: episode != nil || retransmissionQueue.selected > 2 * tcb.sendMSS,
            minimumRoundTrip: minimumRoundTrip.value, smoothed: roundTrip.smoothed,
            resolution: configuration.clockResolution)
    }

    private func detectLossesByDuplicates(_ news: AckNews, at now: Instant) {
        switch episode?.phase {
        case nil:
            // RFC 6582 3.2 (1): three duplicates, and not for what an earlier recovery had sent already.
            if duplicates.count == 3, tcb.send.una > recoveryPoint {
                let probe = sizeSearch?.probe
                let count = probe?.range.lowerBound == tcb.send.una ? probe?.count ?? 0 : tcb.sendMSS
                countLosses(at: now) { $0.markFirstLost(count, $1) }
            }
        case .fast:
            // RFC 6582 3.2 (3), partial acknowledgment: the next hole is lost as well.
            if news.advanced, tcb.send.una < recoveryPoint {
                countLosses(at: now) { $0.markFirstLost(tcb.sendMSS, $1) }
            }
        case .timeout:
            break
        }
    }

    /// Everything without SACK counts as lost. It is no sign of congestion, and congestion control does not hear of it.
    func loseEverything() {
        let before = retransmissionQueue.lost
        retransmissionQueue.markAllLost { _, _ in }
        rate.lost += max(0, retransmissionQueue.lost - before)
        duplicates.reset()
    }

    /// RFC 8985 6.2 step 5: the reordering timer expired.
    func reorderingTimedOut(at now: Instant) {
        let outstanding = tcb.send.nxt - tcb.send.una
        let unselected = outstanding - retransmissionQueue.selected
        let lostBefore = rate.lost
        detectLossesByTime(at: now)
        if let sizeSearch, rate.lost > lostBefore { excuseSizeProbe(sizeSearch, at: now) }
        guard rate.lost > lostBefore else { return }
        let isNew = episode == nil
        if isNew { beginFastRecovery(outstanding: outstanding, unselected: unselected, at: now) }
        let countsSegments = configuration.countsSegments
        // Linux: the timer lets one segment go, and only when recovery begins.
        if let episode, episode.phase == .fast, isNew || !countsSegments {
            episode.reduction.acknowledged(
                countsSegments ? tcb.sendMSS : 0, inFlight: inFlight, threshold: congestion.slowStartThreshold,
                segmentSize: tcb.sendMSS,
                isSafe: false)
        }
    }

    // MARK: Episodes

    /// RFC 6675 5 (4), RFC 6582 3.2 (2): losses were found, and no recovery is under way.
    private func beginFastRecovery(outstanding: Int, unselected: Int, at now: Instant) {
        beginReduction()
        let countsSegments = configuration.countsSegments
        let flight = countsSegments ? congestion.window : unselected
        // RFC 3168 6.1.2: a loss in a window of data that reduced the window for a mark does not reduce it again.
        if !(marks?.hasJustReacted(una: tcb.send.una) ?? false) {
            congestion.lossDetected(flight: outstanding, at: now)
            marks?.windowWasReduced(nxt: tcb.send.nxt)
        }
        recoveryPoint = tcb.send.nxt
        episode = RecoveryEpisode(
            .fast,
            reduction: ProportionalRateReduction(
                flightAtEntry: flight, window: congestion.window, countsSegments: countsSegments))
        statistics.recoveries += 1
    }

    /// RFC 6298 (5.4) to (5.6), RFC 5681 3.1, RFC 8985 6.3: the timer expired.
    func beginTimeoutRecovery(at now: Instant) {
        let wasRecovering = episode != nil
        var isNew = !wasRecovering
        // Linux: the window is reduced anew when there was progress since the last timeout.
        if configuration.countsSegments, episode?.phase == .timeout, timeoutCount == 1 { isNew = true }
        if isNew { beginReduction() }
        if !wasRecovering, retransmissionQueue.selected >= RACK.usualDegree * tcb.sendMSS {
            rack.overestimatedReordering()
        }
        let flight = inFlight
        if retransmissionQueue.hasReneged { retransmissionQueue.deselectAll() }
        duplicates.reset()
        timers.cancel(.reordering)
        tailProbe = nil
        tailProbePending = false
        sizeSearch?.gaveUp()
        if selectiveAcks, configuration.recovery.contains(.rack) {
            let window = configuration.countsSegments ? .zero : reorderingWindow
            countLosses(at: now) { $0.detectLossesAfterTimeout(rack, window: window, at: now, $1) }
        } else {
            countLosses(at: now) { $0.markAllLost($1) }
        }
        // RFC 5681 3.1: the threshold is kept when the same segment is retransmitted again, and when it was just set.
        congestion.timedOut(flight: max(flight, tcb.sendMSS), isFirst: isNew, inFlight: inFlight, at: now)
        marks?.windowWasReduced(nxt: tcb.send.nxt)
        recoveryPoint = tcb.send.nxt
        let next = RecoveryEpisode(.timeout, reduction: ProportionalRateReduction(flightAtEntry: 1, window: 0))
        // RFC 5682 2.1 (1): not while an earlier recovery goes on. Linux: but again when the timer expires again.
        let isTested = configuration.countsSegments ? !wasRecovering || timeoutCount > 1 : isNew
        if isTested, configuration.recovery.contains(.forwardRTO) { next.forward = .awaitingFirstAck }
        episode = next
        statistics.timeouts += 1
    }

    /// Remembers what the window was before it is reduced.
    private func beginReduction() {
        let record = ReductionRecord(before: congestion)
        // Retransmissions of an earlier recovery may still be on their way: their ACKs must not be taken for the originals'.
        let earlier = retransmissionQueue.retransmitted
        if earlier > 0 { record.countsAsRetransmitted(tcb.send.una..<tcb.send.nxt, bytes: earlier, stamp: 0) }
        reduction = record
    }

    private func endRecovery() {
        rack.recoveryEnded()
        // One more round trip for late reports of duplicates.
        reduction?.expiry = tcb.send.nxt + 1
        episode = nil
        congestion.recoveryEnded()
    }

    // MARK: Verdicts

    private func forwardRTOFindsSpurious(_ news: AckNews) -> Bool {
        guard let episode, episode.forward != .off else { return false }
        // Without SACK, an ACK that covers a retransmission may cover more that was there before.
        let isClear = selectiveAcks || news.delivery.newestRepeated == nil
        let originalArrived = isClear && news.delivery.lowestOriginalEnd.map { $0 <= recoveryPoint } ?? false
        return episode.forward.take(
            originalArrived: originalArrived, advanced: news.advanced,
            isDuplicate: news.isDuplicate || news.delivery.selected > 0,
            canSendNewData: sendBuffer.end > tcb.send.nxt && tcb.send.windowEdge > tcb.send.nxt)
    }

    /// RFC 8985 7.4: what became of the probe.
    private func settleTailProbe(_ news: AckNews, at now: Instant) {
        guard let probe = tailProbe else { return }
        switch probe.take(
            una: tcb.send.una, reportsDuplicate: news.duplicate?.upperBound == probe.end,
            isBareDuplicate: news.isDuplicate && news.delivery.bytes == 0)
        {
        case .undecided: break
        case .settled: tailProbe = nil
        case .repairedLoss:
            tailProbe = nil
            statistics.probeRepairs += 1
            if episode == nil {
                congestion.tailLossRepaired(flight: news.outstanding, totalDelivered: rate.delivered, at: now)
                marks?.windowWasReduced(nxt: tcb.send.nxt)
            }
        }
    }
}
