// TCP_CORK and MSG_MORE: a segment below full size waits for more, 200 ms at most (tcp(7)).
import TCPSegments

/// What a corked connection knows. Few connections ever are.
final class Cork {
    /// TCP_CORK is set.
    var isSet = false
    /// The last SEND said that more follows.
    var moreFollows = false
    /// Until when what is held back waits; nil: nothing is.
    var deadline: Instant?

    /// Linux: no longer than that.
    static var limit: TimeInterval { .milliseconds(200) }
}

extension Connection {
    /// TCP_CORK. What was held back leaves with the next poll after it is taken off.
    public func setCork(_ on: Bool) {
        if cork == nil { cork = Cork() }
        cork?.isSet = on
        releaseCork()
    }

    /// SEND whose user says that more follows (MSG_MORE), or does not.
    func noteMoreFollows(_ more: Bool) {
        if cork == nil {
            guard more else { return }
            cork = Cork()
        }
        cork?.moreFollows = more
        releaseCork()
    }

    /// A cork that holds nothing back any more needs no memory.
    private func releaseCork() {
        guard let cork, !cork.isSet, !cork.moreFollows else { return }
        self.cork = nil
    }

    /// True if a segment below full size has to wait.
    func corkHolds(at now: Instant) -> Bool {
        guard let cork else { return false }
        return cork.deadline.map { now < $0 } ?? true
    }

    /// A segment below full size waits: the timer bounds it.
    func waitForCork(at now: Instant) {
        guard let cork else { return }
        let deadline = cork.deadline ?? now + Cork.limit
        cork.deadline = deadline
        timers.arm(.pacing, at: deadline)
    }

    /// Data has left: what is held back from now on waits anew.
    @inline(__always) func noteCorkSent() { cork?.deadline = nil }
}
