// Urgent data: MSG_OOB on a descriptor is the urgent mark of its connection (RFC 9293 3.8.5, RFC 6093), both ways.
//
// The application's end marks its urgent byte by itself: a UNIX stream knows MSG_OOB, SIOCATMARK, SIGURG and, for those who
// want the byte in line, SO_OOBINLINE. The daemon's end takes it in line and asks where the mark is.
import CLinux
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

extension DescriptorSocket {
    /// Bytes in the daemon's end that were not read yet.
    var unread: Int { end.unread }

    /// Moves what the application wrote while an urgent mark is ahead: up to the mark, then the byte at it. One byte always
    /// stays in the descriptor. False if the send buffer is full.
    func moveUrgent(into connection: Connection, at now: Instant) throws(ConnectionError) -> Bool {
        let host = daemon.layer.host
        while end.unread > 0 {
            end.removeStale(using: daemon.scratch)
            if clinux_is_at_mark(end.descriptor) == 1 {
                var byte: UInt8 = 0
                guard recv(end.descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 1 else { return true }
                let sent = try withUnsafeBytes(of: byte) { bytes throws(ConnectionError) in
                    try host.sendUrgent(connection, bytes, at: now)
                }
                guard sent == 1 else { return false }
                end.keepStale()
                isUrgentAhead = false
                return true
            }
            // A read stops in front of the mark; the last byte is looked at and left.
            let available = end.unread
            let moved = try host.withSendSpace(connection, maximum: available, at: now) { room in
                let isLast = available == 1
                let count = isLast ? 1 : min(room.count, available - 1)
                let n = recv(
                    end.descriptor, room.baseAddress, count, Int32(MSG_DONTWAIT) | (isLast ? Int32(MSG_PEEK) : 0))
                if isLast, n == 1 { end.keepStale() }
                return max(0, n)
            }
            if moved == 0 { return false }
        }
        isUrgentAhead = false
        return true
    }

    /// Writes received bytes to the application, the last urgent one as such. Returns what send(2) does.
    func write(_ bytes: UnsafeRawBufferPointer, of connection: Connection) -> Int {
        guard let toEnd = connection.bytesToUrgentEnd, toEnd > 0, toEnd <= bytes.count else { return end.write(bytes) }
        if toEnd > 1 { return end.write(UnsafeRawBufferPointer(rebasing: bytes[..<(toEnd - 1)])) }
        return send(
            end.descriptor, bytes.baseAddress, 1, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT) | Int32(MSG_OOB))
    }
}
