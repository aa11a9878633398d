// Connections that a listener announces before they exist, and that are whole connections from the SYN on.
import TCPSegments

/// A SYN for a listener that announces its connections. Nothing has been answered yet.
public final class PendingOpen {
    /// The ends, this host's first.
    public var tuple: FourTuple { halfOpen.tuple }
    /// The listener it came for.
    public var listener: Listener { halfOpen.listener }
    let halfOpen: HalfOpen

    init(_ halfOpen: HalfOpen) { self.halfOpen = halfOpen }
}

extension Host {
    /// The SYN counts against the listener's queue until the answer.
    func announce(_ halfOpen: HalfOpen) {
        halfOpen.listener.halfOpenCount += 1
        notices.append(.pending(PendingOpen(halfOpen)))
    }

    /// Makes the connection of an announced SYN: it is in SYN-RECEIVED, and its SYN-ACK leaves with the next poll. Nil if
    /// that has become impossible; the peer sends its SYN again.
    public func open(
        _ pending: PendingOpen, userData: AnyObject?, eventMask: EventMask, at now: Instant
    ) -> Connection? {
        let halfOpen = pending.halfOpen
        let listener = halfOpen.listener
        guard !listener.isClosed, isVacant(halfOpen), let link = links[halfOpen.link] else {
            forget(pending)
            return nil
        }
        let connection = connection(of: halfOpen, link: link, eventMask: eventMask)
        connection.userData = userData
        connection.listener = listener
        connection.isOpening = true
        listener.opening.append(connection)
        table.set(.connection(connection))
        connection.openPassively(halfOpen, synAckWasSent: false, link: effective(link.properties), at: now)
        touch(connection, at: now)
        return connection
    }

    /// Nobody has the ends, or only the TIME-WAIT that the SYN is to end.
    private func isVacant(_ halfOpen: HalfOpen) -> Bool {
        switch table[halfOpen.tuple] {
        case nil: return true
        case .timeWait(let record): return record === halfOpen.previous
        case .connection, .halfOpen: return false
        }
    }

    /// Drops an announced SYN as if it had been lost.
    public func forget(_ pending: PendingOpen) {
        pending.listener.halfOpenCount -= 1
        earlyBytes -= pending.halfOpen.text?.bytes.count ?? 0
    }

    /// Linux: the final ACK is ignored while the accept queue is full; the SYN-ACK's timer tries again.
    func defersAccept(_ connection: Connection, _ header: SegmentHeader) -> Bool {
        guard connection.isOpening, header.controlBits.contains(.ack), connection.listener?.acceptQueueIsFull ?? false
        else { return false }
        statistics.acceptsDeferred += 1
        return true
    }

    /// A connection that was made at the SYN is established: it may be accepted.
    func joinAcceptQueue(_ connection: Connection) {
        guard let listener = leaveOpening(connection) else { return }
        listener.acceptQueue.append(connection)
        notices.append(.incoming(listener))
    }

    /// The connection is not half-open any more; returns its listener if it was.
    @discardableResult
    func leaveOpening(_ connection: Connection) -> Listener? {
        guard connection.isOpening else { return nil }
        connection.isOpening = false
        guard let listener = connection.listener else { return nil }
        listener.halfOpenCount -= 1
        listener.opening.removeAll { $0 === connection }
        return listener
    }

    // MARK: Freezing

    /// Stops a connection: until `thaw` it is not polled and not timed. Its owner holds back what arrives for it.
    public func freeze(_ connection: Connection) { connection.isFrozen = true }

    /// Lets a frozen connection go on.
    public func thaw(_ connection: Connection, at now: Instant) {
        guard connection.isFrozen else { return }
        connection.isFrozen = false
        touch(connection, at: now)
    }
}
