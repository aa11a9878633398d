// When flows that share a path have fair shares: the rule, and that late comers get theirs.
import TCPEngine
import TCPSegments
import Testing

@testable import TCPSimulation

@Suite struct ConvergenceTests {
    /// What two flows deliver in each tenth of a second.
    struct Course: Sendable, CustomStringConvertible {
        let description: String
        /// How many samples, and what both flows deliver in each of them.
        let shares: [(samples: Int, first: Int, second: Int)]
        var lastStart = TimeInterval.zero
        let expected: Convergence
    }

    static let courses: [Course] = [
        Course(description: "fair from the beginning", shares: [(30, 50, 50)], expected: .after(.zero)),
        Course(
            description: "nearly fair counts: 100 to 64 is 0.953", shares: [(30, 100, 64)], expected: .after(.zero)),
        Course(
            description: "100 to 60 is 0.941 and does not count", shares: [(30, 100, 60)],
            expected: .notWithin(.seconds(3))),
        // The window from 1.2 s on has four tenths of unfair shares, and 820 to 460 is 0.926; from 1.3 s on 790 to 520 is 0.959.
        Course(
            description: "counted from the start of the window", shares: [(16, 100, 10), (40, 70, 70)],
            expected: .after(.milliseconds(1300))),
        Course(
            description: "curves that cross for a moment are not fair",
            shares: [(10, 100, 10), (10, 55, 55), (40, 10, 100)], expected: .notWithin(.seconds(6))),
        Course(
            description: "the time before the last flow does not count, nor does a fair window then",
            shares: [(30, 50, 50)], lastStart: .milliseconds(550), expected: .after(.milliseconds(50))),
        Course(
            description: "a flow that is not there yet has no share", shares: [(20, 100, 0), (40, 50, 50)],
            lastStart: .seconds(2), expected: .after(.zero)),
        Course(
            description: "too short to tell", shares: [(19, 50, 50)], expected: .notWithin(.milliseconds(1900))),
        Course(description: "nobody gets anything", shares: [(40, 0, 0)], expected: .notWithin(.seconds(4))),
    ]

    @Test("shares are fair where every window within the first fair one is fair as well", arguments: courses)
    func rule(course: Course) {
        var samples = [[0, 0]]
        for (count, first, second) in course.shares {
            for _ in 0..<count {
                let last = samples[samples.count - 1]
                samples.append([last[0] + first, last[1] + second])
            }
        }
        let found = Convergence.find(in: samples, every: .milliseconds(100), lastStart: course.lastStart)
        #expect(found == course.expected)
    }

    @Test("one flow has nobody to share with, and no samples tell nothing")
    func alone() {
        let samples = (0..<40).map { [$0] }
        #expect(Convergence.find(in: samples, every: .milliseconds(100), lastStart: .zero) == .alone)
        #expect(Convergence.find(in: [], every: .milliseconds(100), lastStart: .zero) == .alone)
    }

    @Test("a window is a second long, or twenty round trips", arguments: [(1, 100), (50, 100), (100, 200), (300, 600)])
    func windows(roundTrip: Int64, sample: Int64) {
        #expect(Convergence.sampleInterval(roundTrip: .milliseconds(roundTrip)) == .milliseconds(sample))
    }

    @Test("Jain's index of one flow out of n is 1/n, of equal ones 1, whatever their size")
    func jain() {
        #expect(Convergence.jain([5, 0, 0, 0]) == 250)
        #expect(Convergence.jain([1 << 50, 1 << 50]) == 1000)
        #expect(Convergence.jain([3, 1]) == 800)
        #expect(Convergence.jain([0, 0]) == 0)
    }

    @Test(
        "a flow that comes late to a full path gets its fair share",
        arguments: CongestionControlAlgorithm.allCases)
    func lateComer(algorithm: CongestionControlAlgorithm) throws {
        let cell = GoodputCell(
            algorithm, loss: 0, delay: .milliseconds(10), queueTenths: 10, rate: 10_000_000, flows: 2,
            apart: .seconds(5))
        let result = try cell.run(warmUp: .seconds(10), measured: .seconds(20), seed: 6)
        guard case .after(let time) = result.convergence else {
            Issue.record("\(result)")
            return
        }
        #expect(time < .seconds(10), "\(result)")
        #expect(result.fairness >= 900 && result.share >= 940, "\(result)")
    }
}
