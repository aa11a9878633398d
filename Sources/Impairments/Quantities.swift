// Probabilities, times, rates and sizes as people write them: 5%, 20ms, 10mbit, 100kB.
import TCPSegments

/// Reads quantities with units.
public enum Quantity {
    /// Parts per million from `5%` or `0.05`; nil unless it is a number from 0 to 100 %.
    public static func probability(_ text: some StringProtocol) -> Int? {
        // A number without % is below 1: who writes 1 may mean one in a hundred, or all.
        let percent = text.hasSuffix("%")
        guard let millionths = decimal(percent ? text.dropLast() : text[...], scale: percent ? 10_000 : 1_000_000),
            (0...(percent ? 1_000_000 : 999_999)).contains(millionths)
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

    /// Bits per second from `64kbit`, `10mbit`, `1.5Gbit` or `9600bit`; decimal multiples, as networks have them.
    public static func rate(_ text: some StringProtocol) -> Int64? {
        let text = text.lowercased()
        for (unit, scale) in [("kbit", 1000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)]
            as [(String, Int64)] where text.hasSuffix(unit)
        {
            return decimal(text.dropLast(unit.count), scale: scale)
        }
        return nil
    }

    /// The text from which `probability` reads parts per million again: `1%`, `0.01%`.
    public static func text(probability: Int) -> String { fraction(Int64(probability), of: 10_000) + "%" }

    /// The text from which `time` reads it again.
    public static func text(_ time: TimeInterval) -> String {
        for (unit, scale) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] as [(String, Int64)]
        where time.nanoseconds >= scale && time.nanoseconds % (scale / 1_000) == 0 {
            return fraction(time.nanoseconds, of: scale) + unit
        }
        return "\(time.nanoseconds)ns"
    }

    /// The text from which `size` reads bytes again.
    public static func text(size: Int) -> String {
        for (unit, scale) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("MB", 1_000_000), ("kB", 1000)]
        where size >= scale && size % scale == 0 { return "\(size / scale)\(unit)" }
        return "\(size)"
    }

    /// The text from which `rate` reads bits per second again.
    public static func text(rate: Int64) -> String {
        for (unit, scale) in [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000)] as [(String, Int64)]
        where rate >= scale && rate % (scale / 1000) == 0 { return fraction(rate, of: scale) + unit }
        return "\(rate)bit"
    }

    /// `value` / `unit` as a decimal number without needless zeros; `unit` is a power of ten.
    private static func fraction(_ value: Int64, of unit: Int64) -> String {
        var rest = "\(value % unit)"
        rest = String(repeating: "0", count: "\(unit)".count - 1 - rest.count) + rest
        while rest.hasSuffix("0") { rest.removeLast() }
        return "\(value / unit)" + (rest.isEmpty ? "" : "." + rest)
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
