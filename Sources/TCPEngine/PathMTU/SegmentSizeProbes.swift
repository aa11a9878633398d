// Probes of larger segments among a connection's data, and what to do when all large segments vanish (RFC 4821 7, Linux's
// tcp_mtu_probing).
import TCPSegments

extension Connection {
    /// Bytes of options in every segment.
    private var steadyOptions: Int { timestamps.isOn ? 12 : 0 }

    /// True if packets that are too large for the path may vanish without a report.
    private var mayLoseLargeSegments: Bool {
        configuration.segmentSizeProbing != .off && link?.properties.hidesMTU ?? false
    }

    /// No search goes below what every path takes: 552 bytes over IPv4 as in Linux.
    private var leastSegmentSize: Int { tuple.remote.address.isIPv4 ? 512 : configuration.leastSegmentSizeIPv6 }

    private var baseSegmentSize: Int { max(configuration.baseSegmentSize, leastSegmentSize) }

    /// Segments carry so much from now on, options included.
    func setSegmentSize(_ size: Int) {
        tcb.sendMSS = max(1, size - steadyOptions)
        congestion.segmentSizeChanged(to: tcb.sendMSS)
    }

    /// The SYNs have told what link and peer take: a connection that always searches begins below.
    func beginSizeSearch(at now: Instant) {
        guard configuration.segmentSizeProbing == .always, mayLoseLargeSegments else { return }
        let ceiling = tcb.sendMSS + steadyOptions
        guard ceiling > baseSegmentSize else { return }
        sizeSearch = SegmentSizeSearch(ceiling: ceiling, working: baseSegmentSize, at: now)
        tcb.sendMSS = baseSegmentSize - steadyOptions
    }

    /// The retransmission timer has expired `timeoutCount` times in a row. From the third time on (tcp_retries1) the path may
    /// be a black hole for large segments: smaller ones are tried. True if so.
    func avoidBlackHole(at now: Instant) -> Bool {
        guard timeoutCount >= 3, mayLoseLargeSegments else { return false }
        let current = tcb.sendMSS + steadyOptions
        let next = current > baseSegmentSize ? baseSegmentSize : max(leastSegmentSize, current / 2)
        // Nothing large is outstanding: its size is not why it does not arrive.
        guard next < current, tcb.send.nxt - tcb.send.una > next - steadyOptions else { return false }
        if let sizeSearch {
            sizeSearch.vanished(to: next, at: now)
        } else {
            sizeSearch = SegmentSizeSearch(ceiling: current, working: next, at: now)
        }
        setSegmentSize(next)
        return true
    }

    /// A router has reported that segments of `size` are the largest that pass; `before` was in use.
    func noteReportedSize(_ size: Int, before: Int, at now: Instant) {
        if let sizeSearch {
            sizeSearch.limited(to: size, at: now)
        } else if mayLoseLargeSegments {
            // RFC 8201 4: after ten minutes larger ones may be tried again.
            let search = SegmentSizeSearch(ceiling: before, working: size, at: now)
            search.limited(to: size, at: now)
            sizeSearch = search
        }
    }

    // MARK: Probes

    /// What came of the wish to send a probe.
    enum ProbeDecision {
        /// Other data goes first, or alone.
        case notNow
        /// There will be room for it soon; nothing else leaves until then.
        case wait(HoldReason)
        case sent
    }

    /// RFC 4821 7.4: a probe leaves if the network is calm, and if there is enough behind it that its loss alone shows by
    /// duplicate ACKs. What a larger segment carries is data like any other.
    func probeSize(
        _ search: SegmentSizeSearch, unsent: Int, flight: Int, window: Int, at now: Instant,
        into out: inout Transmission
    ) -> ProbeDecision {
        let segmentSize = tcb.sendMSS
        guard episode == nil, retransmissionQueue.isClean, duplicates.count == 0, !hasBlocksToSend, sendUrgent == nil,
            window >= 11 * segmentSize, !(marks?.owesAnswer ?? false),
            let size = search.next(interval: configuration.segmentSizeProbeInterval, at: now)
        else { return .notNow }
        let length = size - steadyOptions
        let needed = length + 3 * segmentSize
        guard length > segmentSize, unsent >= needed, tcb.send.windowEdge - tcb.send.nxt >= needed else {
            return .notNow
        }
        guard flight + length <= window else { return flight > 0 ? .wait(.congestionWindow) : .notNow }
        // What the bucket does not hold it may owe.
        let wanted = min(length, paceQuantum)
        if paceRate > 0, pacedAllowance(at: now) < wanted {
            waitForPace(for: wanted)
            return .wait(.pacing)
        }
        let start = tcb.send.nxt
        segments(from: start, length: length, at: now, again: false, asOne: true, into: &out)
        search.sent(start..<(start + length), size: size)
        return .sent
    }

    /// SND.UNA has moved: the probe has arrived if it lies before it.
    func settleSizeProbe(_ search: SegmentSizeSearch, at now: Instant) {
        guard let probe = search.probe, tcb.send.una >= probe.range.upperBound else { return }
        setSegmentSize(search.succeeded(at: now))
    }

    /// Losses were found. RFC 4821 7.6.1: if the probe alone was lost, that is no sign of congestion: it counts as not lost,
    /// and is sent again in smaller segments.
    func excuseSizeProbe(_ search: SegmentSizeSearch, at now: Instant) {
        guard let probe = search.probe else { return }
        let count = probe.count
        guard retransmissionQueue.awaiting == count,
            retransmissionQueue.firstAwaiting(atMost: count) == probe.range
        else {
            search.gaveUp()
            return
        }
        rate.lost -= count
        search.failed(at: now)
    }
}
