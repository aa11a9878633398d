// Congestion marks on segments that arrive and leave, and what those that the peer tells of do to the window.
import TCPSegments

extension Connection {
    /// True if the link that is in use carries the marks.
    private var linkCarriesMarks: Bool { link?.properties.carriesECN ?? false }

    // MARK: Handshake

    /// The bits of a SYN that ask for marks.
    /// RFC 3168 6.1.1.1 and RFC 9768 3.1.4: a SYN that is sent again does not ask; what asked may have been dropped for that.
    var markRequest: ControlBits {
        linkCarriesMarks && tcb.send.nxt == .zero ? ECNNegotiation.request(configuration.ecn) : []
    }

    /// The bits of our SYN-ACK.
    var markAgreement: ControlBits {
        marks.map { ECNNegotiation.agreement($0.feedback, synCameWith: $0.synCodepoint) } ?? []
    }

    /// In SYN-SENT the peer's SYN has come, with or without the ACK of ours.
    func agreeOnMarks(_ bits: ControlBits, cameWith codepoint: ECNField) {
        guard linkCarriesMarks else { return }
        let answersUs = bits.contains(.ack)
        let feedback =
            answersUs
            ? ECNNegotiation.agreed(by: bits, configuration.ecn) : ECNNegotiation.answer(to: bits, configuration.ecn)
        guard feedback != .none else { return }
        let agreed = CongestionMarks(feedback, synCameWith: codepoint)
        marks = agreed
        guard answersUs, feedback == .accurate else { return }
        agreed.synAckCame(with: codepoint)
        checkPath(agreed, bits)
    }

    /// RFC 9768 3.2.2.3: SYN and SYN-ACK leave without a codepoint. If they arrive with one, the path is not to be trusted
    /// with others.
    private func checkPath(_ marks: CongestionMarks, _ bits: ControlBits) {
        if let codepoint = ECNNegotiation.codepoint(from: bits) { marks.handshakeArrived(with: codepoint) }
    }

    /// In SYN-RECEIVED the ACK of our SYN-ACK has come (RFC 9768 table 3).
    private func completeHandshake(_ marks: CongestionMarks, _ header: SegmentHeader) {
        if header.controlBits.ace == 0 {
            // Somebody on the way clears the bits: no feedback can be believed.
            marks.mayBeMarked = false
        } else {
            checkPath(marks, header.controlBits)
        }
    }

    // MARK: Arriving

    /// What the codepoint and the CWR bit of an acceptable segment say.
    func noteMarks(_ segment: ArrivingSegment) {
        guard let marks else { return }
        let count = segment.payload.count
        if count > 0, marks.feedback == .classic, segment.bits.contains(.cwr) {
            marks.peerHasReacted()
            // Linux: the peer's window may be tiny now.
            ackPolicy.demandNow()
        }
        // A link may have joined several segments to one.
        let full = max(1, tcb.receiveMSS - (timestamps.isOn ? 12 : 0))
        if marks.arrived(segment.ecn, segments: max(1, (count + full - 1) / full), payload: count) {
            ackPolicy.demandNow()
        }
    }

    /// What an acceptable ACK, which acknowledges `bytes` more, tells of marks; asked before the window grows by it.
    /// `completesHandshake`: it was the one that SYN-RECEIVED waited for.
    func takeFeedback(_ segment: ArrivingSegment, bytes: Int, completesHandshake: Bool, at now: Instant) {
        guard let marks else { return }
        let ack = tcb.send.una + max(0, bytes)
        // RFC 3168 6.1.2: the window does not grow by an ACK with ECE, nor before the data that met the mark is acknowledged.
        marks.holdsWindow = marks.hasJustReacted(una: ack)
        let isMarked: Bool
        switch marks.feedback {
        case .none: return
        // With SYN the bit agrees to marks and tells of none.
        case .classic: isMarked = bytes >= 0 && segment.bits.intersection([.ece, .syn]) == .ece
        case .accurate:
            if completesHandshake, segment.payload.count == 0, segment.header.options.sackBlocks.count == 0 {
                completeHandshake(marks, segment.header)
                return
            }
            // An older ACK has an older counter.
            guard bytes > 0 else { return }
            let count = marks.take(
                ace: segment.bits.ace, option: AccurateECNOption(segment.header.options.unknown),
                segments: (bytes + tcb.sendMSS - 1) / tcb.sendMSS, bytes: bytes)
            isMarked = count > 0
        }
        guard isMarked, marks.mayBeMarked else { return }
        if marks.feedback == .classic { marks.marksReported += 1 }
        marks.holdsWindow = true
        let flight = tcb.send.nxt - tcb.send.una
        guard flight > 0, episode == nil, marks.mayReact(to: ack) else { return }
        congestion.marked(flight: flight, at: now)
        marks.windowWasReduced(nxt: tcb.send.nxt, byMark: true)
    }

    // MARK: Leaving

    /// The bits and the codepoint of segments that carry `count` bytes; `again`: they were sent before.
    func mark(_ out: inout Transmission, count: Int, again: Bool, _ marks: CongestionMarks) {
        // RFC 3168 6.1.4 to 6.1.6: neither pure ACKs nor retransmissions nor probes of a closed window say that they may be
        // marked.
        guard count > 0, !again, tcb.send.wnd > 0 else { return }
        if marks.mayBeMarked { out.ecn = .capable0 }
        if marks.owesAnswer {
            // RFC 3168 6.1.2: on the first new data, and on one segment only: it leaves alone.
            marks.owesAnswer = false
            out.header.controlBits.insert(.cwr)
        }
    }
}
