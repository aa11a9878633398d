// The few calls in which kernel sockets and chisockets differ; everything else is a descriptor for both.
import CLinux
import Glibc
import TCPSegments

/// Streams from one maker: the kernel, or chitcpd. What they give are descriptors for read(2), write(2) and poll(2).
protocol StreamSockets: Sendable {
    /// What to call them in a table.
    var name: String { get }
    /// A connected stream, with Nagle's algorithm or without.
    func connect(to endpoint: Endpoint, noDelay: Bool) throws -> Int32
    /// A listening descriptor.
    func listen(on endpoint: Endpoint, backlog: Int32) throws -> Int32
    /// Waits for the next connection of a listening descriptor.
    func accept(_ listener: Int32) throws -> Int32
}

extension StreamSockets {
    /// A connected stream without Nagle's algorithm.
    func connect(to endpoint: Endpoint) throws -> Int32 { try connect(to: endpoint, noDelay: true) }
}

/// The kernel's own TCP, for comparison.
struct KernelSockets: StreamSockets {
    let name = "kernel"
    private let congestionControl: String?

    /// The kernel's TCP with this congestion control, or with the machine's own.
    init(congestionControl: String? = nil) { self.congestionControl = congestionControl }

    func connect(to endpoint: Endpoint, noDelay: Bool) throws -> Int32 {
        let fd = try open(endpoint)
        if noDelay {
            var one: Int32 = 1
            setsockopt(fd, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        }
        let result = endpoint.withSocketAddress { Glibc.connect(fd, $0, $1) }
        guard result == 0 else {
            let code = errno
            close(fd)
            throw CommandError("cannot connect to \(text(of: endpoint))", errno: code)
        }
        return fd
    }

    func listen(on endpoint: Endpoint, backlog: Int32) throws -> Int32 {
        let fd = try open(endpoint)
        var one: Int32 = 1
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        guard endpoint.withSocketAddress({ bind(fd, $0, $1) }) == 0, Glibc.listen(fd, backlog) == 0 else {
            let code = errno
            close(fd)
            throw CommandError("cannot listen on \(text(of: endpoint))", errno: code)
        }
        return fd
    }

    func accept(_ listener: Int32) throws -> Int32 {
        while true {
            let fd = Glibc.accept(listener, nil, nil)
            if fd >= 0 { return fd }
            guard errno == EINTR || errno == ECONNABORTED else {
                throw CommandError("cannot accept a connection", errno: errno)
            }
        }
    }

    private func open(_ endpoint: Endpoint) throws -> Int32 {
        let fd = socket(
            endpoint.address.isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { throw CommandError("cannot make a socket", errno: errno) }
        if let congestionControl {
            let name = Array(congestionControl.utf8)
            guard setsockopt(fd, Int32(IPPROTO_TCP), TCP_CONGESTION, name, socklen_t(name.count)) == 0 else {
                let code = errno
                close(fd)
                throw CommandError("this kernel's TCP has no congestion control \(congestionControl)", errno: code)
            }
        }
        return fd
    }
}

extension Endpoint {
    /// Calls `body` with this endpoint as a sockaddr_in or sockaddr_in6.
    func withSocketAddress<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) throws -> R) rethrows -> R {
        if address.isIPv4 {
            var a = sockaddr_in()
            a.sin_family = sa_family_t(AF_INET)
            a.sin_port = port.bigEndian
            a.sin_addr.s_addr = address.v4Bits.bigEndian
            return try withUnsafeBytes(of: &a) {
                try body($0.assumingMemoryBound(to: sockaddr.self).baseAddress!, socklen_t($0.count))
            }
        }
        var a = sockaddr_in6()
        a.sin6_family = sa_family_t(AF_INET6)
        a.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &a.sin6_addr) {
            $0.storeBytes(of: address.high.bigEndian, toByteOffset: 0, as: UInt64.self)
            $0.storeBytes(of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return try withUnsafeBytes(of: &a) {
            try body($0.assumingMemoryBound(to: sockaddr.self).baseAddress!, socklen_t($0.count))
        }
    }
}

/// The endpoint as a person writes it.
func text(of endpoint: Endpoint) -> String {
    endpoint.address.isIPv4
        ? "\(addressText(of: endpoint)):\(endpoint.port)" : "[\(addressText(of: endpoint))]:\(endpoint.port)"
}

/// The endpoint's address as a person writes it.
func addressText(of endpoint: Endpoint) -> String {
    var buffer = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let failed = endpoint.withSocketAddress {
        getnameinfo($0, $1, &buffer, socklen_t(buffer.count), nil, 0, NI_NUMERICHOST)
    }
    let end = buffer.firstIndex(of: 0) ?? buffer.count
    return failed != 0 ? "?" : String(decoding: buffer[..<end].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// The first address of `host`, a name or a number.
func resolve(_ host: String, port: UInt16) throws -> Endpoint {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, nil, &hints, &list)
    guard code == 0, let first = list, let address = first.pointee.ai_addr else {
        throw CommandError("cannot find the host \(host): \(String(cString: gai_strerror(code)))")
    }
    defer { freeaddrinfo(list) }
    if first.pointee.ai_family == AF_INET {
        let bits = UnsafeRawPointer(address).loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        return Endpoint(IPAddress(v4: UInt32(bigEndian: bits)), port)
    }
    let high = UnsafeRawPointer(address).loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    let low = UnsafeRawPointer(address).loadUnaligned(fromByteOffset: 16, as: UInt64.self)
    return Endpoint(IPAddress(high: UInt64(bigEndian: high), low: UInt64(bigEndian: low)), port)
}
