// What happens at a breakpoint: only the connection that stands there waits.
import NetworkLayer
import TCPEngine
import TCPSegments

// The outputs of a watched connection are played one by one. While one of them awaits the debugger's answer, the host does
// not poll or time the connection, and what arrives for it queues up here; user calls wait with their owners.
extension SocketLayer {
    /// What breakpoints did to segments.
    public var breakpointStatistics: BreakpointStatistics { breakpoints.statistics }

    // MARK: Watching

    /// Sets breakpoints on a socket, and on the connections of a listener for which the debugger says so.
    public func watch(_ socket: Socket, for events: BreakpointEvents, by debugger: any Debugger) throws(SocketError) {
        guard socket.monitor == nil else { throw .isMonitored }
        guard !socket.hasEnded else { throw .badSocket }
        let queue = breakpoints.queues[ObjectIdentifier(debugger)] ?? DebuggerQueue(debugger)
        breakpoints.queues[ObjectIdentifier(debugger)] = queue
        watch(socket, for: events, in: queue)
    }

    private func watch(_ socket: Socket, for events: BreakpointEvents, in queue: DebuggerQueue) {
        let monitor = Monitor(socket, queue, events)
        queue.monitors.append(monitor)
        socket.monitor = monitor
        refreshEventMask(of: socket)
        if let connection = socket.connection { converse(socket, connection.tuple) }
    }

    /// Removes a socket's breakpoints. A stop that the debugger is being asked about ends with its answer, others end now.
    func unwatch(_ socket: Socket, at now: Instant) {
        guard let monitor = socket.monitor else { return }
        socket.monitor = nil
        monitor.queue.monitors.removeAll { $0 === monitor }
        refreshEventMask(of: socket)
        let asked = monitor.queue.isAsked ? monitor.queue.stops.first : nil
        let ending = monitor.queue.stops.filter { $0.monitor === monitor && $0 !== asked }
        monitor.queue.stops.removeAll { $0.monitor === monitor && $0 !== asked }
        for stop in ending { resolve(stop, .none, at: now) }
        if let conversation = socket.conversation {
            conversation.withheld = HeldSegments()
            enqueue(conversation)
        }
        dismissIfIdle(monitor.queue, at: now)
    }

    /// The debugger has gone: whatever it was asked, it has answered with a plain go-on.
    public func debuggerGone(_ debugger: any Debugger, at now: Instant) {
        guard let queue = breakpoints.queues.removeValue(forKey: ObjectIdentifier(debugger)) else { return }
        queue.debugger = nil
        for monitor in queue.monitors { unwatch(monitor.socket, at: now) }
        while let stop = queue.stops.popFirst() { resolve(stop, .none, at: now) }
        run(at: now)
    }

    /// The debugger's answer to the breakpoint it was last asked about. False if it was not asked.
    public func answer(_ debugger: any Debugger, _ response: BreakpointResponse, at now: Instant) -> Bool {
        guard let queue = breakpoints.queues[ObjectIdentifier(debugger)], queue.isAsked,
            let stop = queue.stops.popFirst()
        else { return false }
        queue.isAsked = false
        resolve(stop, response, at: now)
        ask(queue, at: now)
        run(at: now)
        dismissIfIdle(queue, at: now)
        return true
    }

    private func dismissIfIdle(_ queue: DebuggerQueue, at now: Instant) {
        guard queue.monitors.isEmpty, queue.stops.isEmpty, let debugger = queue.debugger else { return }
        breakpoints.queues[ObjectIdentifier(debugger)] = nil
        queue.debugger = nil
        debugger.nothingLeft(at: now)
    }

    /// What the host is to tell of a socket's connection or listener.
    func refreshEventMask(of socket: Socket) {
        switch socket.kind {
        case .idle: break
        case .connection(let connection): connection.eventMask = eventMask(for: socket)
        case .listening(let listener):
            listener.announcesConnections = socket.monitor?.events.contains(.pendingConnection) ?? false
        }
    }

    func eventMask(for socket: Socket) -> EventMask {
        var mask: EventMask = []
        if stateObserver != nil || socket.reportsStates || !socket.stateWaits.isEmpty { mask.insert(.stateChanges) }
        if let monitor = socket.monitor {
            mask.insert(.stateChanges)
            if monitor.events.contains(.stateChange) { mask.insert(.snapshots) }
            if monitor.events.contains(.outgoingSegment) { mask.insert(.singleSegments) }
        }
        return mask
    }

