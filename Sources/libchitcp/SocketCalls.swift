// chitcp/socket.h: thin shells that turn the C calls into Chisocket's and its errors into errno.
import CChitcp
import Chisocket
import Glibc

/// Runs `body`; a thrown error becomes errno and -1, a missing daemon one line on standard error besides.
func answer<R: SignedInteger>(_ body: () throws(ChisocketError) -> R) -> R {
    let before = errno
    do throws(ChisocketError) {
        let result = try body()
        errno = before
        return result
    } catch {
        if error.isDaemonMissing { complain(error.message) }
        errno = error.errno
        return -1
    }
}

/// One write(2): whole lines also when several threads complain.
private func complain(_ sentence: String) {
    let line = Array("\(sentence)\n".utf8)
    _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// The address a C caller gave: EINVAL for none and for a short one, EAFNOSUPPORT for a foreign family.
private func address(
    _ raw: UnsafePointer<sockaddr>?, _ length: socklen_t, call: String
) throws(ChisocketError) -> ChisocketAddress {
    guard let raw else { throw ChisocketError(errno: EINVAL, call: call, context: "with no address") }
    guard length >= MemoryLayout<sa_family_t>.size else { throw ChisocketError(errno: EINVAL, call: call) }
    if let address = ChisocketAddress(raw, length: length) { return address }
    let family = Int32(UnsafeRawPointer(raw).loadUnaligned(as: sa_family_t.self))
    let isKnown = family == AF_INET || family == AF_INET6
    throw ChisocketError(errno: isKnown ? EINVAL : EAFNOSUPPORT, call: call, context: "with this address")
}

/// Copies an address out as accept(2) does: cut to the room there is, with its full length in `length`.
func store(
    _ address: ChisocketAddress, _ room: UnsafeMutablePointer<sockaddr>?, _ length: UnsafeMutablePointer<socklen_t>?
) {
    guard let room, let length else { return }
    address.withSockaddr { raw, full in
        // Bounds: the smaller of the caller's room and the struct's length.
        UnsafeMutableRawPointer(room).copyMemory(from: raw, byteCount: Int(min(length.pointee, full)))
        length.pointee = full
    }
}

/// socket(2) for a chisocket.
@c @implementation
public func chisocket_socket(_ domain: Int32, _ type: Int32, _ protocol: Int32) -> Int32 {
    answer { () throws(ChisocketError) in
        try DescriptorCalls.socket(domain: domain, type: type, protocol: `protocol`)
    }
}

/// bind(2) for a chisocket.
@c @implementation
public func chisocket_bind(_ sockfd: Int32, _ addr: UnsafePointer<sockaddr>?, _ addrlen: socklen_t) -> Int32 {
    answer { () throws(ChisocketError) in
        try DescriptorCalls.bind(sockfd, to: address(addr, addrlen, call: "bind"))
        return 0
    }
}

/// listen(2) for a chisocket.
@c @implementation
public func chisocket_listen(_ sockfd: Int32, _ backlog: Int32) -> Int32 {
    answer { () throws(ChisocketError) in
        try DescriptorCalls.listen(sockfd, backlog: backlog)
        return 0
    }
}

/// connect(2) for a chisocket.
@c @implementation
public func chisocket_connect(_ sockfd: Int32, _ addr: UnsafePointer<sockaddr>?, _ addrlen: socklen_t) -> Int32 {
    answer { () throws(ChisocketError) in
        try DescriptorCalls.connect(sockfd, to: address(addr, addrlen, call: "connect"))
        return 0
    }
}

/// accept(2) for a chisocket.
@c @implementation
public func chisocket_accept(
    _ sockfd: Int32, _ addr: UnsafeMutablePointer<sockaddr>?, _ addrlen: UnsafeMutablePointer<socklen_t>?
) -> Int32 {
    answer { () throws(ChisocketError) in
        if addr != nil, addrlen == nil { throw ChisocketError(errno: EINVAL, call: "accept") }
        let accepted = try DescriptorCalls.accept(sockfd)
        if let remote = accepted.remote { store(remote, addr, addrlen) }
        return accepted.descriptor
    }
}

/// close(2) for a chisocket.
@c @implementation
public func chisocket_close(_ sockfd: Int32) -> Int32 {
    answer { () throws(ChisocketError) in
        try DescriptorCalls.close(sockfd)
        return 0
    }
}

/// recv(2) for a chisocket.
@c @implementation
public func chisocket_recv(_ sockfd: Int32, _ buffer: UnsafeMutableRawPointer?, _ length: Int, _ flags: Int32) -> Int {
    answer { () throws(ChisocketError) in
        // With MSG_TRUNC nothing is stored.
        guard length >= 0, buffer != nil || length == 0 || flags & Int32(MSG_TRUNC) != 0 else {
            throw ChisocketError(errno: EINVAL, call: "recv")
        }
        if flags & Int32(MSG_TRUNC) != 0 { return try DescriptorCalls.discard(sockfd, length, flags: flags) }
        return try DescriptorCalls.receive(
            sockfd, into: UnsafeMutableRawBufferPointer(start: buffer, count: length), flags: flags)
    }
}

/// send(2) for a chisocket.
@c @implementation
public func chisocket_send(_ sockfd: Int32, _ buffer: UnsafeRawPointer?, _ length: Int, _ flags: Int32) -> Int {
    answer { () throws(ChisocketError) in
        guard length >= 0, buffer != nil || length == 0 else { throw ChisocketError(errno: EINVAL, call: "send") }
        return try DescriptorCalls.send(sockfd, UnsafeRawBufferPointer(start: buffer, count: length), flags: flags)
    }
}

/// shutdown(2) for a chisocket.
@c @implementation
public func chisocket_shutdown(_ sockfd: Int32, _ how: Int32) -> Int32 {
    answer { () throws(ChisocketError) in
        try DescriptorCalls.shutdown(sockfd, how: how)
        return 0
    }
}

/// getsockname(2) for a chisocket.
@c @implementation
public func chisocket_getsockname(
    _ sockfd: Int32, _ addr: UnsafeMutablePointer<sockaddr>?, _ addrlen: UnsafeMutablePointer<socklen_t>?
) -> Int32 {
    answer { () throws(ChisocketError) in
        guard addr != nil, addrlen != nil else { throw ChisocketError(errno: EFAULT, call: "getsockname") }
        let names = try DescriptorCalls.names(sockfd)
        store(names.local ?? .any(names.family, port: 0), addr, addrlen)
        return 0
    }
}

/// getpeername(2) for a chisocket.
@c @implementation
public func chisocket_getpeername(
    _ sockfd: Int32, _ addr: UnsafeMutablePointer<sockaddr>?, _ addrlen: UnsafeMutablePointer<socklen_t>?
) -> Int32 {
    answer { () throws(ChisocketError) in
        guard addr != nil, addrlen != nil else { throw ChisocketError(errno: EFAULT, call: "getpeername") }
        guard let remote = try DescriptorCalls.names(sockfd, call: "getpeername").remote else {
            throw ChisocketError(errno: ENOTCONN, call: "getpeername")
        }
        store(remote, addr, addrlen)
        return 0
    }
}

/// getsockopt(2) for a chisocket.
@c @implementation
public func chisocket_getsockopt(
    _ sockfd: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeMutableRawPointer?,
    _ length: UnsafeMutablePointer<socklen_t>?
) -> Int32 {
    answer { () throws(ChisocketError) in
        guard let value, let length else { throw ChisocketError(errno: EFAULT, call: "getsockopt") }
        let bytes = try DescriptorCalls.option(sockfd, level: level, name: name)
        let count = min(bytes.count, Int(length.pointee))
        bytes.withUnsafeBytes {
            // Bounds: the smaller of the caller's room and the option's length.
            if count > 0, let base = $0.baseAddress { value.copyMemory(from: base, byteCount: count) }
        }
        length.pointee = socklen_t(count)
        return 0
    }
}

/// setsockopt(2) for a chisocket.
@c @implementation
public func chisocket_setsockopt(
    _ sockfd: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeRawPointer?, _ length: socklen_t
) -> Int32 {
    answer { () throws(ChisocketError) in
        guard value != nil || length == 0 else { throw ChisocketError(errno: EFAULT, call: "setsockopt") }
        try DescriptorCalls.setOption(
            sockfd, level: level, name: name, UnsafeRawBufferPointer(start: value, count: Int(length)))
        return 0
    }
}
