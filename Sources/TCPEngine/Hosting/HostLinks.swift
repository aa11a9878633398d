// The host's links, and the order in which connections are polled for them.
import DequeModule
import TCPSegments

extension Host {
    /// A connection's turn on a link, in bytes.
    private static let turn = 128 * 1024

    /// Segments come over a link from now on, and what belongs to them goes out over it. Connections that wait for a link go
    /// on waiting: `addLink` says which one is theirs.
    public func openLink(_ id: LinkID, _ properties: LinkProperties, for addresses: AddressPair) {
        if links[id] == nil { links[id] = HostLink(id, properties, addresses) }
    }

    /// A link between `addresses` can be used. Connections that waited for it go on. Calling it again for a known link
    /// is fine: it answers another `.linkWanted`.
    public func addLink(_ id: LinkID, _ properties: LinkProperties, for addresses: AddressPair, at now: Instant) {
        let link = links[id] ?? HostLink(id, properties, addresses)
        links[id] = link
        guard let waiting = waitingForLink.removeValue(forKey: addresses) else { return }
        for connection in waiting {
            connection.isQueuedForLink = false
            connection.link = link
            if connection.tcb.send.nxt == .zero { connection.adopt(effective(properties)) }
            touch(connection, at: now)
        }
    }

    /// The link takes more, or does not. While it does not, its connections are not polled.
    public func setWritable(_ id: LinkID, _ writable: Bool) {
        guard let link = links[id], link.isWritable != writable else { return }
        link.isWritable = writable
        if writable { schedule(link) }
    }

    /// The link is gone. Its connections see loss, and ask for another one when they have something to send.
    public func removeLink(_ id: LinkID, at now: Instant) {
        guard let link = links.removeValue(forKey: id) else { return }
        link.isGone = true
        if link.isScheduled { linksWithWork.remove(link) }
        var stranded = link.ready
        link.ready = TurnQueue()
        while let connection = stranded.popFirst()?.takeUnretainedValue() {
            connection.isQueuedForLink = false
            touch(connection, at: now)
        }
    }

    /// The answer to `.linkWanted` if there is no link to be had: connecting sockets fail at once if the peer refused or
    /// cannot be reached; for everybody else what they had to send is lost.
    public func linkFailed(_ addresses: AddressPair, _ failure: LinkFailure, at now: Instant) {
        guard let waiting = waitingForLink.removeValue(forKey: addresses) else { return }
        for connection in waiting {
            connection.isQueuedForLink = false
            switch (failure, connection.state) {
            case (.refused, .synSent): connection.finish(.refused)
            case (.unreachable, .synSent): connection.finish(.unreachable)
            default:
                // A frozen one asks again when it thaws.
                if connection.isFrozen { continue }
                while connection.nextTransmission(at: now) != nil {}
            }
            settle(connection, at: now)
        }
    }

    /// Something about the connection changed: see to its events, its turn on the link, and its deadline.
    func touch(_ connection: Connection, at now: Instant) {
        guard !connection.isDetached, !connection.isFrozen else { return }
        if connection.hasEvents, !connection.isQueuedForEvents {
            connection.isQueuedForEvents = true
            connectionsWithEvents.append(connection)
        }
        if connection.isQueuedForLink, connection.needsNoLink, !(connection.link?.isWritable ?? false) {
            // Its turn may never come.
            leaveQueue(connection)
        }
        if !connection.isQueuedForLink { queueForLink(connection, at: now) }
        scheduleDeadline(of: connection)
    }

    private func queueForLink(_ connection: Connection, at now: Instant) {
        if connection.needsNoLink {
            if !connection.isQueuedForEvents { settle(connection, at: now) }
            return
        }
        if let link = connection.link, !link.isGone {
            connection.isQueuedForLink = true
            link.ready.append(connection)
            schedule(link)
            return
        }
        connection.link = nil
        guard connection.mayHaveOutput else {
            if !connection.isQueuedForEvents { settle(connection, at: now) }
            return
        }
        if connection.state == .closed {
            // A reset that has no link any more is lost like any segment.
            connection.pendingReset = nil
            if !connection.isQueuedForEvents { settle(connection, at: now) }
            return
        }
        let addresses = connection.tuple.addresses
        if waitingForLink[addresses] == nil { notices.append(.linkWanted(addresses, fresh: false)) }
        waitingForLink[addresses, default: Deque()].append(connection)
        connection.isQueuedForLink = true
    }

