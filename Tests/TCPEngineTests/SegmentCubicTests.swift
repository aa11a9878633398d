// CUBIC in whole segments, by itself.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite("CUBIC in whole segments") struct SegmentCubicTests {
    private static let size = 1000

    /// An ACK of `segments` at `milliseconds`.
    private func sample(
        _ segments: Int, at milliseconds: Int64, roundTrip: Int64 = 100, una: UInt64 = 1, nxt: UInt64 = 2,
        limited: Bool = true
    ) -> AckSample {
        AckSample(
            delivered: segments * Self.size, lost: 0, arrival: Instant(nanoseconds: milliseconds * 1_000_000),
            roundTrip: .milliseconds(roundTrip), rate: nil, totalDelivered: 0, totalLost: 0, inFlight: 0,
            isWindowLimited: limited, hasSelectiveAcks: true, una: StreamOffset(una), nxt: StreamOffset(nxt),
            segments: segments)
    }

    private func window(_ segments: Int) -> CongestionWindow {
        var window = CongestionWindow(segmentSize: Self.size, countsSegments: true)
        window.size = segments * Self.size
        return window
    }

    @Test(
        "a loss leaves 717/1024 of the window, rounded down, and two segments at least",
        arguments: [
            (10, 7), (20, 14), (7, 4), (2, 2), (1, 2), (100, 70),
        ])
    func reduction(before: Int, after: Int) {
        var window = window(before)
        var cubic = SegmentCubic()
        cubic.lossDetected(flight: 0, &window, at: .origin)
        #expect(window.size == after * Self.size)
        #expect(window.threshold == after * Self.size)
    }

    @Test("slow start takes every segment of an ACK up to the threshold; what is left counts for congestion avoidance")
    func slowStart() {
        var window = window(10)
        var cubic = SegmentCubic()
        cubic.acknowledged(sample(10, at: 100), &window)
        #expect(window.size == 20 * Self.size)
        window.threshold = 22 * Self.size
        cubic.acknowledged(sample(3, at: 200), &window)
        #expect(window.size == 22 * Self.size)
    }

    @Test("a window that is not used does not grow")
    func unused() {
        var window = window(10)
        var cubic = SegmentCubic()
        cubic.acknowledged(sample(10, at: 100, limited: false), &window)
        #expect(window.size == 10 * Self.size)
    }

    @Test("after a loss the window is back where it was after K, and never grows by more than half in a round trip")
    func recovers() {
        var window = window(100)
        window.threshold = Self.size
        var cubic = SegmentCubic()
        cubic.lossDetected(flight: 0, &window, at: .origin)
        // K = cbrt(30 / 0.4) = 4.2 s; whole segments are there a little before the curve.
        var now: Int64 = 1000
        var crossed: Int64?
        while crossed == nil, now < 20_000 {
            let before = window.size
            cubic.acknowledged(sample(window.size / Self.size, at: now), &window)
            #expect(window.size <= before + before / 2 + Self.size)
            if window.size >= 100 * Self.size { crossed = now - 1000 }
            now += 100
        }
        #expect((2_200...4_300).contains(crossed ?? 0), "\(crossed ?? 0) ms")
    }

    @Test("idle time does not count")
    func idle() {
        func grown(idle: Int64) -> Int {
            var window = window(100)
            window.threshold = Self.size
            var cubic = SegmentCubic()
            cubic.lossDetected(flight: 0, &window, at: .origin)
            cubic.acknowledged(sample(70, at: 1000), &window)
            let end = 1100 + idle
            cubic.resumed(afterIdle: .milliseconds(idle), at: Instant(nanoseconds: end * 1_000_000))
            cubic.acknowledged(sample(70, at: end), &window)
            return window.size
        }
        #expect(grown(idle: 0) == grown(idle: 60_000))
    }

    @Test("no time, window or ACK makes the arithmetic trap", arguments: [0, 1, 1 << 20, 1 << 40] as [Int64])
    func extremes(at milliseconds: Int64) {
        var window = window(2)
        window.threshold = Self.size
        var cubic = SegmentCubic()
        for segments in [1, 10, 1 << 20, 1 << 40] {
            cubic.acknowledged(sample(min(segments, 1 << 40), at: milliseconds), &window)
            cubic.lossDetected(flight: 0, &window, at: .origin)
            cubic.acknowledged(sample(min(segments, 1 << 40), at: milliseconds + 1000), &window)
        }
        #expect(window.size <= CongestionWindow.limit)
    }

    @Test("slow start ends when the round trips of a window of sixteen or more have grown by an eighth")
    func hyStartByDelay() {
        var window = window(16)
        var cubic = SegmentCubic()
        cubic.acknowledged(sample(1, at: 100, una: 10, nxt: 20, limited: false), &window)
        for index in 0..<9 {
            #expect(window.threshold == .max, "\(index)")
            cubic.acknowledged(
                sample(1, at: 1000 + Int64(index) * 10, roundTrip: 120, una: 21, nxt: 40, limited: false), &window)
        }
        #expect(window.threshold == 16 * Self.size)
    }

    @Test("slow start ends when ACKs come in a row for half of a round trip")
    func hyStartByTrain() {
        var window = window(16)
        var cubic = SegmentCubic()
        var last: Int64 = 0
        for time in Int64(1000)..<1060 where window.threshold == .max {
            cubic.acknowledged(sample(1, at: time, una: 21, nxt: 40, limited: false), &window)
            last = time
        }
        #expect(last == 1051)
        #expect(window.threshold == 16 * Self.size)
    }
}
