// Rates and times without floating point and without overflow.

/// a * b / c, rounded down, in full precision; negative operands count as 0, and what does not fit an Int is Int.max.
@inline(__always) func proportion(_ a: Int, _ b: Int, _ c: Int) -> Int {
    let (high, low) = UInt64(max(a, 0)).multipliedFullWidth(by: UInt64(max(b, 0)))
    let divisor = UInt64(max(c, 1))
    if high == 0 { return Int(clamping: low / divisor) }
    return high < divisor ? Int(clamping: divisor.dividingFullWidth((high, low)).quotient) : Int.max
}

/// Nanoseconds in a second.
let nanosecondsPerSecond = 1_000_000_000
