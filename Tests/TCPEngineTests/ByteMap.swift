// A receiver of the simplest kind, byte by byte, to compare ours with.
import TCPSegments

/// What a receiver must have made of the segments it was given: a map from position to byte. Positions count from IRS.
struct ByteMap {
    private var bytes: [Int: UInt8] = [:]
    /// RCV.NXT, and the right edge of the window.
    private(set) var next = 1
    var edge: Int
    private(set) var stream: [UInt8] = []
    /// Where the stream ends, once a FIN said so.
    private var fin: Int?
    private(set) var isClosed = false
    /// When each position beyond RCV.NXT last became part of what a segment brought.
    private var touched: [Int: Int] = [:]
    private var clock = 0
    /// What the last segment brought although it was there already; the first run of it.
    private(set) var duplicate: Range<Int>?

    init(edge: Int) { self.edge = edge }

    /// A segment of text at `start`, perhaps with FIN. The first to bring a byte counts.
    mutating func receive(_ text: [UInt8], at start: Int, fin hasFin: Bool) {
        duplicate = nil
        let end = start + text.count
        let length = text.count + (hasFin ? 1 : 0)
        // RFC 9293 3.10.7.4, first; see the deviations about windows that are covered whole, and closed.
        guard length > 0, start + length > next, start < edge || start == next else {
            noteLeft(start, end)
            return
        }
        if hasFin, fin == nil, !isClosed, end >= next, end <= edge, bytes.keys.allSatisfy({ $0 < end }) { fin = end }
        guard !isClosed else { return }
        let limit = min(edge, fin ?? edge)
        clock += 1
        var seen: Range<Int>?
        noteLeft(start, end)
        seen = duplicate
        let first = max(start, next)
        let stop = min(end, limit)
        if first < stop {
            let wasHeld = (first..<stop).filter { bytes[$0] != nil }
            if first > next, let from = wasHeld.first {
                // One run, as far as it reaches without a gap.
                var to = from
                while to < stop, bytes[to] != nil { to += 1 }
                seen = from..<to
            }
            for position in first..<stop {
                // A segment that continues the stream counts whole; ahead of a hole the first to come counts.
                if bytes[position] == nil || first == next { bytes[position] = text[position - start] }
                touched[position] = clock
            }
        }
        duplicate = seen
        while let byte = bytes.removeValue(forKey: next) {
            stream.append(byte)
            next += 1
        }
        if let fin, next == fin {
            next += 1
            isClosed = true
            bytes = [:]
        }
    }

    /// What lies left of RCV.NXT, from the stream's first byte on, was there before.
    private mutating func noteLeft(_ start: Int, _ end: Int) {
        if max(start, 1) < min(end, next) { duplicate = max(start, 1)..<min(end, next) }
    }

    /// The runs of bytes beyond RCV.NXT, the one that changed last first (RFC 2018 4).
    var runs: [Range<Int>] {
        var all: [(range: Range<Int>, newest: Int)] = []
        for position in bytes.keys.sorted() {
            let newest = touched[position] ?? 0
            if let last = all.last, last.range.upperBound == position {
                all[all.count - 1] = (last.range.lowerBound..<(position + 1), max(last.newest, newest))
            } else {
                all.append((position..<(position + 1), newest))
            }
        }
        return all.sorted { $0.newest > $1.newest }.map(\.range)
    }
}
