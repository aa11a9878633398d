// Waiting until a socket has reached a state.
import TCPEngine
import TCPSegments

/// Waits for a state of a socket.
public protocol StateWaiter: AnyObject {
    /// The state was reached (nil), or never will be: the socket is gone.
    func stateWaitEnded(_ error: SocketError?, at now: Instant)
}

/// One wait.
struct StateWait {
    let state: State
    weak var waiter: (any StateWaiter)?
}

extension SocketLayer {
    /// The state a socket shows: at a breakpoint the one of that event, whatever has come about since.
    public func shownState(of socket: Socket) -> State {
        socket.conversation?.stop?.snapshot?.info.state ?? socket.state
    }

    /// From now on the socket's owner hears of each change of its state.
    public func reportStates(of socket: Socket) {
        socket.reportsStates = true
        refreshEventMask(of: socket)
    }

    /// The variables of a socket's connection, if it has one; at a breakpoint as of that event.
    public func info(of socket: Socket) -> ConnectionInfo? {
        socket.conversation?.stop?.snapshot?.info ?? socket.connection?.info
    }

    /// The control block and the buffers of a socket's connection, if it has one; at a breakpoint as of that event.
    public func snapshot(of socket: Socket) -> ControlBlockSnapshot? {
        socket.conversation?.stop?.snapshot ?? socket.connection?.snapshot
    }

    /// Has `waiter` hear when the socket reaches `state`, which it has not yet. The waiter is not kept alive.
    public func wait(_ waiter: any StateWaiter, for state: State, of socket: Socket) {
        socket.stateWaits.append(StateWait(state: state, waiter: waiter))
        refreshEventMask(of: socket)
    }

    /// Ends a wait; the waiter hears nothing.
    public func cancelWait(_ waiter: any StateWaiter, of socket: Socket) {
        socket.stateWaits.removeAll { $0.waiter === waiter || $0.waiter == nil }
        refreshEventMask(of: socket)
    }

    func endWaits(of socket: Socket, reaching state: State, at now: Instant) {
        guard !socket.stateWaits.isEmpty else { return }
        let reached = socket.stateWaits.filter { $0.state == state }
        socket.stateWaits.removeAll { $0.state == state }
        for wait in reached { wait.waiter?.stateWaitEnded(nil, at: now) }
    }

    /// The socket's number is free from now on: CLOSED is reached, no other state ever will be.
    func endWaits(ofReleased socket: Socket, at now: Instant) {
        let waits = socket.stateWaits
        socket.stateWaits = []
        for wait in waits { wait.waiter?.stateWaitEnded(wait.state == .closed ? nil : .badSocket, at: now) }
    }
}
