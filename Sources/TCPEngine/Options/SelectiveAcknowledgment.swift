// SACK blocks to send: what lies beyond a hole (RFC 2018), and what came twice (RFC 2883).
import TCPSegments

extension Connection {
    /// Remembers the text of `segment` that lies left of RCV.NXT.
    func noteDuplicate(of segment: ArrivingSegment) {
        // From the first byte of the stream: what lies before it was never received. Signed, as positions there wrap.
        let first = StreamOffset(1)
        let start = first + max(0, segment.dataStart - first)
        noteDuplicate(from: start, to: start + min(segment.finPosition - start, tcb.receive.nxt - start))
    }

    /// Remembers that [start, end) had been received before (RFC 2883 4).
    func noteDuplicate(from start: StreamOffset, to end: StreamOffset) {
        guard selectiveAcks, end - start > 0 else { return }
        duplicate = SequenceRange(
            start: start.wrapped(from: tcb.receive.irs), end: end.wrapped(from: tcb.receive.irs))
    }

    /// True if an ACK that leaves now carries blocks.
    var hasBlocksToSend: Bool { selectiveAcks && (reassembly != nil || !duplicate.isEmpty) }

    /// RFC 2018 3: three blocks fit beside the timestamps, four without.
    private var blockLimit: Int { timestamps.isOn ? 3 : 4 }

    /// How many blocks an ACK that leaves now carries.
    var blockCount: Int {
        guard selectiveAcks else { return 0 }
        return min(blockLimit, (duplicate.isEmpty ? 0 : 1) + (reassembly?.runCount ?? 0))
    }

    /// The blocks for an ACK that leaves now. What came twice is reported once, in front of the rest (RFC 2883 4).
    func takeBlocks() -> SACKBlocks {
        var blocks = SACKBlocks()
        if !duplicate.isEmpty {
            blocks.append(duplicate)
            // RFC 2883 4.1.1 and 4.1.2: a duplicate of what lies beyond a hole is followed by the block it lies in.
            duplicate = SequenceRange(start: SequenceNumber(0), length: 0)
        }
        reassembly?.forEachRecent(blockLimit - blocks.count) { range in
            blocks.append(
                SequenceRange(
                    start: range.lowerBound.wrapped(from: tcb.receive.irs),
                    end: range.upperBound.wrapped(from: tcb.receive.irs)))
        }
        return blocks
    }
}