    /// It waits neither for its turn on a link nor for a link any more.
    func leaveQueue(_ connection: Connection) {
        guard connection.isQueuedForLink else { return }
        connection.isQueuedForLink = false
        if let link = connection.link {
            link.ready.remove(connection)
        } else {
            let addresses = connection.tuple.addresses
            waitingForLink[addresses]?.removeAll { $0 === connection }
            if waitingForLink[addresses]?.isEmpty ?? false { waitingForLink[addresses] = nil }
        }
    }

    private func schedule(_ link: HostLink) {
        guard link.isWritable, !link.isScheduled, !link.isGone, !link.ready.isEmpty else { return }
        link.isScheduled = true
        linksWithWork.append(link)
    }

    /// The next output, or nil when there is nothing left to do at `now`. Events of a connection come before the segments
    /// that they caused; connections take turns of about 128 KB on a link.
    public func poll(at now: Instant) -> Output? {
        if !departed.isEmpty { departed.removeAll() }
        if let notice = notices.popFirst() { return notice }
        while let connection = connectionsWithEvents.first {
            if !connection.isFrozen, let event = connection.nextEvent() {
                if connection.isOpening, case .established = event { joinAcceptQueue(connection) }
                return .event(connection, event)
            }
            connectionsWithEvents.removeFirst()
            connection.isQueuedForEvents = false
            if !connection.isQueuedForLink { settle(connection, at: now) }
        }
        while let link = linksWithWork.first {
            var transmission = Transmission.blank
            let turn = link._withUnsafeGuaranteedRef { nextTurn(on: $0, at: now, into: &transmission) }
            switch turn {
            case .ended: continue
            case .events: return poll(at: now)
            case .transmits(let tuple, let id): return .transmit(transmission, tuple, on: id)
            }
        }
        // Settling a connection may have ended it: its last event is due now.
        return connectionsWithEvents.isEmpty ? nil : poll(at: now)
    }

    /// What came of the turn of the first connection on a link.
    private enum Turn {
        case transmits(FourTuple, LinkID)
        /// It had nothing to send, or there is none.
        case ended
        /// It had nothing to send, and events are to be told first.
        case events
    }

    private func nextTurn(on link: HostLink, at now: Instant, into transmission: inout Transmission) -> Turn {
        guard link.isWritable, !link.isGone, let first = link.ready.first else {
            linksWithWork.popFirst()
            link.isScheduled = false
            return .ended
        }
        return first._withUnsafeGuaranteedRef { takeTurn($0, on: link, at: now, into: &transmission) }
    }

    private func takeTurn(
        _ connection: Connection, on link: HostLink, at now: Instant, into transmission: inout Transmission
    ) -> Turn {
        if connection.linkID == link.id, !connection.isFrozen,
            connection.nextTransmission(at: now, into: &transmission)
        {
            connection.polledBytes += transmission.payload.count + 64
            transmission.differentiatedServices = connection.configuration.differentiatedServices(
                towards: connection.tuple.remote.address)
            if connection.isSilent {
                // An ACK was all it had to say: to ask again would be half of what an ACK costs.
                leaveTurn(connection, on: link)
                scheduleDeadline(of: connection)
            } else if connection.polledBytes >= Self.turn {
                connection.polledBytes = 0
                link.ready.popFirst()
                link.ready.append(connection)
                linksWithWork.popFirst()
                linksWithWork.append(link)
            }
            return .transmits(connection.tuple, link.id)
        }
        leaveTurn(connection, on: link)
        if connection.isFrozen { return .ended }
        if connection.linkID != link.id {
            touch(connection, at: now)
        } else if connection.hasEvents {
            scheduleDeadline(of: connection)
            connection.isQueuedForEvents = true
            connectionsWithEvents.append(connection)
            return .events
        } else {
            settle(connection, at: now)
        }
        return .ended
    }

    /// The connection, which is the first on its link, has nothing more to send.
    private func leaveTurn(_ connection: Connection, on link: HostLink) {
        link.ready.popFirst()
        connection.isQueuedForLink = false
        connection.polledBytes = 0
    }

