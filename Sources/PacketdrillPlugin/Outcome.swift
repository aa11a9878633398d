// What a call comes to.
import Glibc

/// A result, or an errno.
enum Outcome: Equatable {
    case value(Int)
    case failure(Int32)

    static let success = Outcome.value(0)
}

/// A call that may have to wait: how it is tried, and until when.
struct WaitingCall {
    /// Tries the call; nil: it has to wait.
    let attempt: () -> Outcome?
    /// What it comes to at its deadline, if it has one.
    var deadline: (at: Int64, outcome: Outcome)?

    init(deadline: (at: Int64, outcome: Outcome)? = nil, attempt: @escaping () -> Outcome?) {
        self.attempt = attempt
        self.deadline = deadline
    }
}

/// A call whose thread sleeps until somebody else has found its outcome.
final class BlockedCall {
    let call: WaitingCall
    /// Nanoseconds of the virtual clock.
    private(set) var ended: (outcome: Outcome, at: Int64)?

    init(_ call: WaitingCall) { self.call = call }

    /// Tries again at `now`; true if it has come to an end.
    func retry(at now: Int64) -> Bool {
        if let outcome = call.attempt() {
            ended = (outcome, now)
        } else if let deadline = call.deadline, deadline.at <= now {
            ended = (deadline.outcome, now)
        }
        return ended != nil
    }
}
