// May new data be sent now, and how much? One pure function with its reason.

/// Why nothing is sent.
public enum HoldReason: Sendable, Equatable {
    case nothingToSend
    /// The peer's window is closed or too small for another segment.
    case window
    /// The congestion window is used up.
    case congestionWindow
    /// The next segment's time has not come yet.
    case pacing
    /// Nagle's algorithm waits for an ACK or for more data (RFC 9293 3.7.4).
    case nagle
    /// The user has said that more follows (TCP_CORK, MSG_MORE).
    case corked
    /// What the window allows would be a silly little segment (RFC 9293 3.8.6.2.1).
    case sillyWindow
    /// The connection is not up yet, or has ended.
    case state
}

/// The decision about new data.
enum SendDecision: Equatable {
    /// Send this many bytes: whole segments, or one smaller one that ends the queue.
    case send(Int)
    case hold(HoldReason)

    /// What the decision depends on, in bytes.
    struct Situation {
        /// Queued and never sent.
        var unsent: Int
        /// What the peer's window leaves, and the largest window it ever announced.
        var usableWindow: Int
        var maximumWindow: Int
        /// What the congestion window leaves; `inFlight` is what is in the network.
        var congestionRoom: Int
        var inFlight: Int
        var segmentSize: Int
        /// The most that one transmission may carry.
        var batchLimit: Int
        /// What the pace lets go now; Int.max if there is none.
        var pacedAllowance: Int
        /// The queue ends with FIN, or Nagle's algorithm is off.
        var sendsSmallSegments: Bool
        /// A segment below full size is unacknowledged (Minshall).
        var smallSegmentOutstanding: Bool
        /// The user has said that more follows.
        var moreFollows = false
    }

    static func decide(_ s: Situation) -> SendDecision {
        guard s.unsent > 0 else { return .hold(.nothingToSend) }
        guard s.usableWindow > 0 else { return .hold(.window) }
        let allowed = min(s.unsent, s.usableWindow)
        // An empty network takes one segment, whatever the pace: it may be larger than what a slow pace ever saves up for.
        guard s.pacedAllowance >= min(allowed, s.segmentSize) || s.inFlight == 0 else { return .hold(.pacing) }
        if allowed >= s.segmentSize {
            var room = min(allowed, s.congestionRoom, max(s.batchLimit, s.segmentSize), s.pacedAllowance)
            if room < s.segmentSize {
                // An empty network takes one segment, whatever the congestion window says.
                guard s.inFlight == 0 else { return .hold(.congestionWindow) }
                room = s.segmentSize
            }
            return .send(room / s.segmentSize * s.segmentSize)
        }
        guard s.congestionRoom > 0 || s.inFlight == 0 else { return .hold(.congestionWindow) }
        if allowed == s.unsent {
            if s.moreFollows { return .hold(.corked) }
            // RFC 9293 3.7.4 with Minshall's refinement: only a small segment in flight holds back another one.
            if s.sendsSmallSegments || !s.smallSegmentOutstanding { return .send(allowed) }
            return .hold(.nagle)
        }
        // RFC 9293 3.8.6.2.1 (3): half of the largest window the peer ever had is worth a segment.
        if allowed >= max(1, s.maximumWindow / 2) { return .send(allowed) }
        return .hold(.sillyWindow)
    }
}
