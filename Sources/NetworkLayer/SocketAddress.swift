// Endpoints and the system's sockaddr.
import Glibc
import TCPSegments

/// A sockaddr_in or sockaddr_in6 with its length.
public struct SocketAddress {
    private var storage = sockaddr_storage()
    /// Bytes of the address.
    public private(set) var length: socklen_t

    /// The address for `endpoint`, IPv4 or IPv6 as it is.
    public init(_ endpoint: Endpoint) { self.init(endpoint, mapped: false) }

    /// The address for `endpoint` as an IPv6 socket sees it: IPv4 as ::ffff:a.b.c.d.
    public init(mapping endpoint: Endpoint) { self.init(endpoint, mapped: true) }

    private init(_ endpoint: Endpoint, mapped: Bool) {
        if endpoint.address.isIPv4 && !mapped {
            var a = sockaddr_in()
            a.sin_family = sa_family_t(AF_INET)
            a.sin_port = endpoint.port.bigEndian
            a.sin_addr.s_addr = endpoint.address.v4Bits.bigEndian
            length = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: a, as: sockaddr_in.self) }
        } else {
            var a = sockaddr_in6()
            a.sin6_family = sa_family_t(AF_INET6)
            a.sin6_port = endpoint.port.bigEndian
            let high = endpoint.address.high.bigEndian
            let low = endpoint.address.low.bigEndian
            withUnsafeMutableBytes(of: &a.sin6_addr) {
                $0.storeBytes(of: high, as: UInt64.self)
                $0.storeBytes(of: low, toByteOffset: 8, as: UInt64.self)
            }
            length = socklen_t(MemoryLayout<sockaddr_in6>.size)
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: a, as: sockaddr_in6.self) }
        }
    }

    /// The address that lies in `bytes` as a struct sockaddr; nil if they are more than any address has.
    public init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count <= MemoryLayout<sockaddr_storage>.size else { return nil }
        length = socklen_t(bytes.count)
        withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: bytes) }
    }

    /// An address for a system call to fill.
    public init() { length = socklen_t(MemoryLayout<sockaddr_storage>.size) }

    /// The family, AF_INET or AF_INET6.
    public var family: Int32 { Int32(storage.ss_family) }

    /// The endpoint, if this is an internet address. IPv4-mapped addresses come out as IPv4.
    public var endpoint: Endpoint? {
        withUnsafeBytes(of: storage) { bytes in
            switch Int32(storage.ss_family) {
            case AF_INET:
                let a = bytes.load(as: sockaddr_in.self)
                return Endpoint(IPAddress(v4: UInt32(bigEndian: a.sin_addr.s_addr)), UInt16(bigEndian: a.sin_port))
            case AF_INET6:
                let a = bytes.load(as: sockaddr_in6.self)
                return withUnsafeBytes(of: a.sin6_addr) { b in
                    let high = UInt64(bigEndian: b.loadUnaligned(as: UInt64.self))
                    let low = UInt64(bigEndian: b.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                    return Endpoint(IPAddress(high: high, low: low), UInt16(bigEndian: a.sin6_port))
                }
            default:
                return nil
            }
        }
    }

    /// Calls `body` with the address as the system wants it.
    public func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        withUnsafePointer(to: storage) { p in
            p.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    /// Calls `body` with room for an address; it sets the length.
    public mutating func fill<R>(_ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> R) -> R {
        var n = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let r = withUnsafeMutablePointer(to: &storage) { p in
            p.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &n) }
        }
        length = min(n, socklen_t(MemoryLayout<sockaddr_storage>.size))
        return r
    }
}
