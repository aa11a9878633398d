// How long flows that share a path need until each has its fair share.
import TCPSegments

/// When the shares of a number of flows became fair, counted from the start of the one that came last. Integers only.
public enum Convergence: Sendable, Equatable {
    /// There is one flow, or none.
    case alone
    /// So long after the last flow began.
    case after(TimeInterval)
    /// Not in the time that was watched, which was so long.
    case notWithin(TimeInterval)

    /// Jain's index from which on shares count as fair, in thousandths: two flows may differ by 37 %.
    static let fair = 950
    /// The samples in a window.
    static let windowLength = 10

    /// A window lasts a second, or twenty round trips of the path if they take longer: shorter ones show single reductions.
    static func sampleInterval(roundTrip: TimeInterval) -> TimeInterval {
        max(.seconds(1), roundTrip * 20) / Int64(windowLength)
    }

    /// Jain's index, (sum x)^2 / (n sum x^2), in thousandths; 0 if nobody got anything. Shares below 2^50 do not overflow.
    static func jain(_ shares: [Int]) -> Int {
        let sum = shares.reduce(Int128(0)) { $0 + Int128($1) }
        let squares = shares.reduce(Int128(0)) { $0 + Int128($1) * Int128($1) }
        return squares > 0 ? Int(sum * sum * 1000 / (Int128(shares.count) * squares)) : 0
    }

    /// From what each flow had delivered at each sample, which were taken `interval` apart. The shares have become fair at the
    /// beginning of the first window in which Jain's index is 0.95 or more, and is so as well in every window that begins
    /// within it: that it was so once, where two curves crossed, does not count. `lastStart` is when the last flow began,
    /// seen from the first sample.
    static func find(in samples: [[Int]], every interval: TimeInterval, lastStart: TimeInterval) -> Convergence {
        guard let flows = samples.first?.count, flows > 1 else { return .alone }
        var fairWindows = 0
        let windows = max(0, samples.count - windowLength)
        for begin in 0..<windows where interval * Int64(begin) >= lastStart {
            let shares = zip(samples[begin + windowLength], samples[begin]).map { $0 - $1 }
            fairWindows = jain(shares) >= fair ? fairWindows + 1 : 0
            if fairWindows > windowLength {
                return .after(interval * Int64(begin - windowLength) - lastStart)
            }
        }
        return .notWithin(max(.zero, interval * Int64(max(0, samples.count - 1)) - lastStart))
    }
}
