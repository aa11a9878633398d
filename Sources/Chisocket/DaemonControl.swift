// What a daemon says about all of its sockets.
import ControlRecords
import Glibc

/// Inquiries to a daemon that concern no socket of this process.
public enum DaemonControl {
    /// Returns if the daemon answers this user; otherwise the error says what to do.
    public static func check(_ daemon: DaemonPath = .standard) throws(ChisocketError) {
        _ = try ThreadConnections.connection(to: daemon)
    }

    /// Every socket of the daemon, by its number.
    public static func sockets(of daemon: DaemonPath = .standard) throws(ChisocketError) -> [SocketStatus] {
        var list: [SocketStatus] = []
        var next: Int32 = 0
        while true {
            var request = chitcp_request()
            request.operation = CHITCP_OP_LIST.rawValue
            request.argument.0 = next
            let connection = try ThreadConnections.connection(to: daemon)
            let (response, received) = try connection.exchange(&request, name: "sockets", isInterruptible: false)
            if received >= 0 { close(received) }
            if response.result < 0, response.error == ENOENT { return list }
            // Each answer must lie further on, or a confused daemon would keep us here.
            guard response.result >= next, response.result < Int32.max,
                response.data_length >= UInt32(MemoryLayout<chitcp_socket_status>.size)
            else { throw ChisocketError(errno: response.error == 0 ? EPROTO : response.error, call: "sockets") }
            // Bounds: the header asserts that a status fits into data.
            list.append(
                SocketStatus(
                    withUnsafeBytes(of: response.data) { $0.loadUnaligned(as: chitcp_socket_status.self) }))
            next = response.result + 1
        }
    }
}

/// One socket of a daemon at one moment. Times in nanoseconds, sizes in bytes.
public struct SocketStatus: Sendable {
    /// The record as the daemon sent it.
    public let record: chitcp_socket_status
    /// This end; nil before bind or connect.
    public let local: ChisocketAddress?
    /// The peer's end; nil before connect.
    public let remote: ChisocketAddress?
    /// The congestion control's name, e.g. "newreno".
    public let congestionControl: String

    init(_ record: chitcp_socket_status) {
        self.record = record
        local = ChisocketAddress(record.local)
        remote = ChisocketAddress(record.remote)
        congestionControl = withUnsafeBytes(of: record.congestion_control) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// The daemon's number of the socket, as in its log.
    public var number: Int { Int(record.number) }

    /// TCP's state by chiTCP's name, e.g. "SYN_SENT".
    public var stateName: String {
        let names = [
            "CLOSED", "LISTEN", "SYN_RCVD", "SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT",
            "CLOSING", "TIME_WAIT", "LAST_ACK",
        ]
        return names.indices.contains(Int(record.state)) ? names[Int(record.state)] : "UNKNOWN"
    }
}
