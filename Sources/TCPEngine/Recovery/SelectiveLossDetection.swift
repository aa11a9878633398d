// Loss by counting: the rule of RFC 6675 for peers with SACK, where RACK is switched off.
import TCPSegments

extension RetransmissionQueue {
    /// RFC 6675 4, IsLost: more than two segments' worth of bytes above it were selected. A retransmission is not judged:
    /// only the timer finds out that it was lost.
    mutating func detectLosses(segmentSize: Int, _ onLoss: (SentRange, Int) -> Void) {
        var above = 0
        for index in ranges.indices.reversed() {
            let range = ranges[index]
            let count = range.end - start(of: index)
            if range.marks.contains(.selected) {
                above += count
            } else if above > 2 * segmentSize, range.marks.isDisjoint(with: [.lost, .repeated]) {
                markLost(index, onLoss)
            }
        }
    }
}
