// Was the timeout spurious? F-RTO (RFC 5682 3.1, the SACK-enhanced form).
import TCPSegments

/// Where F-RTO stands.
enum ForwardRTO: Equatable {
    /// Not testing.
    case off
    /// Step 2: the first segment was retransmitted; its ACK is awaited.
    case awaitingFirstAck
    /// Step 2.b: new data instead of retransmissions shows which ACKs come back.
    case sendingNewData

    /// What an ACK after the timeout means; true if the timeout was spurious.
    /// - Parameters:
    ///   - originalArrived: data that was sent once, before the timeout, was acknowledged or selected: it had been late.
    ///   - advanced: SND.UNA moved.
    ///   - isDuplicate: the ACK is a duplicate, or selects something.
    ///   - canSendNewData: there is unsent data and a window for it.
    mutating func take(originalArrived: Bool, advanced: Bool, isDuplicate: Bool, canSendNewData: Bool) -> Bool {
        guard self != .off else { return false }
        // Step 3.b.
        if originalArrived {
            self = .off
            return true
        }
        switch self {
        case .off:
            break
        case .awaitingFirstAck:
            // Step 2.a: a duplicate ACK means that it was loss. Step 2.b: else new data tells.
            if isDuplicate { self = .off } else if advanced { self = canSendNewData ? .sendingNewData : .off }
        case .sendingNewData:
            // Step 3.a: loss.
            if isDuplicate || advanced { self = .off }
        }
        return false
    }
}
