// Addresses as the chisocket calls take and give them, and their forms in records and in struct sockaddr.
import CLinux
import ControlRecords
import Glibc

/// An IPv4 or IPv6 address and a TCP port.
public struct ChisocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// The two address families.
    public enum Family: Sendable {
        /// AF_INET.
        case ipv4
        /// AF_INET6.
        case ipv6

        /// AF_INET or AF_INET6.
        public var domain: Int32 { self == .ipv4 ? AF_INET : AF_INET6 }
    }

    /// The family.
    public let family: Family
    /// The 16 bytes in network order as two numbers; IPv4 is mapped (RFC 4291 2.5.5.2).
    let high: UInt64, low: UInt64
    /// The port in host order.
    public var port: UInt16
    /// The scope of a link-local IPv6 address, else 0.
    public let scope: UInt32

    init(family: Family, high: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
        self.family = family
        self.high = high
        self.low = low
        self.port = port
        self.scope = scope
    }

    /// 0.0.0.0 or ::, every address of this host, with `port` (0: the daemon chooses one).
    public static func any(_ family: Family = .ipv4, port: UInt16) -> ChisocketAddress {
        ChisocketAddress(family: family, high: 0, low: family == .ipv4 ? 0xFFFF_0000_0000 : 0, port: port)
    }

    /// The address in `text`, such as "127.0.0.1" or "::1"; nil if it is not one. Host names: see `resolve`.
    public init?(_ text: String, port: UInt16) {
        var v4 = in_addr()
        var v6 = in6_addr()
        if inet_pton(AF_INET, text, &v4) == 1 {
            self.init(family: .ipv4, high: 0, low: 0xFFFF_0000_0000 | UInt64(UInt32(bigEndian: v4.s_addr)), port: port)
        } else if inet_pton(AF_INET6, text, &v6) == 1 {
            let (high, low) = withUnsafeBytes(of: &v6) {
                ($0.load(as: UInt64.self).bigEndian, $0.load(fromByteOffset: 8, as: UInt64.self).bigEndian)
            }
            self.init(family: .ipv6, high: high, low: low, port: port)
        } else {
            return nil
        }
    }

    /// The addresses getaddrinfo(3) finds for a host name or address, in its order; never empty.
    /// - Throws: `ChisocketError` with EHOSTUNREACH if there is none.
    public static func resolve(
        _ host: String, port: UInt16, family: Family? = nil
    ) throws(ChisocketError) -> [ChisocketAddress] {
        var hints = addrinfo()
        hints.ai_family = family?.domain ?? AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &found)
        defer { if let found { freeaddrinfo(found) } }
        var addresses: [ChisocketAddress] = []
        var next = code == 0 ? found : nil
        while let one = next {
            if let raw = one.pointee.ai_addr, let address = ChisocketAddress(raw, length: one.pointee.ai_addrlen) {
                addresses.append(address)
            }
            next = one.pointee.ai_next
        }
        guard !addresses.isEmpty else {
            let reason = code == 0 ? "it has no address" : String(cString: gai_strerror(code))
            throw .unknownHost(host, reason: reason)
        }
        return addresses
    }

    /// The address in a `struct sockaddr` of `length` bytes; nil if the family is another one or the length too short.
    public init?(_ raw: UnsafePointer<sockaddr>, length: socklen_t) {
        // Bounds: nothing is loaded before `length` is compared with the struct it belongs to.
        guard length >= MemoryLayout<sa_family_t>.size else { return nil }
        let bytes = UnsafeRawPointer(raw)
        switch Int32(bytes.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET where Int(length) >= MemoryLayout<sockaddr_in>.size:
            let v4 = bytes.loadUnaligned(as: sockaddr_in.self)
            self.init(
                family: .ipv4, high: 0, low: 0xFFFF_0000_0000 | UInt64(UInt32(bigEndian: v4.sin_addr.s_addr)),
                port: UInt16(bigEndian: v4.sin_port))
        case AF_INET6 where Int(length) >= MemoryLayout<sockaddr_in6>.size:
            let v6 = bytes.loadUnaligned(as: sockaddr_in6.self)
            self.init(
                family: .ipv6, high: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self).bigEndian,
                low: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self).bigEndian,
                port: UInt16(bigEndian: v6.sin6_port), scope: v6.sin6_scope_id)
        default:
            return nil
        }
    }

    /// Calls `body` with the `struct sockaddr` of this address and its length.
    public func withSockaddr<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        var storage = sockaddr_storage()
        // Bounds: sockaddr_storage (128 bytes) has room for sockaddr_in6 (28), of which every byte written is part.
        let length = withUnsafeMutableBytes(of: &storage) { bytes -> socklen_t in
            bytes.storeBytes(of: sa_family_t(family.domain), as: sa_family_t.self)
            bytes.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
            guard family == .ipv6 else {
                bytes.storeBytes(of: UInt32(truncatingIfNeeded: low).bigEndian, toByteOffset: 4, as: UInt32.self)
                return socklen_t(MemoryLayout<sockaddr_in>.size)
            }
            bytes.storeBytes(of: high.bigEndian, toByteOffset: 8, as: UInt64.self)
            bytes.storeBytes(of: low.bigEndian, toByteOffset: 16, as: UInt64.self)
            bytes.storeBytes(of: scope, toByteOffset: 24, as: UInt32.self)
            return socklen_t(MemoryLayout<sockaddr_in6>.size)
        }
        return withUnsafePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    /// "127.0.0.1:80" or "[::1]:80".
    public var description: String {
        let host = withSockaddr { raw, _ -> String in
            var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
            let place = UnsafeRawPointer(raw).advanced(by: family == .ipv4 ? 4 : 8)
            guard inet_ntop(family.domain, place, &text, socklen_t(text.count)) != nil else { return "?" }
            return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        return family == .ipv4 ? "\(host):\(port)" : "[\(host)]:\(port)"
    }

    // MARK: Records

    /// The address in a record; nil where there is none.
    init?(_ record: chitcp_address) {
        let family: Family
        switch Int32(record.family) {
        case AF_INET: family = .ipv4
        case AF_INET6: family = .ipv6
        default: return nil
        }
        let (high, low) = withUnsafeBytes(of: record.bytes) {
            (
                $0.loadUnaligned(as: UInt64.self).bigEndian,
                $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self).bigEndian
            )
        }
        self.init(
            family: family, high: high, low: low, port: UInt16(bigEndian: record.port), scope: record.scope_id)
    }

    /// This address as records hold it.
    var record: chitcp_address {
        var record = chitcp_address()
        withUnsafeMutableBytes(of: &record.bytes) {
            $0.storeBytes(of: high.bigEndian, as: UInt64.self)
            $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        record.port = port.bigEndian
        record.family = UInt16(family.domain)
        record.scope_id = scope
        return record
    }
}
