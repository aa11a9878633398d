// What TCP_INFO tells of time: how long a connection had something to send, and what held it back. Looked at whenever anything
// has happened; in between nothing changes.
import SocketLayer
import TCPEngine
import TCPSegments

/// The times of one connection, as Linux measures them.
struct Chronograph {
    private enum Phase: Int {
        /// Nothing is queued.
        case idle
        case busy
        /// The peer's window holds back what is queued.
        case windowLimited
        /// All is sent, and the application waits for room in the send buffer.
        case bufferLimited
    }

    private var phase = Phase.idle
    private var since: Instant
    private var spent = [TimeInterval](repeating: .zero, count: 4)
    /// When data last came, and how much had come by then.
    private var dataAt: Instant
    private var bytesReceived: UInt64 = 0

    init(at now: Instant) {
        since = now
        dataAt = now
    }

    mutating func look(at connection: Connection, wantsRoom: Bool, now: Instant) {
        let received = connection.bytesReceived
        if received != bytesReceived {
            bytesReceived = received
            dataAt = now
        }
        let next: Phase
        if connection.sendQueued == 0 {
            next = .idle
        } else if connection.unsentBytes > 0 {
            let isHeld = connection.holdReason == .window || connection.holdReason == .sillyWindow
            next = isHeld ? .windowLimited : .busy
        } else {
            next = wantsRoom && !connection.usesItsWindow ? .bufferLimited : .busy
        }
        guard next != phase else { return }
        spent[phase.rawValue] = spent[phase.rawValue] + (now - since)
        since = now
        phase = next
    }

    /// Puts the times into Linux's struct tcp_info, whose bytes `information` is.
    func write(to information: inout [UInt8], now: Instant) {
        func total(_ of: Phase) -> UInt64 {
            let time = spent[of.rawValue] + (of == phase ? now - since : .zero)
            return UInt64(clamping: time.nanoseconds / 1000)
        }
        let window = total(.windowLimited)
        let buffer = total(.bufferLimited)
        let silence = UInt32(clamping: (now - dataAt).nanoseconds / 1_000_000)
        information.withUnsafeMutableBytes { bytes in
            // Bounds: tcpi_sndbuf_limited ends at byte 192.
            guard bytes.count >= 192 else { return }
            bytes.storeBytes(of: silence, toByteOffset: 52, as: UInt32.self)
            bytes.storeBytes(of: total(.busy) + window + buffer, toByteOffset: 168, as: UInt64.self)
            bytes.storeBytes(of: window, toByteOffset: 176, as: UInt64.self)
            bytes.storeBytes(of: buffer, toByteOffset: 184, as: UInt64.self)
        }
    }
}
