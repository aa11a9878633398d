// The choice of ephemeral ports (RFC 6056).
import TCPSegments

/// Where the search for a free ephemeral port begins (RFC 6056 3.3.4, algorithm 4, double-hash).
struct EphemeralPorts {
    private var counters = [UInt64](repeating: 0, count: 64)
    private let range: ClosedRange<UInt16>

    init(range: ClosedRange<UInt16>) { self.range = range }

    /// The first ephemeral port that `isFree` accepts, beginning where the hash and its counter say.
    mutating func choose(offset: UInt64, slot: UInt64, _ isFree: (UInt16) -> Bool) -> UInt16? {
        let size = UInt64(range.upperBound - range.lowerBound) + 1
        let index = Int(slot % UInt64(counters.count))
        for _ in 0..<size {
            let port = range.lowerBound + UInt16((offset &+ counters[index]) % size)
            counters[index] &+= 1
            if isFree(port) { return port }
        }
        return nil
    }
}
