// What a daemon says about all of its sockets.
import ControlRecords
import Glibc

/// Inquiries to a daemon that concern no socket of this process.
public enum DaemonControl {
    /// Returns if the daemon answers this user; otherwise the error says what to do.
    public static func check(_ daemon: DaemonPath = .standard) throws(ChisocketError) {
        _ = try ThreadConnections.connection(to: daemon)
    }

    /// What the daemon has done since it began.
    public static func totals(of daemon: DaemonPath = .standard) throws(ChisocketError) -> DaemonTotals {
        var request = chitcp_request(CHITCP_OP_TOTALS)
        let connection = try ThreadConnections.connection(to: daemon)
        let (response, received) = try connection.exchange(&request, name: "totals", isInterruptible: false)
        if received >= 0 { close(received) }
        guard response.result >= 0, response.data_length >= UInt32(MemoryLayout<chitcp_totals>.size) else {
            throw ChisocketError(errno: response.error == 0 ? EPROTO : response.error, call: "totals")
        }
        // Bounds: the record is smaller than data.
        return DaemonTotals(record: withUnsafeBytes(of: response.data) { $0.loadUnaligned(as: chitcp_totals.self) })
    }

    /// Every socket of the daemon, by its number.
    public static func sockets(of daemon: DaemonPath = .standard) throws(ChisocketError) -> [SocketStatus] {
        var list: [SocketStatus] = []
        var next: Int32 = 0
        while true {
            var request = chitcp_request(CHITCP_OP_LIST, (next, 0, 0, 0))
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

/// What a daemon has done since it began. Bytes are payload, retransmissions included.
public struct DaemonTotals: Sendable {
    let record: chitcp_totals

    /// Connections by connect, and those given to listeners' owners.
    public var connectionsOpened: UInt64 { record.connections_opened }
    /// Connections that were given to the owners of listeners.
    public var connectionsAccepted: UInt64 { record.connections_accepted }
    /// Segments of TCP.
    public var segmentsSent: UInt64 { record.segments_sent }
    /// Segments of TCP.
    public var segmentsReceived: UInt64 { record.segments_received }
    /// Payload of the segments sent.
    public var bytesSent: UInt64 { record.bytes_sent }
    /// Payload of the segments received.
    public var bytesReceived: UInt64 { record.bytes_received }
    /// How often an option was answered with ENOPROTOOPT.
    public var unknownOptions: UInt64 { record.unknown_options }
    /// The level and the number of the last of them.
    public var lastUnknownOption: (level: UInt32, name: UInt32) {
        (record.last_unknown_level, record.last_unknown_name)
    }
}
