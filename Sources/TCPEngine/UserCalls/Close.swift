// CLOSE (RFC 9293 3.10.4), its half (shutdown), and ABORT (3.10.5).
import TCPSegments

extension Connection {
    /// CLOSE of the sending direction: FIN follows what is queued (RFC 9293 3.10.4).
    public func shutdownSending(at now: Instant) {
        guard !finQueued else { return }
        switch state {
        case .closed, .listen, .finWait1, .finWait2, .closing, .lastAck, .timeWait:
            return
        case .synSent, .synReceived:
            // RFC 9293 3.10.4: queued until the connection is established.
            finQueued = true
            endDeferral()
        case .established:
            finQueued = true
            transition(to: .finWait1)
        case .closeWait:
            finQueued = true
            transition(to: .lastAck)
        }
    }

    /// Nobody will read any more: what is unread and what comes is acknowledged and discarded.
    public func shutdownReceiving(at now: Instant) {
        receivingShutDown = true
        receiveBuffer.consume(receiveBuffer.count)
        considerWindowUpdate()
    }

    /// The user is done with both directions and goes away. Unread bytes, or bytes that come later, reset the connection
    /// (RFC 9293 3.10.4 leaves it open; RFC 2525 2.17): the peer must not believe that they were read.
    public func close(at now: Instant) {
        guard !isOrphan else { return }
        isOrphan = true
        switch state {
        case .closed, .listen:
            return
        case .synSent:
            // RFC 9293 3.10.4: delete the control block; a SYN that nobody has answered is not reset.
            finish(nil)
        case .synReceived where configuration.answersLikeFreeBSD && !isPassive:
            // FreeBSD: what is not up yet is just forgotten.
            finish(nil)
        case .synReceived, .established, .closeWait, .finWait1, .finWait2, .closing, .lastAck, .timeWait:
            if receiveBuffer.count > 0 && !receivingShutDown && configuration.resetsUnread {
                abort(at: now)
                return
            }
            shutdownSending(at: now)
            if state == .finWait2 { timers.arm(.finWait2, at: now + configuration.finWait2Timeout) }
        }
    }

    /// ABORT (RFC 9293 3.10.5): a reset where the peer knows of the connection, and the end.
    public func abort(at now: Instant) {
        switch state {
        case .closed, .timeWait:
            // Deviation: TIME-WAIT lasts its 2 MSL (RFC 1337); the user was told of the end already.
            return
        case .listen, .synSent:
            break
        case .closing, .lastAck:
            if configuration.answersLikeFreeBSD { sendReset(at: now) }
        case .synReceived, .established, .finWait1, .finWait2, .closeWait:
            sendReset(at: now)
        }
        receiveBuffer.discardAll()
        finish(.aborted)
    }

    /// A reset that the peer accepts: at SND.NXT, with an ACK.
    func sendReset(at now: Instant) {
        var header = blankHeader([.rst, .ack], at: tcb.send.nxt)
        header.acknowledgmentNumber = tcb.receive.nxt.wrapped(from: tcb.receive.irs)
        header.window = announceWindow()
        // RFC 7323 3.2: a reset should carry timestamps, too.
        if timestamps.isOn { header.options.timestamps = timestamps.option(at: now) }
        pendingReset = PendingReset(header)
    }
}
