// A network namespace that lives as long as a thread: nothing of it is left when the test ends, however it ends.
import CTestSupport
import Glibc
import Synchronization
import TestSupport

/// A thread in a network namespace of its own. Sockets and devices that are made there belong to it, whoever uses them.
final class NetworkNamespace: @unchecked Sendable {
    // @unchecked Sendable: what threads share is guarded by the mutex; the semaphores order their turns.
    private let turn = Mutex<(@Sendable () -> Void)?>(nil)
    private let work = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    private let done = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    private var thread = pthread_t()
    private let result = Mutex<Int32>(0)

    /// Why there can be none here, or nil.
    static let obstacle: String? = {
        guard geteuid() == 0 else { return "network namespaces need root" }
        guard access("/dev/net/tun", R_OK | W_OK) == 0 else { return "there is no /dev/net/tun" }
        let places: [String] = ["/sbin/ip", "/usr/sbin/ip", "/bin/ip"]
        guard places.contains(where: { path in access(path, X_OK) == 0 }) else {
            return "there is no ip command (iproute2)"
        }
        do {
            try NetworkNamespace().run { try command("ip link set lo up") }
        } catch {
            return "\(error)"
        }
        return nil
    }()

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Why the thread did not get there: 0, or an errno.
    private let move: @Sendable () -> Int32

    /// A new one; or the one that `ip netns` knows by this name.
    init(_ name: String? = nil) throws {
        move = {
            let result = name.map { ctest_enter_network("/run/netns/\($0)") } ?? ctest_leave_network()
            return result == 0 ? 0 : errno
        }
        sem_init(work, 0, 0)
        sem_init(done, 0, 0)
        let started = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<NetworkNamespace>.fromOpaque(argument).takeUnretainedValue().live()
                return nil
            }, Unmanaged.passUnretained(self).toOpaque())
        guard started == 0 else { throw Failure(description: "no thread") }
        sem_wait(done)
        let error = result.withLock { $0 }
        guard error == 0 else {
            throw Failure(description: "no network namespace: \(String(cString: strerror(error)))")
        }
    }

    private func live() {
        let error = move()
        let left = error == 0
        result.withLock { $0 = error }
        sem_post(done)
        while left {
            while sem_wait(work) != 0 {}
            guard let body = turn.withLock({ $0 }) else { return }
            body()
            turn.withLock { $0 = nil }
            sem_post(done)
        }
    }

    /// Runs `body` in the namespace and waits for it.
    func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) throws -> T {
        let outcome = Outcome<T>()
        turn.withLock { $0 = { outcome.value.withLock { $0 = Result { try body() } } } }
        sem_post(work)
        while sem_wait(done) != 0 {}
        guard let result = outcome.value.withLock({ $0 }) else {
            throw Failure(description: "the namespace did not answer")
        }
        return try result.get()
    }

    private final class Outcome<T: Sendable>: Sendable {
        let value = Mutex<Result<T, any Error>?>(nil)
    }

    deinit {
        if result.withLock({ $0 }) == 0 {
            turn.withLock { $0 = nil }
            sem_post(work)
        }
        pthread_join(thread, nil)
        sem_destroy(work)
        sem_destroy(done)
        work.deallocate()
        done.deallocate()
    }
}

/// Runs a shell command from the calling thread, in its namespace.
func command(_ text: String) throws {
    let status = waitForEnd(of: try spawn("/bin/sh", ["-ec", text]))
    guard status == 0 else { throw NetworkNamespace.Failure(description: "status \(status) of: \(text)") }
}
