// The algorithms of congestion control by themselves: curves, reductions, rounds, buckets.
import TCPSegments
import Testing

@testable import TCPEngine

private func sample(
    _ delivered: Int, at now: Instant, roundTrip: TimeInterval? = .milliseconds(100), una: Int = 1, nxt: Int = 2,
    limited: Bool = true
) -> AckSample {
    AckSample(
        delivered: delivered, lost: 0, arrival: now, roundTrip: roundTrip, rate: nil, totalDelivered: 0, totalLost: 0,
        inFlight: 0, isWindowLimited: limited, hasSelectiveAcks: true, una: StreamOffset(UInt64(una)),
        nxt: StreamOffset(UInt64(nxt)))
}

@Suite struct CubicTests {
    @Test("the cube root is exact", arguments: [0, 1, 7, 8, 26, 27, 999, 1_000_000_007, 1 << 40, 1 << 61] as [Int64])
    func cubeRoot(n: Int64) {
        let root = Cubic.cubeRoot(n)
        #expect(root * root * root <= n)
        #expect((root + 1) * (root + 1) * (root + 1) > n)
    }

    @Test("the curve is RFC 9438's: C t^3 segments, and K takes it up to the maximum")
    func curve() {
        // 0.4 * 10^3 segments after ten seconds.
        #expect(Cubic.growth(after: 10_000, segmentSize: 1000) == 400_000)
        #expect(Cubic.growth(after: -5_000, segmentSize: 1000) == -50_000)
        #expect(Cubic.timeToGrow(by: 400_000, segmentSize: 1000) == 10_000)
        #expect(Cubic.timeToGrow(by: 0, segmentSize: 1000) == 0)
        // The extremes saturate and do not trap.
        #expect(Cubic.growth(after: .max, segmentSize: 65_535) > CongestionWindow.limit)
        #expect(Cubic.growth(after: .min, segmentSize: 65_535) < 0)
        #expect(Cubic.timeToGrow(by: .max, segmentSize: 1) > 0)
    }

    @Test("after a loss the window is 0.7 of what it was, and is back at its maximum after K (RFC 9438 4.2, 4.6)")
    func recovers() {
        var window = CongestionWindow(segmentSize: 1000)
        window.size = 1_000_000
        window.threshold = 1
        var cubic = Cubic()
        var now = Instant(nanoseconds: 1_000_000_000)
        cubic.lossDetected(flight: 1_000_000, &window, at: now)
        #expect(window.size == 700_000)
        #expect(window.threshold == 700_000)
        // K = cbrt(300 / 0.4) = 9.086 s.
        var crossed: Instant?
        let begin = now
        while crossed == nil, now < begin + .seconds(20) {
            cubic.acknowledged(sample(window.size / 10, at: now), &window)
            if window.size >= 1_000_000 { crossed = now }
            now = now + .milliseconds(10)
        }
        let took = (crossed ?? .origin) - begin
        #expect(took > .milliseconds(8_700) && took < .milliseconds(9_400), "\(took)")
    }

    @Test("time in which the user does not fill the window does not count (RFC 9438 5.8)")
    func idle() {
        var window = CongestionWindow(segmentSize: 1000)
        window.size = 500_000
        var cubic = Cubic()
        var now = Instant(nanoseconds: 1_000_000_000)
        cubic.lossDetected(flight: 500_000, &window, at: now)
        cubic.acknowledged(sample(1000, at: now), &window)
        let before = window.size
        now = now + .seconds(60)
        cubic.acknowledged(sample(1000, at: now), &window)
        #expect(window.size - before < 1000, "a minute's growth in one ACK")
    }

    @Test("a second loss below the last maximum gives room to others (RFC 9438 4.7)")
    func fastConvergence() {
        var window = CongestionWindow(segmentSize: 1000)
        window.size = 1_000_000
        var cubic = Cubic()
        cubic.lossDetected(flight: 1_000_000, &window, at: .origin)
        cubic.lossDetected(flight: 700_000, &window, at: .origin)
        #expect(window.size == 490_000)
    }

    @Test("windows of huge segments stay two segments or more")
    func hugeSegments() {
        var window = CongestionWindow(segmentSize: 65_483)
        var cubic = Cubic()
        for _ in 0..<10 { cubic.lossDetected(flight: window.size, &window, at: .origin) }
        #expect(window.size == 2 * 65_483)
        #expect(window.threshold == 2 * 65_483)
    }
}

@Suite struct UndoTests {
    @Test(
        "a reduction that is taken back leaves no trace: the window goes on as if it had not been (RFC 4015 3.2, RFC 9438 4.9.2)",
        arguments: [CongestionControlAlgorithm.reno, .cubic], [false, true])
    func restored(algorithm: CongestionControlAlgorithm, byTimeout: Bool) {
        // In slow start, and in congestion avoidance after a loss.
        for isFirst in [true, false] {
            var now = Instant(nanoseconds: 1_000_000_000)
            var disturbed = CongestionControl(algorithm, segmentSize: 1000, at: now)
            var calm = disturbed
            func grow(_ count: Int, _ control: inout CongestionControl) {
                for i in 0..<count { control.acknowledged(sample(1000, at: now + .milliseconds(Int64(i)))) }
            }
            if !isFirst {
                grow(50, &calm)
                calm.lossDetected(flight: calm.window, at: now)
                grow(70, &calm)
                disturbed = calm
            }
            now = now + .milliseconds(100)
            let before = disturbed
            if byTimeout {
                disturbed.timedOut(flight: 50_000, isFirst: true, inFlight: 0, at: now)
            } else {
                disturbed.lossDetected(flight: disturbed.window, at: now)
            }
            #expect(disturbed.window < calm.window && disturbed.slowStartThreshold < calm.slowStartThreshold)
            grow(3, &disturbed)
            disturbed.restore(before)
            for _ in 0..<20 {
                #expect(disturbed.window == calm.window && disturbed.slowStartThreshold == calm.slowStartThreshold)
                grow(10, &disturbed)
                grow(10, &calm)
                now = now + .milliseconds(50)
            }
        }
    }
}

