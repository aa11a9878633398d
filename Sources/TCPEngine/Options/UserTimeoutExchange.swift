// The user timeout, and what the two ends tell each other of theirs (RFC 5482).
import TCPSegments

/// What a connection does about the User Timeout option (RFC 5482 3.1).
public struct UserTimeoutRules: Sendable, Hashable {
    /// What the peer is told: ADV_UTO.
    public var announced: TimeInterval
    /// What a peer may move the user timeout to: L_LIMIT and U_LIMIT. The lower one should be no less than 100 s (R2 of
    /// RFC 1122).
    public var limits: ClosedRange<TimeInterval>

    /// Tells the peer of `announced`, and believes it within `limits`.
    public init(announced: TimeInterval, limits: ClosedRange<TimeInterval> = .seconds(100) ... .seconds(3600)) {
        self.announced = announced
        self.limits = limits
    }

    /// RFC 5482 3.1: USER_TIMEOUT = min(U_LIMIT, max(ADV_UTO, REMOTE_UTO, L_LIMIT)).
    func adopted(_ remote: TimeInterval) -> TimeInterval {
        min(limits.upperBound, max(announced, remote, limits.lowerBound))
    }
}

/// What a connection that uses the option knows more than others. Few do.
final class UserTimeoutExchange {
    /// REMOTE_UTO.
    var remote: TimeInterval?
    /// The next segment with ACK and without SYN carries the option: the first one, and the first one after a change.
    var isDue = true
}

extension Connection {
    /// How long data may stay unacknowledged: what the user said, else what came of the peer's option (RFC 5482 3.1: an
    /// application that sets it makes it unchangeable); nil: the retransmission limits alone decide.
    var userTimeout: TimeInterval? {
        if let chosen = configuration.userTimeout { return chosen }
        guard let remote = userTimeoutExchange?.remote else { return nil }
        return configuration.userTimeoutRules?.adopted(remote)
    }

    /// The option for a SYN or SYN-ACK.
    var userTimeoutOption: UserTimeoutOption? { configuration.userTimeoutOption }

    /// A segment has come with the option.
    func takeUserTimeout(_ option: UserTimeoutOption) {
        guard configuration.userTimeoutRules != nil else { return }
        exchange.remote = option.time
    }

    /// True if the next segment with ACK carries the option.
    @inline(__always) var isUserTimeoutDue: Bool { userTimeoutExchange?.isDue ?? false }

    /// The handshake has ended (RFC 5482 3.1: the first segment without SYN has the option, too), or the value has changed.
    func announceUserTimeout() {
        // A tiny segment has no room for it.
        guard configuration.userTimeoutRules != nil, tcb.sendMSS >= 64 else { return }
        exchange.isDue = true
    }

    private var exchange: UserTimeoutExchange {
        if let userTimeoutExchange { return userTimeoutExchange }
        let made = UserTimeoutExchange()
        userTimeoutExchange = made
        return made
    }

    /// Adds the option to a segment that is about to leave.
    func addUserTimeout(to options: inout TCPOptions) {
        userTimeoutExchange?.isDue = false
        if let option = userTimeoutOption { options.append(option) }
    }
}

extension ConnectionConfiguration {
    /// RFC 5482 3.1: ADV_UTO is what the user chose, if it chose something.
    var userTimeoutOption: UserTimeoutOption? {
        userTimeoutRules.map { UserTimeoutOption(userTimeout ?? $0.announced) }
    }
}
