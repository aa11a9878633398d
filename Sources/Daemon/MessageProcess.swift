// A program linked with chiTCP's own library: its sockets belong to the process, and end with it.
import SocketLayer
import TCPSegments

/// One process with its connections to the daemon, one a thread, and its sockets.
final class MessageProcess {
    let pid: Int32
    private unowned let daemon: Daemon
    private var connections = 0
    private var sockets: [Int: MessageSocket] = [:]

    private init(_ pid: Int32, _ daemon: Daemon) {
        self.pid = pid
        self.daemon = daemon
    }

    /// The process of this number, known or new.
    static func of(_ pid: Int32, in daemon: Daemon) -> MessageProcess {
        if let known = daemon.messageProcesses[pid] { return known }
        let process = MessageProcess(pid, daemon)
        daemon.messageProcesses[pid] = process
        return process
    }

    func connectionOpened() { connections += 1 }

    /// The last connection takes the process's sockets with it.
    func connectionEnded(at now: Instant) {
        connections -= 1
        guard connections == 0 else { return }
        daemon.messageProcesses[pid] = nil
        release(aborting: false, at: now)
    }

    func add(_ socket: MessageSocket) {
        sockets[socket.number] = socket
        daemon.messageSockets[socket.number] = socket
    }

    func remove(_ socket: MessageSocket) {
        sockets[socket.number] = nil
        daemon.messageSockets[socket.number] = nil
    }

    /// Closes all sockets: FIN after what is queued; a reset where received bytes are unread, or if `aborting`.
    func release(aborting: Bool, at now: Instant) {
        for socket in Array(sockets.values) { socket.release(aborting: aborting, at: now) }
    }
}
