// A queue that is linked through its elements: no storage of its own, constant time, no references counted.

/// What waits in a `TurnQueue`: in one at a time, and once.
protocol TurnTaking: AnyObject {
    /// Who comes after it; for the queue alone.
    var nextInTurn: Unmanaged<Self>? { get set }
}

/// First in, first out. It does not keep its elements alive, which would cost a message 60 ns: the host's table keeps the
/// connections that wait for their turn, and its links those that have work. Both leave the queue before they leave the host.
struct TurnQueue<Element: TurnTaking> {
    private(set) var first: Unmanaged<Element>?
    private var last: Unmanaged<Element>?

    var isEmpty: Bool { first == nil }

    mutating func append(_ element: Element) {
        let added = Unmanaged.passUnretained(element)
        if let last { last._withUnsafeGuaranteedRef { $0.nextInTurn = added } } else { first = added }
        last = added
    }

    @discardableResult
    mutating func popFirst() -> Unmanaged<Element>? {
        guard let element = first else { return nil }
        first = element._withUnsafeGuaranteedRef {
            let next = $0.nextInTurn
            $0.nextInTurn = nil
            return next
        }
        if first == nil { last = nil }
        return element
    }

    /// Takes `element` out, wherever it stands.
    mutating func remove(_ element: Element) {
        var rest = self
        self = TurnQueue()
        while let other = rest.popFirst()?.takeUnretainedValue() {
            if other !== element { append(other) }
        }
    }
}
