// Which chisocket a descriptor is: its UNIX socket's abstract name says so, in any process that holds it.
import CLinux
import ControlRecords
import Glibc

/// The identity of a chisocket: "\0chitcp/<daemon>/<id>".
struct DescriptorIdentity: Hashable {
    let daemonID: UInt64
    let socketID: UInt64

    init(daemonID: UInt64, socketID: UInt64) {
        self.daemonID = daemonID
        self.socketID = socketID
    }

    /// The identity of `descriptor`.
    /// - Throws: EBADF if it is not open, ENOTSOCK if it is not a chisocket.
    init(of descriptor: Int32, call: String) throws(ChisocketError) {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard result == 0 else {
            throw ChisocketError(errno: errno, call: call, context: "on descriptor \(descriptor)")
        }
        let place = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
        let isUnix = address.sun_family == sa_family_t(AF_UNIX)
        let parsed = withUnsafeBytes(of: &address) { bytes -> DescriptorIdentity? in
            // Bounds: the kernel reports at most the size of the struct for an abstract name; `min` keeps us inside.
            guard isUnix, Int(length) > place else { return nil }
            return DescriptorIdentity(name: bytes[place..<min(Int(length), bytes.count)])
        }
        guard let parsed else {
            throw ChisocketError(errno: ENOTSOCK, call: call, context: "on descriptor \(descriptor), not a chisocket")
        }
        self = parsed
    }

    /// The identity in an abstract name with its leading zero; nil if the name is not a chisocket's. Allocates nothing:
    /// it runs in every call on a descriptor.
    init?(name: some Collection<UInt8>) {
        var rest = name[...]
        guard rest.popFirst() == 0 else { return nil }
        for letter in CHITCP_NAME_PREFIX.utf8 {
            guard rest.popFirst() == letter else { return nil }
        }
        guard let slash = rest.firstIndex(of: UInt8(ascii: "/")),
            let daemon = Self.number(rest[..<slash]), let socket = Self.number(rest[slash...].dropFirst())
        else { return nil }
        self.init(daemonID: daemon, socketID: socket)
    }

    private static func number(_ digits: some Collection<UInt8>) -> UInt64? {
        guard (1...16).contains(digits.count) else { return nil }
        var value: UInt64 = 0
        for digit in digits {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(digit - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
            default: return nil
            }
        }
        return value
    }
}
