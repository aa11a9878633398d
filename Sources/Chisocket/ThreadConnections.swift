// Each thread's own control connections, found through a thread-specific key and closed when the thread ends.
import Glibc

/// The control connections of one thread, by daemon.
final class ThreadConnections {
    private var connections: [DaemonPath: ControlConnection] = [:]

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        let result = pthread_key_create(&key) {
            if let box = $0 { Unmanaged<ThreadConnections>.fromOpaque(box).release() }
        }
        precondition(result == 0, "a process has 1024 thread-specific keys, and one is wanted here")
        return key
    }()

    private static var ofThisThread: ThreadConnections {
        if let box = pthread_getspecific(key) {
            return Unmanaged<ThreadConnections>.fromOpaque(box).takeUnretainedValue()
        }
        let made = ThreadConnections()
        pthread_setspecific(key, Unmanaged.passRetained(made).toOpaque())
        return made
    }

    /// This thread's connection to `daemon`: opened at the first call, and again after a fork, or after the program
    /// closed the descriptor or the daemon went away.
    static func connection(to daemon: DaemonPath) throws(ChisocketError) -> ControlConnection {
        let mine = ofThisThread
        if let open = mine.connections[daemon], open.isUsable { return open }
        mine.connections[daemon] = nil
        let opened = try ControlConnection(daemon)
        mine.connections[daemon] = opened
        return opened
    }
}
