// The daemon's event loop: epoll, edge-triggered, one thread.
import CLinux
import Glibc
import NetworkLayer
import TCPSegments

/// Watches descriptors and calls their handlers. A token is a descriptor with a generation, so that an event for one that
/// was closed meanwhile reaches nobody.
final class EventLoop: EventRegistry {
    private struct Slot {
        var handler: (any EventHandler)?
        var generation: UInt32 = 0
    }

    /// What is watched of a descriptor.
    enum Interest {
        /// Input and hang-ups, told again and again as long as there is any: for sessions, where one look is one request.
        case requests
        /// Input and hang-ups, edge-triggered. A UNIX socket tells of room whenever its peer reads: nobody wants to wake up
        /// for that who is not waiting for it.
        case input
        /// Everything, edge-triggered.
        case everything

        fileprivate var events: UInt32 {
            let input = EPOLLIN.rawValue | EPOLLPRI.rawValue | EPOLLRDHUP.rawValue
            return switch self {
            case .requests: input
            case .input: input | EPOLLET.rawValue
            case .everything: input | EPOLLOUT.rawValue | EPOLLET.rawValue
            }
        }
    }

    private let epoll: Int32
    private let wake: Int32
    private let timer: Int32
    /// When the timer fires next, if it is armed, and when it did last.
    private var armed: Instant?
    private var lastFired = Instant.origin
    /// The timer fires at most so often; whoever is due meanwhile is seen to together.
    private static let timerInterval = TimeInterval.milliseconds(1)
    /// By descriptor.
    private var slots: [Slot] = []
    private var unfinished: [any EventHandler] = []
    private var events = [epoll_event](repeating: epoll_event(), count: 512)
    private static let wakeToken = UInt64.max
    private static let timerToken = UInt64.max - 1

    init() throws(SystemError) {
        epoll = clinux_epoll_create()
        guard epoll >= 0 else { throw SystemError("cannot create an event loop") }
        wake = clinux_eventfd()
        guard wake >= 0, clinux_epoll_add(epoll, wake, EPOLLIN.rawValue, Self.wakeToken) == 0 else {
            throw SystemError("cannot create an event loop")
        }
        timer = clinux_timer()
        guard timer >= 0,
            clinux_epoll_add(epoll, timer, EPOLLIN.rawValue | EPOLLET.rawValue, Self.timerToken) == 0
        else { throw SystemError("cannot create an event loop") }
    }

    deinit {
        close(epoll)
        close(timer)
        close(wake)
    }

    func register(_ descriptor: Int32, _ handler: any EventHandler) throws(SystemError) {
        try register(descriptor, handler, for: .everything)
    }

    /// Watches `descriptor` for what `interest` says.
    func register(_ descriptor: Int32, _ handler: any EventHandler, for interest: Interest) throws(SystemError) {
        let index = Int(descriptor)
        while slots.count <= index { slots.append(Slot()) }
        guard clinux_epoll_add(epoll, descriptor, interest.events, token(of: index)) == 0 else {
            throw SystemError("cannot watch a descriptor")
        }
        slots[index].handler = handler
    }

    /// From now on tells of room to write as well; of the room that there is now, too.
    func watchEverything(_ descriptor: Int32) {
        let index = Int(descriptor)
        guard slots.indices.contains(index), slots[index].handler != nil else { return }
        _ = clinux_epoll_modify(epoll, descriptor, Interest.everything.events, token(of: index))
    }

    private func token(of index: Int) -> UInt64 { UInt64(slots[index].generation) << 32 | UInt64(index) }

    /// The close that follows takes the descriptor out of epoll: nobody else has a copy of it.
    func deregister(_ descriptor: Int32) {
        let index = Int(descriptor)
        guard slots.indices.contains(index), slots[index].handler != nil else { return }
        slots[index].handler = nil
        slots[index].generation &+= 1
    }

    func again(_ handler: any EventHandler) { unfinished.append(handler) }

    /// Ends a wait from any thread or signal handler.
    var wakeDescriptor: Int32 { wake }

    /// Waits until something is ready or `deadline`, and calls the handlers.
    func turn(until deadline: Instant?) {
        let n = epoll_wait(epoll, &events, Int32(events.count), mayWait(until: deadline) ? -1 : 0)
        let now = Self.now()
        let left = unfinished
        unfinished = []
        for handler in left { handler.descriptorReady(.readable, at: now) }
        guard n > 0 else { return }
        for i in 0..<Int(n) {
            let token = withUnsafePointer(to: &events[i]) { clinux_epoll_token($0) }
            if token == Self.wakeToken {
                var count: UInt64 = 0
                _ = read(wake, &count, 8)
                continue
            }
            if token == Self.timerToken {
                armed = nil
                lastFired = now
                continue
            }
            let index = Int(token & 0xFFFF_FFFF)
            guard index < slots.count, slots[index].generation == UInt32(token >> 32),
                let handler = slots[index].handler
            else { continue }
            handler.descriptorReady(Self.readiness(events[i].events), at: now)
        }
    }

    /// Has the timer end a wait at `deadline`, or earlier; false if there is something to do at once. The timer is set anew
    /// only for an earlier deadline than it has: a time-out of each single wait costs more than now and then a wake-up for
    /// nothing, because setting the hardware's timer is expensive in a virtual machine.
    private func mayWait(until deadline: Instant?) -> Bool {
        guard unfinished.isEmpty else { return false }
        guard let deadline else { return true }
        let moment = max(deadline, lastFired + Self.timerInterval)
        if let armed, armed <= moment { return true }
        guard moment > Self.now() else { return false }
        armed = moment
        return clinux_timer_set(timer, moment.nanoseconds) == 0
    }

    private static func readiness(_ bits: UInt32) -> Readiness {
        var r: Readiness = []
        if bits & EPOLLIN.rawValue != 0 { r.insert(.readable) }
        if bits & EPOLLOUT.rawValue != 0 { r.insert(.writable) }
        if bits & EPOLLPRI.rawValue != 0 { r.insert(.urgent) }
        if bits & EPOLLRDHUP.rawValue != 0 { r.insert(.readHangup) }
        if bits & (EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 { r.insert(.hangup) }
        return r
    }

    /// CLOCK_MONOTONIC.
    static func now() -> Instant {
        var t = timespec()
        clock_gettime(CLOCK_MONOTONIC, &t)
        return Instant(nanoseconds: Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec))
    }
}
