// sockaddr of IPv4 and IPv6 to endpoints and back.
import Glibc
import TCPSegments

/// What an address argument says.
enum GivenAddress {
    case endpoint(Endpoint)
    /// AF_UNSPEC: connect(2) dissolves the association.
    case unspecified

    /// Reads `length` bytes at `address`.
    static func read(_ address: UnsafePointer<sockaddr>?, _ length: socklen_t) -> Result<GivenAddress, CallFailure> {
        guard let address else { return .failure(CallFailure(error: EFAULT)) }
        guard length >= MemoryLayout<sa_family_t>.size else { return .failure(CallFailure(error: EINVAL)) }
        let raw = UnsafeRawPointer(address)
        switch Int32(raw.loadUnaligned(as: sa_family_t.self)) {
        case AF_UNSPEC: return .success(.unspecified)
        case AF_INET:
            guard length >= MemoryLayout<sockaddr_in>.size else { return .failure(CallFailure(error: EINVAL)) }
            let port = UInt16(bigEndian: raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
            let bits = UInt32(bigEndian: raw.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            return .success(.endpoint(Endpoint(IPAddress(v4: bits), port)))
        case AF_INET6:
            // Bounds: sin6_addr ends at byte 24; Linux takes addresses without a scope.
            guard length >= 24 else { return .failure(CallFailure(error: EINVAL)) }
            let port = UInt16(bigEndian: raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
            let address = IPAddress(
                high: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
                low: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self)))
            return .success(.endpoint(Endpoint(address, port)))
        default: return .failure(CallFailure(error: EAFNOSUPPORT))
        }
    }
}

/// Writes an endpoint as accept(2) does: cut to the room there is, with its full length in `length`. Sockets of AF_INET6 show
/// IPv4 addresses as mapped ones.
func store(
    _ endpoint: Endpoint, isIPv6: Bool, _ room: UnsafeMutablePointer<sockaddr>?,
    _ length: UnsafeMutablePointer<socklen_t>?
) {
    guard let room, let length else { return }
    var bytes = [UInt8](repeating: 0, count: isIPv6 ? 28 : 16)
    bytes.withUnsafeMutableBytes { raw in
        raw.storeBytes(of: sa_family_t(isIPv6 ? AF_INET6 : AF_INET), as: sa_family_t.self)
        raw.storeBytes(of: endpoint.port.bigEndian, toByteOffset: 2, as: UInt16.self)
        if isIPv6 {
            raw.storeBytes(of: endpoint.address.high.bigEndian, toByteOffset: 8, as: UInt64.self)
            raw.storeBytes(of: endpoint.address.low.bigEndian, toByteOffset: 16, as: UInt64.self)
        } else {
            raw.storeBytes(of: endpoint.address.v4Bits.bigEndian, toByteOffset: 4, as: UInt32.self)
        }
    }
    // Bounds: the smaller of the caller's room and the struct's length.
    let count = min(Int(length.pointee), bytes.count)
    bytes.withUnsafeBytes { raw in
        if let base = raw.baseAddress, count > 0 {
            UnsafeMutableRawPointer(room).copyMemory(from: base, byteCount: count)
        }
    }
    length.pointee = socklen_t(bytes.count)
}
