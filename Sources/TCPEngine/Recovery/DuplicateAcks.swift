// Loss by duplicate ACKs: fast retransmit (RFC 5681 3.2) and NewReno (RFC 6582), for peers without SACK.
import TCPSegments

/// Duplicate ACKs in a row, and what they say of the network.
struct DuplicateAcks {
    /// In a row.
    private(set) var count = 0
    /// Bytes that they say have left the network.
    private(set) var departed = 0

    /// RFC 5681 3.2: each means that a segment has arrived. That also lets new segments leave for the first two (RFC 3042).
    mutating func add(segmentSize: Int, limit: Int) {
        count = min(count + 1, 1 << 20)
        departed = min(departed + segmentSize, max(0, limit))
    }

    /// SND.UNA advanced by `bytes`. Returns how many of them duplicate ACKs had not told of.
    mutating func advance(by bytes: Int, segmentSize: Int) -> Int {
        count = 0
        // RFC 6582 3.2 (3): one segment filled the hole, the others had been told of.
        let known = min(departed, max(0, bytes - segmentSize))
        departed -= known
        return bytes - known
    }

    mutating func reset() { self = DuplicateAcks() }
}
