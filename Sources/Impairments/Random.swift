// A small seeded generator: the same numbers on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014). Not for secrets.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// A generator whose sequence is fixed by `seed`.
    public init(seed: UInt64) { state = seed }

    /// The next number of the sequence.
    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// True with a probability of `partsPerMillion`.
    public mutating func chance(_ partsPerMillion: Int) -> Bool {
        guard partsPerMillion > 0 else { return false }
        return Int(next() >> 11) % 1_000_000 < partsPerMillion
    }

    /// A number from 0 to `bound` - 1; 0 if `bound` is not positive.
    public mutating func below(_ bound: Int64) -> Int64 {
        bound > 0 ? Int64(bitPattern: next() >> 1) % bound : 0
    }
}
