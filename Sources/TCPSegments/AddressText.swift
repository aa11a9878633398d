// Addresses as text: dotted decimal, RFC 4291 2.2 and RFC 5952.

extension IPAddress: LosslessStringConvertible {
    /// Parses `192.0.2.1` or `2001:db8::1` (with `::`, and with an embedded IPv4 address).
    public init?(_ text: String) {
        if let v4 = Self.parseIPv4(text[...]) {
            self.init(v4: v4)
            return
        }
        let halves = text.split(separator: "::", maxSplits: 2, omittingEmptySubsequences: false)
        guard text.contains(":"), halves.count <= 2 else { return nil }
        var groups: [[UInt16]] = []
        for half in halves {
            guard let parsed = Self.parseGroups(half) else { return nil }
            groups.append(parsed)
        }
        let count = groups.reduce(0) { $0 + $1.count }
        let all: [UInt16]
        if groups.count == 2 {
            guard count <= 7 else { return nil }
            all = groups[0] + Array(repeating: 0, count: 8 - count) + groups[1]
        } else {
            guard count == 8 else { return nil }
            all = groups[0]
        }
        self.init(
            high: all[0..<4].reduce(0) { $0 << 16 | UInt64($1) }, low: all[4..<8].reduce(0) { $0 << 16 | UInt64($1) })
    }

    private static func parseIPv4(_ text: Substring) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bits: UInt32 = 0
        for part in parts {
            guard part.count <= 3, part.allSatisfy({ $0.isASCII && $0.isNumber }), let n = UInt8(part) else {
                return nil
            }
            bits = bits << 8 | UInt32(n)
        }
        return bits
    }

    private static func parseGroups(_ text: Substring) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        var groups: [UInt16] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (i, part) in parts.enumerated() {
            if i == parts.count - 1, let v4 = parseIPv4(part) {
                groups += [UInt16(v4 >> 16), UInt16(v4 & 0xFFFF)]
            } else {
                guard part.count <= 4, let n = UInt16(part, radix: 16) else { return nil }
                groups.append(n)
            }
        }
        return groups.count <= 8 ? groups : nil
    }

    /// The address as RFC 5952 recommends it; IPv4 in dotted decimal.
    public var description: String {
        if isIPv4 { return (0..<4).map { String(v4Bits >> (24 - 8 * UInt32($0)) & 0xFF) }.joined(separator: ".") }
        var groups: [UInt16] = []
        for half in [high, low] {
            for shift in [48, 32, 16, 0] as [UInt64] { groups.append(UInt16(truncatingIfNeeded: half >> shift)) }
        }
        var best = 0..<0
        var i = 0
        while i < 8 {
            var j = i
            while j < 8, groups[j] == 0 { j += 1 }
            if j - i > max(best.count, 1) { best = i..<j }
            i = max(j, i + 1)
        }
        func text(_ range: Range<Int>) -> String { range.map { String(groups[$0], radix: 16) }.joined(separator: ":") }
        return best.isEmpty ? text(0..<8) : text(0..<best.lowerBound) + "::" + text(best.upperBound..<8)
    }
}

extension Endpoint: CustomStringConvertible {
    /// `192.0.2.1:80` or `[2001:db8::1]:80`.
    public var description: String { address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)" }
}
