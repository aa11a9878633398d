// A queue for what is usually one: the first element needs no allocation.
import DequeModule

/// First in, first out, by index too. Most connections have one chunk to send, one to read, one event to tell: a deque for each
/// would be built and freed for every message, or weigh a hundred bytes in an idle connection.
struct ShortQueue<Element> {
    private var head: Element?
    /// What follows `head`; nil if nothing does.
    private var tail: Deque<Element>?

    var isEmpty: Bool { head == nil }
    var count: Int { head == nil ? 0 : 1 + (tail?.count ?? 0) }
    var first: Element? { head }
    var last: Element? { tail?.last ?? head }

    /// Element `index`, which must be below `count`.
    subscript(index: Int) -> Element {
        get {
            if let tail, index > 0 { return tail[index - 1] }
            guard index == 0, let head else { preconditionFailure("there is no element \(index)") }
            return head
        }
        _modify {
            if index > 0, tail != nil {
                yield &tail![index - 1]
            } else {
                precondition(index == 0 && head != nil, "there is no element \(index)")
                yield &head!
            }
        }
    }

    mutating func append(_ element: Element) {
        if head == nil {
            head = element
        } else if tail == nil {
            tail = [element]
        } else {
            tail!.append(element)
        }
    }

    mutating func popFirst() -> Element? {
        guard let element = head.take() else { return nil }
        if tail != nil {
            head = tail!.popFirst()
            if tail!.isEmpty { tail = nil }
        }
        return element
    }

    mutating func removeLast() {
        if tail != nil {
            tail!.removeLast()
            if tail!.isEmpty { tail = nil }
        } else {
            head = nil
        }
    }

    mutating func removeAll() {
        head = nil
        tail = nil
    }
}
