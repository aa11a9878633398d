// The SACK blocks of an ACK: what they select, and what they report as received twice.
import TCPSegments

extension Connection {
    /// Takes the blocks of an ACK whose number is `ack` (RFC 2018 5). Returns what the first block reports as received twice,
    /// if it does (RFC 2883 4). Blocks that make no sense are ignored.
    func takeSelections(
        _ blocks: SACKBlocks, upTo ack: StreamOffset, _ delivery: inout Delivery
    ) -> Range<StreamOffset>? {
        let una = tcb.send.una
        let limit = max(256, 4 * (tcb.send.nxt - una) / tcb.sendMSS)
        var duplicate: Range<StreamOffset>?
        for i in 0..<blocks.count {
            let start = StreamOffset.unwrap(blocks[i].start, from: tcb.send.iss, near: una)
            let end = start + Int(blocks[i].length)
            // Differences are signed: what lies before the stream's beginning is simply old.
            guard blocks[i].length > 0, end - tcb.send.nxt <= 0, start - una > -Int(tcb.send.maximumWindow) else {
                continue
            }
            if i == 0, start - ack < 0 || isInside(blocks[0], blocks) {
                if start - StreamOffset(1) >= 0 { duplicate = start..<end }
                continue
            }
            if end - una > 0 {
                retransmissionQueue.select(
                    from: start - una < 0 ? una : start, to: end, maximumCount: limit, &delivery)
            }
        }
        return duplicate
    }

    /// RFC 2883 4.1.2: the first block is part of the second.
    private func isInside(_ block: SequenceRange, _ blocks: SACKBlocks) -> Bool {
        guard blocks.count > 1 else { return false }
        return blocks[1].start.distance(to: block.start) >= 0 && block.end.distance(to: blocks[1].end) >= 0
    }
}
