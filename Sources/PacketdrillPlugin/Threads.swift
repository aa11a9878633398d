// packetdrill's two threads: one lock over everything, and a place to sleep for the one whose call blocks.
import CPacketdrill
import Glibc
import Synchronization
import TCPSegments

/// The lock and the condition of the plugin. They live as long as the process.
final class PluginLock {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }
    func wakeAll() { pthread_cond_broadcast(condition) }

    /// Sleeps in the kernel until woken, or for `milliseconds` of real time. False: nobody woke it. The lock is free meanwhile.
    func sleep(milliseconds: Int) -> Bool {
        var end = timespec()
        clock_gettime(CLOCK_MONOTONIC, &end)
        end.tv_nsec += milliseconds * 1_000_000
        while end.tv_nsec >= 1_000_000_000 {
            end.tv_nsec -= 1_000_000_000
            end.tv_sec += 1
        }
        return pthread_cond_timedwait(condition, mutex, &end) == 0
    }
}

/// Who is who, and what main is doing. Main never blocks in a call: only the other thread may.
final class Threads {
    let main = packetdrill_thread()
    /// The thread of blocking calls, once it has made one.
    private(set) var other: Int32?
    /// Above 0 while main is in a call of the plugin, or waits for the lock.
    let mainIsInside = Atomic<Int>(0)

    var isOnMain: Bool { packetdrill_thread() == main }

    func noteOther() { other = packetdrill_thread() }

    /// True if main sleeps outside of the plugin: it waits for the other thread to become idle, at most a second. While it waits
    /// for a command of the script, time stands still.
    var mainWaits: Bool {
        mainIsInside.load(ordering: .sequentiallyConsistent) == 0 && packetdrill_waits_for_thread(main) == 1
    }

    /// Waits until the other thread sleeps again, which it does once packetdrill has taken note of its call's result. Real time,
    /// two seconds at most.
    func awaitOther() {
        guard let other else { return }
        // Main is not idle meanwhile.
        mainIsInside.add(1, ordering: .sequentiallyConsistent)
        defer { mainIsInside.subtract(1, ordering: .sequentiallyConsistent) }
        var quiet = 0
        for _ in 0..<40_000 where quiet < 3 {
            var pause = timespec(tv_sec: 0, tv_nsec: 50_000)
            nanosleep(&pause, nil)
            quiet = packetdrill_is_asleep(other) == 1 ? quiet + 1 : 0
        }
    }
}
