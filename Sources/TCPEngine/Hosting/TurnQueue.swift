// A queue that is linked through its elements: no storage of its own, constant time.

/// What waits in a `TurnQueue`: in one at a time, and once.
protocol TurnTaking: AnyObject {
    /// Who comes after it; for the queue alone.
    var nextInTurn: Self? { get set }
}

/// First in, first out.
struct TurnQueue<Element: TurnTaking> {
    private(set) var first: Element?
    /// Not counted as a reference: `first` and those behind it hold each other.
    private unowned(unsafe) var last: Element?

    var isEmpty: Bool { first == nil }

    mutating func append(_ element: Element) {
        if let last { last.nextInTurn = element } else { first = element }
        last = element
    }

    @discardableResult
    mutating func popFirst() -> Element? {
        guard let element = first else { return nil }
        first = element.nextInTurn
        element.nextInTurn = nil
        if first == nil { last = nil }
        return element
    }

    /// Takes `element` out, wherever it stands.
    mutating func remove(_ element: Element) {
        var rest = self
        self = TurnQueue()
        while let other = rest.popFirst() {
            if other !== element { append(other) }
        }
    }
}