    /// Nothing is left to do for the connection now: arm its deadline, or let it go if it has ended.
    func settle(_ connection: Connection, at now: Instant) {
        guard !connection.isDetached, !connection.isFrozen else { return }
        precondition(!connection.isQueuedForLink, "a connection settles before its turn is over")
        if connection.hasEvents {
            touch(connection, at: now)
            return
        }
        switch connection.state {
        case .closed:
            detach(connection)
            leaveOpening(connection)
            // A new connection may have taken the place of one in TIME-WAIT.
            if case .connection(let current) = table[connection.tuple], current === connection {
                table.remove(connection.tuple)
            }
        case .timeWait where connection.watched.isEmpty:
            // RFC 9293 3.6.1 asks for the state, not for the buffers: a record replaces the connection.
            detach(connection)
            let record = TimeWaitRecord(connection, link: connection.link?.id ?? LinkID(0), at: now)
            table.set(.timeWait(record))
            deadlines.add(.timeWait(record), at: record.deadline.nanoseconds)
            connection.emit(.closed(nil))
            connection.isQueuedForEvents = true
            connectionsWithEvents.append(connection)
        case .listen, .synReceived, .synSent, .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck,
            .timeWait:
            scheduleDeadline(of: connection)
        }
    }

    /// The connection is about to leave the table, which kept it alive: it leaves its turn, too, and lives until the next poll.
    func detach(_ connection: Connection) {
        leaveQueue(connection)
        connection.isDetached = true
        departed.append(connection)
    }

    func scheduleDeadline(of connection: Connection) {
        let next = connection.timers.nextNanoseconds
        guard next < connection.scheduledDeadline else { return }
        connection.scheduledDeadline = next
        deadlines.add(.connection(connection), at: next)
    }

    /// Does what is due at `now`: timers of connections, retransmissions of SYN-ACKs, ends of TIME-WAIT.
    public func handleTimeout(at now: Instant) {
        while let (target, at) = deadlines.takeDue(at: now) {
            switch target {
            case .connection(let connection):
                if connection.scheduledDeadline == at { connection.scheduledDeadline = .max }
                guard !connection.isDetached, !connection.isFrozen else { continue }
                let timeouts = connection.timeoutCount
                connection.handleTimeout(at: now)
                if connection.hasMoved, connection.timeoutCount > timeouts { leaveLink(connection) }
                touch(connection, at: now)
            case .halfOpen(let halfOpen):
                synAckTimedOut(halfOpen, at: now)
            case .timeWait(let record):
                guard case .timeWait(let current) = table[record.tuple], current === record else { continue }
                if record.deadline <= now {
                    table.remove(record.tuple)
                } else {
                    deadlines.add(.timeWait(record), at: record.deadline.nanoseconds)
                }
            }
        }
    }

    /// Nobody answers on the link to which a segment has led the connection: perhaps the segment was not the peer's, whose
    /// numbers somebody knew. It asks anew which link leads to the peer.
    private func leaveLink(_ connection: Connection) {
        connection.hasMoved = false
        if connection.isQueuedForLink, let link = connection.link {
            link.ready.remove(connection)
            connection.isQueuedForLink = false
        }
        connection.link = nil
    }

    /// Sentences about what does not hold of the connections, and the liveness rule; empty if all is well.
    public func invariantViolations(at now: Instant) -> [String] {
        connections.flatMap { $0.invariantViolations(at: now) }
    }
}

extension Connection {
    /// True if a poll would certainly yield nothing and change nothing.
    var isSilent: Bool {
        sendBuffer.count == 0 && !hasEvents && state.isSynchronized && state != .timeWait && !mayHaveOutput
    }

    /// True if it has ended and owes nobody a reset.
    var needsNoLink: Bool { state == .closed && pendingReset == nil }

    /// True if a poll for a transmission might yield one.
    var mayHaveOutput: Bool {
        pendingReset != nil || synPending || probePending || keepAlivePending || tailProbePending
            || retransmissionQueue.awaiting > 0
            || ackPolicy.urgency == .now
            || (sendBuffer.end > tcb.send.nxt && (state.isSynchronized || sendsBeforeHandshakeEnds))
            || (finQueued && !finWasSent)
    }
}
