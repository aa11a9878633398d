// What a user may change while the connection lives.
import TCPSegments

extension Connection {
    /// Keepalive (RFC 9293 3.8.4): on or off, idle time, interval and number of probes; see `ConnectionConfiguration`.
    public func setKeepAlive(
        _ on: Bool, idle: TimeInterval, interval: TimeInterval, probes: Int, at now: Instant
    ) {
        change {
            $0.keepAlive = on
            $0.keepAliveIdle = idle
            $0.keepAliveInterval = interval
            $0.keepAliveProbes = probes
        }
        armKeepAlive(at: now)
    }

    /// The user timeout (RFC 9293 3.10.1); nil: none.
    public func setUserTimeout(_ limit: TimeInterval?) {
        change { $0.userTimeout = limit }
        if state.isSynchronized { announceUserTimeout() }
    }

    /// Switches Nagle's algorithm off or on; what it held back leaves with the next poll.
    public func setNoDelay(_ noDelay: Bool) {
        self.noDelay = noDelay
        if noDelay, let writes {
            // Linux: what is corked leaves, once.
            writes.pushesOnce = true
            writes.letGo(pushing: true)
        }
    }

    /// Changes what `body` changes of the configuration. A smaller buffer keeps what it holds and takes no more until it fits.
    public func reconfigure(at now: Instant, _ body: (inout ConnectionConfiguration) -> Void) {
        let before = configuration
        change(body)
        let after = configuration
        if before.noDelay != after.noDelay { noDelay = after.noDelay }
        if before.keepAlive != after.keepAlive || before.keepAliveIdle != after.keepAliveIdle { armKeepAlive(at: now) }
        bufferSizesChanged(from: before, at: now)
        if before.userTimeoutOption != after.userTimeoutOption, state.isSynchronized { announceUserTimeout() }
        announceRoom()
        if before.congestionControl != after.congestionControl, state.isSynchronized {
            // TCP_CONGESTION: the other one goes on with the window as it is.
            timers.cancel(.pacing)
            congestion.choose(after.congestionControl, smoothed: roundTrip.smoothed, at: now)
        }
    }

    private func change(_ body: (inout ConnectionConfiguration) -> Void) {
        var values = configuration
        body(&values)
        shared = SharedConfiguration(values)
    }
}