    /// From now on what arrives for these ends is looked at before the host gets it.
    @discardableResult
    func converse(_ socket: Socket, _ tuple: FourTuple) -> Conversation {
        if let known = socket.conversation { return known }
        let conversation = Conversation(tuple, socket)
        socket.conversation = conversation
        breakpoints.conversations[tuple] = conversation
        return conversation
    }

    /// Forgets what was held back for a connection.
    func endConversation(of socket: Socket) {
        guard let conversation = socket.conversation else { return }
        socket.conversation = nil
        if breakpoints.conversations[conversation.tuple] === conversation {
            breakpoints.conversations[conversation.tuple] = nil
        }
    }

    // MARK: Stopping

    /// A segment arrives for a watched connection.
    func arrive(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, for conversation: Conversation, on link: LinkID,
        ecn: ECNField, at now: Instant
    ) {
        guard !conversation.isAtListener else {
            // There is no connection that could need it: what its sender repeats counts as lost.
            breakpoints.statistics.overflowed += 1
            return
        }
        let isWatched = conversation.socket.monitor?.events.contains(.incomingSegment) ?? false
        guard isWatched || conversation.stop != nil || !conversation.arrived.isEmpty else {
            host.handle(header, payload: payload, tuple: conversation.tuple, on: link, ecn: ecn, at: now)
            return
        }
        let segment = HeldSegment(
            tuple: conversation.tuple, header: header, payload: Array(payload), link: link, ecn: ecn)
        guard conversation.arrived.append(segment) else {
            breakpoints.statistics.overflowed += 1
            return
        }
        enqueue(conversation)
    }

    /// The state has changed: true if the connection stands at a breakpoint now, and the event has to wait.
    func stopsAt(_ event: ConnectionEvent, of connection: Connection, _ socket: Socket, at now: Instant) -> Bool {
        guard case .stateChanged(_, _, let snapshot) = event, let monitor = socket.monitor,
            monitor.events.contains(.stateChange), let conversation = socket.conversation
        else { return false }
        stop(
            Stop(.stateChange(connection, event), monitor, conversation, snapshot ?? connection.snapshot), at: now)
        return true
    }

    /// A segment is about to leave: true if it waits at a breakpoint.
    func stopsAt(_ transmission: Transmission, _ tuple: FourTuple, on link: LinkID, at now: Instant) -> Bool {
        guard let conversation = breakpoints.conversations[tuple], let monitor = conversation.socket.monitor,
            monitor.events.contains(.outgoingSegment), let connection = conversation.socket.connection
        else { return false }
        stop(Stop(.outgoing(transmission, link), monitor, conversation, connection.snapshot), at: now)
        return true
    }

    /// A SYN has come for a listener whose debugger wants to hear of it: the connection gets its socket now.
    func announce(_ pending: PendingOpen, at now: Instant) {
        guard let listening = pending.listener.userData as? Socket, !pending.listener.isClosed,
            breakpoints.conversations[pending.tuple] == nil,
            let new = try? create(isIPv6: listening.isIPv6, owner: nil)
        else {
            // As if the SYN had been lost: the peer sends it again.
            host.forget(pending)
            return
        }
        new.ownerPID = listening.ownerPID
        new.ownerUID = listening.ownerUID
        let conversation = converse(new, pending.tuple)
        if let monitor = listening.monitor {
            stop(Stop(.pending(pending), monitor, conversation, nil), at: now)
        } else {
            open(pending, conversation, at: now)
        }
    }

    func stop(_ stop: Stop, at now: Instant) {
        stop.conversation.stop = stop
        if let connection = stop.conversation.socket.connection { host.freeze(connection) }
        stop.monitor.queue.stops.append(stop)
        ask(stop.monitor.queue, at: now)
    }

    private func ask(_ queue: DebuggerQueue, at now: Instant) {
        guard !queue.isAsked else { return }
        while let first = queue.stops.first, first.isVoid { queue.stops.removeFirst() }
        guard let first = queue.stops.first, let debugger = queue.debugger else { return }
        queue.isAsked = true
        debugger.stopped(at: first.breakpoint, at: now)
    }

    // MARK: Going on

