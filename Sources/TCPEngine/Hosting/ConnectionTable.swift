// Demultiplexing by four-tuple: open addressing with linear probing.
import TCPSegments

/// A map from four-tuple to whatever holds that connection: `Connection`, `HalfOpen` or `TimeWaitRecord`.
struct ConnectionTable {
    private var keys: [FourTuple]
    private var values: [AnyObject?]
    private var mask: Int
    private(set) var count = 0
    private let key: UInt64

    init(key: UInt64) {
        self.key = key
        mask = 15
        keys = Array(repeating: Self.noKey, count: 16)
        values = Array(repeating: nil, count: 16)
    }

    private static let noKey = FourTuple(local: Endpoint(.anyIPv6, 0), remote: Endpoint(.anyIPv6, 0))

    /// A multiplicative mix with a secret key: cheap, and not to be steered from outside.
    private func home(_ t: FourTuple) -> Int {
        var h = (t.remote.address.low ^ key) &* 0x9e37_79b9_7f4a_7c15
        h ^= t.remote.address.high &* 0xc2b2_ae3d_27d4_eb4f
        h = (h ^ (h >> 32)) &+ (UInt64(t.remote.port) << 16 | UInt64(t.local.port)) &* 0xbf58_476d_1ce4_e5b9
        h = (h ^ (h >> 29)) &+ (t.local.address.low ^ t.local.address.high) &* 0x94d0_49bb_1331_11eb
        h = (h ^ (h >> 32)) &* (key | 1)
        return Int(truncatingIfNeeded: h >> 17) & mask
    }

    subscript(tuple: FourTuple) -> AnyObject? {
        var i = home(tuple)
        while let value = values[i] {
            if keys[i] == tuple { return value }
            i = (i + 1) & mask
        }
        return nil
    }

    /// Puts `value` under `tuple`, in place of what is there.
    mutating func set(_ value: AnyObject, for tuple: FourTuple) {
        if (count + 1) * 3 > (mask + 1) * 2 { resize(to: (mask + 1) * 2) }
        var i = home(tuple)
        while values[i] != nil {
            if keys[i] == tuple {
                values[i] = value
                return
            }
            i = (i + 1) & mask
        }
        keys[i] = tuple
        values[i] = value
        count += 1
    }

    mutating func remove(_ tuple: FourTuple) {
        var i = home(tuple)
        while values[i] != nil, keys[i] != tuple { i = (i + 1) & mask }
        guard values[i] != nil else { return }
        // Linear probing without tombstones: later entries of the run move up where they may.
        var hole = i
        var j = (i + 1) & mask
        while values[j] != nil {
            let distanceToHome = (j &- home(keys[j])) & mask
            if distanceToHome >= (j &- hole) & mask {
                keys[hole] = keys[j]
                values[hole] = values[j]
                hole = j
            }
            j = (j + 1) & mask
        }
        values[hole] = nil
        keys[hole] = Self.noKey
        count -= 1
        if mask > 1023, count * 8 < mask + 1 { resize(to: (mask + 1) / 2) }
    }

    /// All entries in no particular order.
    var all: [AnyObject] { values.compactMap { $0 } }

    private mutating func resize(to capacity: Int) {
        let old = (keys, values)
        keys = Array(repeating: Self.noKey, count: capacity)
        values = Array(repeating: nil, count: capacity)
        mask = capacity - 1
        for (i, value) in old.1.enumerated() where value != nil {
            var j = home(old.0[i])
            while values[j] != nil { j = (j + 1) & mask }
            keys[j] = old.0[i]
            values[j] = value
        }
    }
}
