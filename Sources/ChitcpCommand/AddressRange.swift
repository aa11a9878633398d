// Ranges of addresses as people write them.
import TCPSegments

/// A range in CIDR notation, or one address.
struct AddressRange: Equatable {
    /// The first address.
    let address: IPAddress
    /// How many of its leading bits all addresses of the range share.
    let bits: Int

    /// The range in `text`, such as "10.0.0.0/8" or "::1"; nil if it is not one.
    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = IPAddress(String(parts[0])) else { return nil }
        let most = address.isIPv4 ? 32 : 128
        guard parts.count == 2 else {
            self.address = address
            bits = most
            return
        }
        guard parts[1].allSatisfy({ $0.isASCII && $0.isNumber }), let bits = Int(parts[1]), (0...most).contains(bits)
        else { return nil }
        self.address = address
        self.bits = bits
    }
}
