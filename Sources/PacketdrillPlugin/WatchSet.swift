// epoll(7): who is interested in what, and what has been reported. By Linux's rules: something becomes ready when it is woken,
// and is looked at when somebody asks.
import Glibc

/// One descriptor in an epoll set.
final class Watch {
    let descriptor: Descriptor
    weak var set: WatchSet?
    var events: UInt32
    var data: UInt64
    /// It may be ready: it stands in the set's queue.
    var isQueued = false

    init(_ descriptor: Descriptor, in set: WatchSet, events: UInt32, data: UInt64) {
        self.descriptor = descriptor
        self.set = set
        self.events = events
        self.data = data
    }

    func wake(_ woken: UInt32) {
        // A watch of EPOLLONESHOT that has fired keeps no events.
        if events & woken & Readiness.everything != 0 { set?.queue(self) }
    }

    /// What is ready of what is asked for; errors always are.
    var ready: UInt32 {
        guard events & Readiness.everything != 0 else { return 0 }
        return descriptor.readiness & (events | Readiness.error | Readiness.hangUp)
    }
}

/// An epoll descriptor.
final class WatchSet: Descriptor {
    private var members: [Int32: Watch] = [:]
    private var queued: [Watch] = []

    override var readiness: UInt32 { queued.contains { $0.ready != 0 } ? Readiness.anyInput : 0 }

    func queue(_ watch: Watch) {
        guard !watch.isQueued else { return }
        watch.isQueued = true
        queued.append(watch)
        wake(Readiness.anyInput)
    }

    func forget(_ watch: Watch) {
        members[watch.descriptor.number] = nil
        queued.removeAll { $0 === watch }
        watch.isQueued = false
    }

    /// epoll_ctl(2).
    func control(_ operation: Int32, _ target: Descriptor, events: UInt32, data: UInt64) -> Outcome {
        guard target !== self else { return .failure(EINVAL) }
        let existing = members[target.number]
        let always = Readiness.error | Readiness.hangUp
        switch (operation, existing) {
        case (1, nil):
            let watch = Watch(target, in: self, events: events | always, data: data)
            members[target.number] = watch
            target.watches.append(watch)
            if watch.ready != 0 { queue(watch) }
        case (1, .some): return .failure(EEXIST)
        case (2, let watch?):
            target.watches.removeAll { $0 === watch }
            forget(watch)
        case (3, let watch?):
            watch.events = events | always
            watch.data = data
            if watch.ready != 0 { queue(watch) }
        case (2, nil), (3, nil): return .failure(ENOENT)
        default: return .failure(EINVAL)
        }
        return .success
    }

    /// Takes up to `limit` events. Level-triggered watches go back to the end of the queue.
    func take(_ limit: Int) -> [(events: UInt32, data: UInt64)] {
        var taken: [(events: UInt32, data: UInt64)] = []
        var left = queued
        queued = []
        var again: [Watch] = []
        while taken.count < limit, !left.isEmpty {
            let watch = left.removeFirst()
            watch.isQueued = false
            let ready = watch.ready
            guard ready != 0 else { continue }
            taken.append((ready, watch.data))
            if watch.events & Readiness.oneShot != 0 {
                watch.events &= Readiness.oneShot | Readiness.edge
            } else if watch.events & Readiness.edge == 0 {
                watch.isQueued = true
                again.append(watch)
            }
        }
        queued = left + again
        return taken
    }
}
