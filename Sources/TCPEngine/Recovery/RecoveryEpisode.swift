// What is kept while losses are being repaired, and what is needed to take the reaction to them back.
import TCPSegments

/// A recovery in progress: from the first loss until all that was outstanding then is acknowledged. It exists only as long.
final class RecoveryEpisode {
    enum Phase {
        /// Fast recovery: losses were detected by ACKs.
        case fast
        /// The retransmission timer expired.
        case timeout
    }

    let phase: Phase
    /// How much may be sent in fast recovery.
    var reduction: ProportionalRateReduction
    /// Whether F-RTO still tests if the timeout was spurious.
    var forward = ForwardRTO.off

    init(_ phase: Phase, reduction: ProportionalRateReduction) {
        self.phase = phase
        self.reduction = reduction
    }
}

/// The state before a reduction, until it is known to have been needed. It outlives its episode: duplicates are reported late.
final class ReductionRecord {
    let before: CongestionControl
    /// Bytes retransmitted since that no D-SACK has reported as duplicates.
    var unreported = 0
    /// What was retransmitted lies in here; nil: nothing was.
    var retransmitted: Range<StreamOffset>?
    /// The clock of the timestamps option at the first retransmission; 0: it does not tell.
    var firstRetransmission: UInt32 = 0
    /// When this is acknowledged no more reports are expected.
    var expiry: StreamOffset?

    init(before: CongestionControl) { self.before = before }
}
