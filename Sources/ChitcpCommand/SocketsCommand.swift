// `chitcp sockets`: the daemon's sockets, like `ss -ti`.
import ArgumentParser
import Chisocket

/// Lists the sockets of the daemon that CHITCPD_SOCK names.
struct SocketsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sockets", abstract: "List the daemon's sockets and what TCP knows of each, like ss -ti.")

    @Option(name: .shortAndLong, help: "The daemon's UNIX socket; CHITCPD_SOCK or the usual one otherwise.")
    var socket: String?

    @Flag(help: "Show what the daemon has done since it began, one number a line, instead.")
    var totals = false

    func validate() throws {
        if socket?.isEmpty == true { throw ValidationError("--socket: a path is needed, like /tmp/chitcpd.socket") }
    }

    func run() throws {
        if totals {
            for line in describe(try DaemonControl.totals(of: socket.map { DaemonPath($0) } ?? .standard)) {
                print(line)
            }
            return
        }
        let list = try DaemonControl.sockets(of: socket.map { DaemonPath($0) } ?? .standard)
        print(columns("SOCKET", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE"))
        for socket in list { for line in describe(socket) { print(line) } }
    }
}

/// A name and a number a line, for people and scripts.
func describe(_ totals: DaemonTotals) -> [String] {
    let option = totals.lastUnknownOption
    return [
        "connections_opened \(totals.connectionsOpened)", "connections_accepted \(totals.connectionsAccepted)",
        "segments_sent \(totals.segmentsSent)", "segments_received \(totals.segmentsReceived)",
        "bytes_sent \(totals.bytesSent)", "bytes_received \(totals.bytesReceived)",
        "unknown_options \(totals.unknownOptions)"
            + (totals.unknownOptions > 0 ? " (the last: level \(option.level), number \(option.name))" : ""),
    ]
}

/// The lines for one socket: the first in columns, for a connection a second with the control block.
func describe(_ socket: SocketStatus) -> [String] {
    let record = socket.record
    let isListening = socket.stateName == "LISTEN"
    let first = columns(
        "S\(socket.number)", socket.stateName, "\(isListening ? record.accept_queue : record.receive_queued)",
        "\(isListening ? record.backlog : record.send_queued)", socket.local.map { "\($0)" } ?? "*",
        socket.remote.map { "\($0)" } ?? "*")
    guard !isListening, socket.remote != nil else { return [first] }
    func milliseconds(_ nanoseconds: UInt64) -> String { fixed(Double(nanoseconds) / 1e6, 3) + "ms" }
    let threshold = record.slow_start_threshold == .max ? "-" : "\(record.slow_start_threshold)"
    return [
        first,
        "    \(socket.congestionControl) mss:\(record.maximum_segment_size) cwnd:\(record.congestion_window)"
            + " ssthresh:\(threshold) rtt:\(milliseconds(record.smoothed_rtt))/\(milliseconds(record.rtt_variation))"
            + " rto:\(milliseconds(record.retransmission_timeout)) snd_wnd:\(record.snd_wnd) rcv_wnd:\(record.rcv_wnd)",
        "    una:\(record.snd_una) nxt:\(record.snd_nxt) rcv_nxt:\(record.rcv_nxt)"
            + " segs_out:\(record.segments_sent) segs_in:\(record.segments_received) bytes_out:\(record.bytes_sent)"
            + " bytes_in:\(record.bytes_received) pid:\(record.owner_pid)",
        "    retrans:\(record.segments_retransmitted) recoveries:\(record.recoveries) timeouts:\(record.timeouts)"
            + " probes:\(record.tail_loss_probes) needless:\(record.needless_retransmissions)",
    ]
}

private func columns(
    _ number: String, _ state: String, _ received: String, _ sent: String, _ local: String, _ remote: String
) -> String {
    func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
    return pad(number, 8) + pad(state, 13) + pad(received, 10) + pad(sent, 10) + pad(local, 24) + remote
}
