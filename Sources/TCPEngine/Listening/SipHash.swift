// SipHash-2-4 (Aumasson and Bernstein, 2012): the keyed hash behind sequence numbers and ports.

/// A keyed hash of a few 64-bit words. An attacker who does not know the key cannot predict it.
struct SipHash {
    let k0: UInt64
    let k1: UInt64

    /// SipHash-2-4 of `words`, each taken as eight bytes in little-endian order.
    func hash(_ words: UInt64...) -> UInt64 {
        var v0 = k0 ^ 0x736f_6d65_7073_6575
        var v1 = k1 ^ 0x646f_7261_6e64_6f6d
        var v2 = k0 ^ 0x6c79_6765_6e65_7261
        var v3 = k1 ^ 0x7465_6462_7974_6573
        func rotate(_ x: UInt64, _ n: UInt64) -> UInt64 { x << n | x >> (64 - n) }
        func round() {
            v0 = v0 &+ v1
            v1 = rotate(v1, 13) ^ v0
            v0 = rotate(v0, 32)
            v2 = v2 &+ v3
            v3 = rotate(v3, 16) ^ v2
            v0 = v0 &+ v3
            v3 = rotate(v3, 21) ^ v0
            v2 = v2 &+ v1
            v1 = rotate(v1, 17) ^ v2
            v2 = rotate(v2, 32)
        }
        for word in words {
            v3 ^= word
            round()
            round()
            v0 ^= word
        }
        let last = UInt64(truncatingIfNeeded: words.count &* 8) << 56
        v3 ^= last
        round()
        round()
        v0 ^= last
        v2 ^= 0xff
        for _ in 0..<4 { round() }
        return v0 ^ v1 ^ v2 ^ v3
    }
}
