// The data calls in which a chisocket differs from the UNIX stream it is: destinations, MSG_TRUNC, unsent bytes.
import CLinux
import ControlRecords
import Glibc

extension DescriptorCalls {
    /// sendmsg(2) without SIGPIPE; a destination in the message means nothing, as on any connected TCP socket.
    public static func send(
        _ descriptor: Int32, message: UnsafePointer<msghdr>, flags: Int32 = 0, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int {
        try requireConnected(descriptor, daemon, call: "sendmsg")
        var copy = message.pointee
        copy.msg_name = nil
        copy.msg_namelen = 0
        let count = sendmsg(descriptor, &copy, flags | Int32(MSG_NOSIGNAL))
        guard count >= 0 else { throw ChisocketError(errno: errno, call: "sendmsg") }
        return count
    }

    /// recvmsg(2): 0 at the end of the stream; no name comes with the bytes, as on any TCP socket.
    public static func receive(
        _ descriptor: Int32, message: UnsafeMutablePointer<msghdr>, flags: Int32 = 0, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int {
        try requireConnected(descriptor, daemon, call: "recvmsg")
        guard flags & Int32(MSG_TRUNC) == 0 else {
            var wanted = 0
            for i in 0..<Int(message.pointee.msg_iovlen) { wanted += message.pointee.msg_iov?[i].iov_len ?? 0 }
            message.pointee.msg_namelen = 0
            message.pointee.msg_controllen = 0
            message.pointee.msg_flags = 0
            return try discard(descriptor, wanted, flags: flags, daemon: daemon)
        }
        let count = recvmsg(descriptor, message, flags)
        guard count >= 0 else { throw ChisocketError(errno: errno, call: "recvmsg") }
        return count
    }

    /// MSG_TRUNC on a TCP socket takes up to `count` bytes and gives none (tcp(7)); it waits once at most, like one recv(2).
    public static func discard(
        _ descriptor: Int32, _ count: Int, flags: Int32 = 0, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int {
        try requireConnected(descriptor, daemon, call: "recv")
        let once = flags & ~Int32(MSG_TRUNC)
        var done = 0
        while done < count {
            let wanted = min(count - done, 16_384)
            let n = withUnsafeTemporaryAllocation(byteCount: wanted, alignment: 1) {
                recv(descriptor, $0.baseAddress, wanted, done == 0 ? once : once | Int32(MSG_DONTWAIT))
            }
            if n < 0 {
                if done > 0 { return done }
                throw ChisocketError(errno: errno, call: "recv")
            }
            done += n
            if n < wanted || flags & Int32(MSG_PEEK) != 0 { break }
        }
        return done
    }

    /// Bytes the peer has not acknowledged (SIOCOUTQ), and those of them that were never sent (SIOCOUTQNSD).
    public static func queued(
        _ descriptor: Int32, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> (unacknowledged: Int, unsent: Int) {
        var request = chitcp_request(CHITCP_OP_QUEUES)
        let response = try call(&request, on: descriptor, daemon, name: "ioctl")
        return (Int(response.argument.0), Int(response.argument.1))
    }
}
