// A network: an address and how many of its bits count.

/// An address with a prefix length, like 10.77.0.2/24: a network, or a host's place in one.
public struct IPPrefix: Hashable, Sendable {
    /// The address, bits beyond the prefix included.
    public let address: IPAddress
    /// How many bits count: 0 to 32 for IPv4, to 128 for IPv6.
    public let length: Int

    /// `address`/`length`; nil if the length does not fit the address's family.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...(address.isIPv4 ? 32 : 128)).contains(length) else { return nil }
        self.address = address
        self.length = length
    }

    /// A network from text like `10.77.0.0/24` or `fd00::/64`; nil if it is none.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(String(parts[0])), let length = Int(parts[1]) else {
            return nil
        }
        self.init(address, length: length)
    }

    /// True if `other` is of the same family and agrees in the bits that count.
    public func contains(_ other: IPAddress) -> Bool {
        guard other.isIPv4 == address.isIPv4 else { return false }
        let bits = address.isIPv4 ? 96 + length : length
        func agree(_ a: UInt64, _ b: UInt64, _ count: Int) -> Bool {
            count <= 0 || (a ^ b) >> UInt64(64 - min(count, 64)) == 0
        }
        return agree(address.high, other.high, bits) && agree(address.low, other.low, bits - 64)
    }
}

extension IPPrefix: CustomStringConvertible {
    /// The text from which it can be read again.
    public var description: String { "\(address)/\(length)" }
}
