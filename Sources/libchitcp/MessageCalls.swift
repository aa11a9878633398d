// chitcp/socket.h, the calls with messages and flags: thin shells over Chisocket.
import CChitcp
import CLinux
import Chisocket
import Glibc

/// accept4(2) for a chisocket.
@c @implementation
public func chisocket_accept4(
    _ sockfd: Int32, _ addr: UnsafeMutablePointer<sockaddr>?, _ addrlen: UnsafeMutablePointer<socklen_t>?,
    _ flags: Int32
) -> Int32 {
    answer { () throws(ChisocketError) in
        let (closes, waitsNot) = (Int32(SOCK_CLOEXEC.rawValue), Int32(SOCK_NONBLOCK.rawValue))
        guard flags & ~(closes | waitsNot) == 0, addr == nil || addrlen != nil else {
            throw ChisocketError(errno: EINVAL, call: "accept4")
        }
        let accepted = try DescriptorCalls.accept(sockfd, closeOnExec: flags & closes != 0)
        if flags & waitsNot != 0 {
            _ = fcntl(accepted.descriptor, F_SETFL, fcntl(accepted.descriptor, F_GETFL) | O_NONBLOCK)
        }
        if let remote = accepted.remote { store(remote, addr, addrlen) }
        return accepted.descriptor
    }
}

/// What MSG_FASTOPEN asks for in front of a send: connects, and the SYN waits for the data if there is a cookie. False if that
/// failed; errno says why.
private func opensFast(_ sockfd: Int32, _ flags: Int32, count: Int, _ to: UnsafePointer<sockaddr>?, _ length: socklen_t)
    -> Bool
{
    guard flags & messageFastOpen != 0 else { return true }
    var isDeferred: Int32 = count > 0 ? 1 : 0
    let size = socklen_t(MemoryLayout<Int32>.size)
    // Refused for a chisocket that is connected, or is about to be: connect says which.
    let isSet = chisocket_setsockopt(sockfd, Int32(IPPROTO_TCP), TCP_FASTOPEN_CONNECT, &isDeferred, size) == 0
    guard isSet || errno == EINVAL else { return false }
    return chisocket_connect(sockfd, to, length) == 0
}

/// MSG_FASTOPEN, which C declares as an enumerator.
private let messageFastOpen: Int32 = 0x2000_0000

/// sendto(2) for a chisocket that is connected, where the destination means nothing, or with MSG_FASTOPEN is to be.
@c @implementation
public func chisocket_sendto(
    _ sockfd: Int32, _ buffer: UnsafeRawPointer?, _ length: Int, _ flags: Int32, _ to: UnsafePointer<sockaddr>?,
    _ tolen: socklen_t
) -> Int {
    guard opensFast(sockfd, flags, count: length, to, tolen) else { return -1 }
    return chisocket_send(sockfd, buffer, length, flags & ~messageFastOpen)
}

/// recvfrom(2) for a connected chisocket: no name comes with the bytes.
@c @implementation
public func chisocket_recvfrom(
    _ sockfd: Int32, _ buffer: UnsafeMutableRawPointer?, _ length: Int, _ flags: Int32,
    _ from: UnsafeMutablePointer<sockaddr>?, _ fromlen: UnsafeMutablePointer<socklen_t>?
) -> Int {
    let count = chisocket_recv(sockfd, buffer, length, flags)
    if count >= 0, from != nil { fromlen?.pointee = 0 }
    return count
}

/// sendmsg(2) for a chisocket that is connected, or with MSG_FASTOPEN is to be.
@c @implementation
public func chisocket_sendmsg(_ sockfd: Int32, _ message: UnsafePointer<msghdr>?, _ flags: Int32) -> Int {
    if let message = message?.pointee {
        let pieces = UnsafeBufferPointer(start: message.msg_iov, count: message.msg_iov == nil ? 0 : message.msg_iovlen)
        let count = flags & messageFastOpen == 0 ? 0 : pieces.reduce(0) { $0 + $1.iov_len }
        let to = message.msg_name?.assumingMemoryBound(to: sockaddr.self)
        guard opensFast(sockfd, flags, count: count, to, message.msg_namelen) else { return -1 }
    }
    return answer { () throws(ChisocketError) in
        guard let message else { throw ChisocketError(errno: EINVAL, call: "sendmsg") }
        return try DescriptorCalls.send(sockfd, message: message, flags: flags & ~messageFastOpen)
    }
}

/// recvmsg(2) for a connected chisocket.
@c @implementation
public func chisocket_recvmsg(_ sockfd: Int32, _ message: UnsafeMutablePointer<msghdr>?, _ flags: Int32) -> Int {
    answer { () throws(ChisocketError) in
        guard let message else { throw ChisocketError(errno: EINVAL, call: "recvmsg") }
        return try DescriptorCalls.receive(sockfd, message: message, flags: flags)
    }
}

/// The bytes that SIOCOUTQ and SIOCOUTQNSD give.
@c @implementation
public func chisocket_queued(
    _ sockfd: Int32, _ unacknowledged: UnsafeMutablePointer<Int32>?, _ unsent: UnsafeMutablePointer<Int32>?
) -> Int32 {
    answer { () throws(ChisocketError) in
        let queued = try DescriptorCalls.queued(sockfd)
        unacknowledged?.pointee = Int32(clamping: queued.unacknowledged)
        unsent?.pointee = Int32(clamping: queued.unsent)
        return 0
    }
}
