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

/// sendto(2) for a connected chisocket; the destination means nothing.
@c @implementation
public func chisocket_sendto(
    _ sockfd: Int32, _ buffer: UnsafeRawPointer?, _ length: Int, _ flags: Int32, _ to: UnsafePointer<sockaddr>?,
    _ tolen: socklen_t
) -> Int {
    chisocket_send(sockfd, buffer, length, flags)
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

/// sendmsg(2) for a connected chisocket.
@c @implementation
public func chisocket_sendmsg(_ sockfd: Int32, _ message: UnsafePointer<msghdr>?, _ flags: Int32) -> Int {
    answer { () throws(ChisocketError) in
        guard let message else { throw ChisocketError(errno: EINVAL, call: "sendmsg") }
        return try DescriptorCalls.send(sockfd, message: message, flags: flags)
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
