// What BBR makes of its model: pace, quantum and window (draft-ietf-ccwg-bbr-06 5.6).
import TCPSegments

extension BBR {
    /// draft 5.6.2, InitPacingRate.
    func setInitialPace(_ window: inout CongestionWindow, roundTrip: TimeInterval) {
        window.pacingRate = proportion(
            proportion(window.size, Mode.startup.pacingGain, 100), nanosecondsPerSecond, Int(roundTrip.nanoseconds))
    }

    /// draft 5.6.2: `gain` percent of the bandwidth, less one; until the pipe was full once only upwards.
    func setPacingRate(_ window: inout CongestionWindow, gain: Int) {
        guard bandwidth > 0 else { return }
        let rate = max(1, proportion(proportion(bandwidth, gain, 100), 99, 100))
        if hasFilledPipe || rate > window.pacingRate { window.pacingRate = rate }
    }

    /// draft 5.6.3: a millisecond's worth, at most 64 KB, at least two segments.
    func setQuantum(_ window: inout CongestionWindow) {
        window.quantum = max(min(window.pacingRate / 1000, 65_536), 2 * window.segmentSize)
    }

    /// draft 5.6.4.6, SetCwnd.
    func setWindow(_ sample: AckSample, _ window: inout CongestionWindow) {
        let extra = max(extraAcked.current, extraAcked.previous)
        let most = quantized(product(bandwidth, gain: mode.windowGain, window) + extra, window)
        var size = window.size
        if hasFilledPipe {
            size = min(size + sample.delivered, most)
        } else if size < most || totalDelivered < window.initial {
            size += sample.delivered
        }
        size = max(size, minimumWindow(window))
        if mode == .probeRTT { size = min(size, probeWindow(window)) }
        window.size = min(size, bound(window), CongestionWindow.limit)
    }

    /// draft 5.6.4.7, BoundCwndForModel: what the path can hold as far as recent losses tell.
    private func bound(_ window: CongestionWindow) -> Int {
        let long: Int
        switch mode {
        case .down, .refill, .up: long = longInflight
        case .cruise, .probeRTT: long = inflightWithHeadroom(window)
        case .startup, .drain: long = Self.unset
        }
        return max(min(long, shortInflight), minimumWindow(window))
    }

    /// draft 5.3.3.9, InflightWithHeadroom: some of what the path can hold is left to others.
    func inflightWithHeadroom(_ window: CongestionWindow) -> Int {
        guard longInflight != Self.unset else { return Self.unset }
        let headroom = max(window.segmentSize, proportion(longInflight, Self.headroom, 100))
        return max(longInflight - headroom, minimumWindow(window))
    }
}
