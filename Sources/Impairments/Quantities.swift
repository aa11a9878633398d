// Probabilities, times, rates and sizes as people write them: 5%, 20ms, 10mbit, 100kB.
import TCPSegments

/// Reads quantities with units.
public enum Quantity {
    /// Parts per million from `5%` or `0.05`; nil unless it is a number from 0 to 100 %.
    public static func probability(_ text: some StringProtocol) -> Int? {
        let percent = text.hasSuffix("%")
        guard let millionths = decimal(percent ? text.dropLast() : text[...], scale: percent ? 10_000 : 1_000_000),
            (0...1_000_000).contains(millionths)
        else { return nil }
        return Int(millionths)
    }

    /// A time from `20ms`, `1.5s`, `300us` or `10ns`.
    public static func time(_ text: some StringProtocol) -> TimeInterval? {
        for (unit, scale) in [("ms", 1_000_000), ("us", 1_000), ("ns", 1), ("s", 1_000_000_000)] as [(String, Int64)]
        where text.hasSuffix(unit) {
            return decimal(text.dropLast(unit.count), scale: scale).map { .nanoseconds($0) }
        }
        return nil
    }

    /// Bytes from `4096`, `100kB`, `64KiB`, `1MiB`.
    public static func size(_ text: some StringProtocol) -> Int? {
        for (unit, scale) in [
            ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1000), ("MB", 1_000_000), ("k", 1 << 10),
            ("M", 1 << 20),
        ] as [(String, Int64)] where text.hasSuffix(unit) {
            return decimal(text.dropLast(unit.count), scale: scale).map { Int($0) }
        }
        return decimal(text[...], scale: 1).map { Int($0) }
    }

    /// A decimal number, 0 or more, times `scale`, without floating point.
    private static func decimal(_ text: some StringProtocol, scale: Int64) -> Int64? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, let whole = UInt32(parts[0]) else { return nil }
        var value = Int128(whole) * Int128(scale)
        if parts.count == 2 {
            guard (1...9).contains(parts[1].count), let fraction = UInt32(parts[1]) else { return nil }
            var power: Int128 = 1
            for _ in parts[1] { power *= 10 }
            value += Int128(fraction) * Int128(scale) / power
        }
        return Int64(exactly: value)
    }
}
