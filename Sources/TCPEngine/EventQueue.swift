// The events of a connection that nobody has polled yet, in order.
import DequeModule

/// First in, first out. One event at a time is the usual case and needs no allocation.
struct EventQueue {
    private var first: ConnectionEvent?
    private var rest: Deque<ConnectionEvent>?

    var isEmpty: Bool { first == nil }

    mutating func append(_ event: ConnectionEvent) {
        if first == nil {
            first = event
        } else {
            var all = rest.take() ?? Deque()
            all.append(event)
            rest = all
        }
    }

    mutating func popFirst() -> ConnectionEvent? {
        guard let event = first else { return nil }
        first = nil
        if var all = rest.take() {
            first = all.popFirst()
            if !all.isEmpty { rest = all }
        }
        return event
    }
}
