// One thread's connection to the daemon: requests and responses, one record a packet.
import CLinux
import ControlRecords
import Glibc

/// A connection to one daemon, used by one thread of one process.
final class ControlConnection {
    let daemon: DaemonPath
    /// The daemon's identity, from HELLO: the middle of its descriptors' names.
    private(set) var daemonID: UInt64 = 0
    let socket: LibrarySocket
    private var lastCall: UInt64 = 0

    /// Connects to the daemon and says HELLO.
    init(_ daemon: DaemonPath) throws(ChisocketError) {
        self.daemon = daemon
        socket = try LibrarySocket(connectedTo: daemon.controlPath, type: SOCK_SEQPACKET, of: daemon)
        var hello = chitcp_request(CHITCP_OP_HELLO)
        let answer = try exchange(&hello, name: "socket", isInterruptible: false).response
        guard answer.result >= 0 else { throw .noDaemon(at: daemon.path, errno: answer.error) }
        daemonID = answer.value
    }

    /// True if this process made the connection and the number still means it.
    var isUsable: Bool { socket.isUsable }

    /// Sends a request, with `attached` if it is not -1, and waits for its response.
    /// - Parameter isInterruptible: a signal ends the wait with EINTR, while the daemon goes on (as connect(2) does).
    /// - Returns: the response (whatever its result) and the descriptor that came along, -1 if none.
    func exchange(
        _ request: inout chitcp_request, attached: Int32 = -1, name: String, isInterruptible: Bool
    ) throws(ChisocketError) -> (response: chitcp_response, descriptor: Int32) {
        lastCall += 1
        request.magic = CHITCP_CONTROL_MAGIC
        request.call = lastCall
        while true {
            let sent = withUnsafeBytes(of: &request) {
                clinux_send_descriptor(socket.descriptor, $0.baseAddress, $0.count, attached, 0)
            }
            if sent >= 0 { break }
            try recover(from: errno, wanting: POLLOUT, name: name)
        }
        while true {
            var response = chitcp_response()
            var received: Int32 = -1
            let count = withUnsafeMutableBytes(of: &response) {
                clinux_receive_descriptor(socket.descriptor, $0.baseAddress, $0.count, &received, 0)
            }
            if count < 0 {
                if errno == EINTR, isInterruptible { throw ChisocketError(errno: EINTR, call: name) }
                try recover(from: errno, wanting: POLLIN, name: name)
            } else if count == 0 {
                throw lost(ECONNRESET)
            } else if count == MemoryLayout<chitcp_response>.size, response.magic == CHITCP_CONTROL_MAGIC,
                response.call == request.call
            {
                return (response, received)
            } else {
                // A response to a call that a signal ended, or a record of another layout.
                if received >= 0 { close(received) }
                if response.magic != CHITCP_CONTROL_MAGIC { throw lost(EPROTO) }
            }
        }
    }

    /// Waits where that helps (EINTR, EAGAIN); throws anything else, after closing the connection.
    private func recover(from code: Int32, wanting events: Int32, name: String) throws(ChisocketError) {
        switch code {
        case EINTR: return
        case EAGAIN:
            var waiting = pollfd(fd: socket.descriptor, events: Int16(events), revents: 0)
            _ = poll(&waiting, 1, -1)
        case EBADF where !socket.isOpen: throw lost(ECONNRESET)
        case ECONNRESET, EPIPE, ENOTCONN: throw lost(ECONNRESET)
        default: throw ChisocketError(errno: code, call: name)
        }
    }

    /// The daemon went away; the next call opens a new connection.
    private func lost(_ code: Int32) -> ChisocketError {
        socket.close()
        return .noDaemon(at: daemon.path, errno: code)
    }
}
