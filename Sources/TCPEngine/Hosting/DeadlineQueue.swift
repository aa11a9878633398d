// One deadline over all connections: a heap that is re-armed lazily.
import HeapModule
import TCPSegments

/// Entries are only added when something is due earlier than its entry says; a later deadline leaves the entry where it
/// is, and whoever takes it out looks again. So an ACK that restarts a timer costs nothing here.
struct DeadlineQueue {
    private struct Entry: Comparable {
        let at: Int64
        let target: HostEntry
        static func < (a: Entry, b: Entry) -> Bool { a.at < b.at }
        static func == (a: Entry, b: Entry) -> Bool { a.at == b.at }
    }

    private var heap = Heap<Entry>()

    mutating func add(_ target: HostEntry, at nanoseconds: Int64) {
        heap.insert(Entry(at: nanoseconds, target: target))
    }

    var next: Instant? { heap.min.map { Instant(nanoseconds: $0.at) } }

    /// Takes out an entry that is due.
    mutating func takeDue(at now: Instant) -> (target: HostEntry, at: Int64)? {
        guard let first = heap.min, first.at <= now.nanoseconds else { return nil }
        heap.removeMin()
        return (first.target, first.at)
    }
}