@Suite struct HyStartTests {
    /// Rounds of ten ACKs each with the given round trips in milliseconds; returns after which round slow start was over.
    private func rounds(_ roundTrips: [Int64]) -> (over: Int?, growth: [Int]) {
        var hyStart = HyStart()
        var growth: [Int] = []
        var position = 1
        for (index, roundTrip) in roundTrips.enumerated() {
            var sum = 0
            for ack in 0..<10 {
                position += 1
                let (bytes, isOver) = hyStart.acknowledged(
                    sample(
                        1000, at: .origin, roundTrip: .milliseconds(roundTrip), una: index * 100 + ack,
                        nxt: index * 100 + 100), segmentSize: 1000)
                sum += bytes
                if isOver { return (index, growth) }
            }
            growth.append(sum)
        }
        return (nil, growth)
    }

    @Test("round trips that do not grow leave slow start alone")
    func steady() { #expect(rounds(Array(repeating: 100, count: 30)).over == nil) }

    @Test("growth of an eighth begins the conservative phase, and five rounds later slow start is over (RFC 9406 4.2)")
    func grows() {
        let result = rounds([100, 100, 113, 113, 113, 113, 113, 113, 113])
        #expect(result.over == 7)
        // The eighth sample of the third round decides; from there on a quarter.
        #expect(result.growth[1] == 10_000)
        #expect(result.growth[3] == 2_500)
    }

    @Test("a round trip that shrinks again resumes slow start (RFC 9406 4.2)")
    func resumes() {
        let result = rounds([100, 100, 120, 100, 100, 100, 100, 100, 100, 100])
        #expect(result.over == nil)
        #expect(result.growth[5] == 10_000)
    }
}

@Suite struct PacerTests {
    @Test("the bucket gives its depth at once and then the rate", arguments: [1, 999, 125_000, 125_000_000, 1 << 40])
    func rate(bytesPerSecond: Int) {
        var pacer = Pacer()
        var now = Instant(nanoseconds: 1_000_000_000_000)
        var sent = 0
        let depth = 3000
        let begin = now
        for _ in 0..<1000 {
            let allowed = pacer.allowance(rate: bytesPerSecond, depth: depth, at: now)
            #expect(allowed <= depth)
            if allowed >= 1000 {
                pacer.spend(1000)
                sent += 1000
            }
            now = max(now, pacer.time(of: 1000, rate: bytesPerSecond))
        }
        let expected = proportion(bytesPerSecond, Int((now - begin).nanoseconds), nanosecondsPerSecond)
        #expect(sent <= expected + depth)
        // A nanosecond is lost for each wait at most.
        #expect(sent >= expected - 2000 - bytesPerSecond / 1_000_000)
    }

    @Test("products that do not fit saturate")
    func saturates() {
        #expect(proportion(.max, .max, 1) == .max)
        #expect(proportion(.max, 10, 10) == .max)
        #expect(proportion(-5, 10, 10) == 0)
        #expect(proportion(7, 3, 0) == 21)
    }
}

@Suite struct ProportionalRateReductionTests {
    @Test("the window comes down to the threshold by the end of recovery (RFC 6937bis)")
    func proportional() {
        // Twenty segments, one lost: nineteen ACKs.
        var reduction = ProportionalRateReduction(flightAtEntry: 20_000, window: 14_000)
        var inFlight = 19_000
        var sent = 0
        for _ in 0..<19 {
            inFlight -= 1000
            reduction.acknowledged(1000, inFlight: inFlight, threshold: 14_000, segmentSize: 1000, isSafe: false)
            while inFlight + 1000 <= reduction.window {
                inFlight += 1000
                sent += 1000
                reduction.sent(1000)
            }
        }
        #expect(inFlight <= 14_000 && inFlight >= 13_000)
        #expect(sent == 14_000 || sent == 13_000)
    }

    @Test("below the threshold: what was delivered, and a segment more if it is safe")
    func bounds() {
        var conservative = ProportionalRateReduction(flightAtEntry: 20_000, window: 14_000)
        conservative.sent(1000)
        conservative.acknowledged(2000, inFlight: 5_000, threshold: 10_000, segmentSize: 1000, isSafe: false)
        #expect(conservative.window == 7_000)
        var slowStart = ProportionalRateReduction(flightAtEntry: 20_000, window: 14_000)
        slowStart.sent(1000)
        slowStart.acknowledged(2000, inFlight: 5_000, threshold: 10_000, segmentSize: 1000, isSafe: true)
        #expect(slowStart.window == 8_000)
    }
}
