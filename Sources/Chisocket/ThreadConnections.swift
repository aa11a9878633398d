// Each thread's own connections to daemons, found through a thread-specific key and closed when the thread ends.
import Glibc

/// The connections of one thread, by daemon: one for control records, one for chiTCP's messages.
final class ThreadConnections {
    private var controls: [DaemonPath: ControlConnection] = [:]
    private var messages: [DaemonPath: MessageConnection] = [:]

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
        if let open = mine.controls[daemon], open.isUsable { return open }
        mine.controls[daemon] = nil
        let opened = try ControlConnection(daemon)
        mine.controls[daemon] = opened
        return opened
    }

    /// This thread's command connection for chiTCP's messages, opened likewise.
    static func messageConnection(to daemon: DaemonPath) throws(ChisocketError) -> MessageConnection {
        let mine = ofThisThread
        if let open = mine.messages[daemon], open.isUsable { return open }
        mine.messages[daemon] = nil
        let opened = try MessageConnection(daemon)
        mine.messages[daemon] = opened
        return opened
    }
}