    private func resolve(_ stop: Stop, _ response: BreakpointResponse, at now: Instant) {
        guard !stop.isVoid else { return }
        stop.isVoid = true
        let conversation = stop.conversation
        let response = response.fitting(stop.cause.event)
        if response == .stop { unwatch(stop.monitor.socket, at: now) }
        conversation.stop = nil
        conversation.owesResume = true
        enqueue(conversation)
        if let connection = conversation.socket.connection { host.thaw(connection, at: now) }
        switch stop.cause {
        case .stateChange(let connection, let event):
            follow(event, of: connection, at: now)
        case .incoming(let segment) where conversation.isAtListener:
            deliverAtListener(segment, response, stop, at: now)
        case .incoming(let segment):
            deliver(segment, response, to: conversation, at: now)
        case .outgoing(let transmission, let link):
            if response == .drop {
                breakpoints.statistics.dropped += UInt64(transmission.segmentCount)
            } else {
                links?.transmit(transmission, conversation.tuple, on: link, at: now)
            }
        case .pending(let pending):
            if response == .acceptMonitor, let monitor = stop.monitor.socket.monitor {
                watch(conversation.socket, for: monitor.events, in: monitor.queue)
            }
            open(pending, conversation, at: now)
        }
    }

    private func deliver(
        _ segment: HeldSegment, _ response: BreakpointResponse, to conversation: Conversation, at now: Instant
    ) {
        switch response {
        case .none, .stop, .acceptMonitor: handle(segment, at: now)
        case .drop: breakpoints.statistics.dropped += 1
        case .withhold: withhold(segment, in: conversation)
        case .duplicate:
            handle(segment, at: now)
            withhold(segment, in: conversation)
        case .drawWithheld:
            handle(segment, at: now)
            // The outputs of the first are played before the second is fed.
            if var withheld = conversation.withheld.popFirst() {
                withheld.isDrawn = true
                conversation.arrived.prepend(withheld)
            }
        }
    }

    private func withhold(_ segment: HeldSegment, in conversation: Conversation) {
        if !conversation.withheld.append(segment) { breakpoints.statistics.overflowed += 1 }
    }

    func handle(_ segment: HeldSegment, at now: Instant) {
        segment.payload.withUnsafeBytes {
            host.handle(segment.header, payload: $0, tuple: segment.tuple, on: segment.link, ecn: segment.ecn, at: now)
        }
    }

    private func open(_ pending: PendingOpen, _ conversation: Conversation, at now: Instant) {
        let socket = conversation.socket
        guard let connection = host.open(pending, userData: socket, eventMask: eventMask(for: socket), at: now) else {
            unwatch(socket, at: now)
            release(socket, at: now)
            return
        }
        if let listening = pending.listener.userData as? Socket { socket.inherit(from: listening) }
        socket.kind = .connection(connection)
        enqueue(conversation)
    }

    private func enqueue(_ conversation: Conversation) {
        guard !conversation.isQueued else { return }
        conversation.isQueued = true
        breakpoints.ready.append(conversation)
    }

    /// One step of a conversation that does not stand at a breakpoint: a segment that was drawn, the user's close, the
    /// owner's waiting calls, then a segment that arrived meanwhile. False if there is none to take.
    func advanceConversation(at now: Instant) -> Bool {
        while let conversation = breakpoints.ready.popFirst() {
            conversation.isQueued = false
            let socket = conversation.socket
            guard conversation.stop == nil, socket.conversation === conversation else { continue }
            if conversation.arrived.beginsWithDrawn, let segment = conversation.arrived.popFirst() {
                enqueue(conversation)
                handle(segment, at: now)
                return true
            }
            if let aborting = conversation.closing {
                conversation.closing = nil
                enqueue(conversation)
                close(socket, aborting: aborting, at: now)
                return true
            }
            if conversation.owesResume {
                conversation.owesResume = false
                enqueue(conversation)
                socket.owner?.socketResumed(socket, at: now)
                return true
            }
            if let segment = conversation.arrived.popFirst() {
                enqueue(conversation)
                if let monitor = socket.monitor, monitor.events.contains(.incomingSegment),
                    let connection = socket.connection
                {
                    stop(Stop(.incoming(segment), monitor, conversation, connection.snapshot), at: now)
                } else {
                    handle(segment, at: now)
                }
                return true
            }
            if socket.monitor == nil { endConversation(of: socket) }
        }
        return false
    }

    /// A listening socket closes: connections that were only announced are forgotten.
    func forgetAnnounced(by listening: Socket, at now: Instant) {
        guard let queue = listening.monitor?.queue else { return }
        for stop in queue.stops where stop.monitor.socket === listening && !stop.isVoid {
            guard case .pending(let pending) = stop.cause else { continue }
            stop.isVoid = true
            stop.conversation.stop = nil
            host.forget(pending)
            release(stop.conversation.socket, at: now)
        }
    }
}
