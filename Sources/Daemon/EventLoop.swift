// The daemon's event loop: epoll, edge-triggered, one thread.
import CLinux
import Glibc
import NetworkLayer
import TCPSegments

/// Watches descriptors and calls their handlers. A token is an index with a generation, so that an event for a descriptor
/// that was closed meanwhile reaches nobody.
final class EventLoop: EventRegistry {
    private struct Slot {
        var handler: (any EventHandler)?
        var generation: UInt32 = 0
    }

    private let epoll: Int32
    private let wake: Int32
    private var slots: [Slot] = []
    private var freeSlots: [Int] = []
    private var slotOfDescriptor: [Int32: Int] = [:]
    private var unfinished: [any EventHandler] = []
    private var events = [epoll_event](repeating: epoll_event(), count: 512)
    private static let wakeToken = UInt64.max

    init() throws(SystemError) {
        epoll = clinux_epoll_create()
        guard epoll >= 0 else { throw SystemError("cannot create an event loop") }
        wake = clinux_eventfd()
        guard wake >= 0, clinux_epoll_add(epoll, wake, EPOLLIN.rawValue, Self.wakeToken) == 0 else {
            throw SystemError("cannot create an event loop")
        }
    }

    deinit {
        close(epoll)
        close(wake)
    }

    func register(_ descriptor: Int32, _ handler: any EventHandler) throws(SystemError) {
        let index = freeSlots.popLast() ?? slots.count
        if index == slots.count { slots.append(Slot()) }
        slots[index].handler = handler
        let token = UInt64(slots[index].generation) << 32 | UInt64(index)
        let events = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
        guard clinux_epoll_add(epoll, descriptor, events, token) == 0 else {
            let error = errno
            slots[index].handler = nil
            freeSlots.append(index)
            throw SystemError("cannot watch a descriptor", errno: error)
        }
        slotOfDescriptor[descriptor] = index
    }

    func deregister(_ descriptor: Int32) {
        guard let index = slotOfDescriptor.removeValue(forKey: descriptor) else { return }
        _ = epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil)
        slots[index].handler = nil
        slots[index].generation &+= 1
        freeSlots.append(index)
    }

    func again(_ handler: any EventHandler) { unfinished.append(handler) }

    /// Ends a wait from any thread or signal handler.
    var wakeDescriptor: Int32 { wake }

    /// Waits until something is ready or `deadline`, and calls the handlers.
    func turn(until deadline: Instant?) {
        let before = Self.now()
        var timeout: Int64 = -1
        if !unfinished.isEmpty {
            timeout = 0
        } else if let deadline {
            timeout = max(0, (deadline - before).nanoseconds)
        }
        let n = clinux_epoll_wait(epoll, &events, Int32(events.count), timeout)
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
            let index = Int(token & 0xFFFF_FFFF)
            guard index < slots.count, slots[index].generation == UInt32(token >> 32),
                let handler = slots[index].handler
            else { continue }
            handler.descriptorReady(Self.readiness(events[i].events), at: now)
        }
    }

    private static func readiness(_ bits: UInt32) -> Readiness {
        var r: Readiness = []
        if bits & EPOLLIN.rawValue != 0 { r.insert(.readable) }
        if bits & EPOLLOUT.rawValue != 0 { r.insert(.writable) }
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
