// Demultiplexing by four-tuple: open addressing with linear probing.
import TCPSegments

/// What a host holds under a four-tuple. An enum, so that finding out which costs a comparison and no dynamic cast.
enum HostEntry {
    case connection(Connection)
    case halfOpen(HalfOpen)
    case timeWait(TimeWaitRecord)

    var tuple: FourTuple {
        switch self {
        case .connection(let connection): return connection.tuple
        case .halfOpen(let halfOpen): return halfOpen.tuple
        case .timeWait(let record): return record.tuple
        }
    }

    /// True unless it is a connection that waits for a turn on its link, where nothing but the table keeps it alive.
    var mayLeave: Bool {
        switch self {
        case .connection(let connection): return connection.isDetached
        case .halfOpen, .timeWait: return true
        }
    }
}

/// A map from four-tuple to entry. A slot is 16 bytes: the entry knows its tuple, and the hash beside it tells nearly always
/// whether to ask.
struct ConnectionTable {
    private struct Slot {
        var entry: HostEntry?
        var hash: UInt32 = 0
    }

    private var slots: [Slot]
    private var mask: Int
    private(set) var count = 0
    private let key: UInt64
    private let otherKey: UInt64

    init(key: UInt64) {
        self.key = key
        otherKey = key &* 0x9e37_79b9_7f4a_7c15 ^ 0xbf58_476d_1ce4_e5b9
        mask = 15
        slots = Array(repeating: Slot(), count: 16)
    }

    /// A folded multiplication with a secret key (the construction of wyhash): cheap, and not to be steered from outside.
    @inline(__always)
    private func hash(_ t: FourTuple) -> UInt32 {
        func turned(_ x: UInt64) -> UInt64 { x << 32 | x >> 32 }
        let ports = UInt64(t.remote.port) << 16 | UInt64(t.local.port)
        let hosts = t.remote.address.low ^ turned(t.local.address.low) ^ key
        let rest = t.remote.address.high ^ turned(t.local.address.high ^ ports) ^ otherKey
        let (high, low) = hosts.multipliedFullWidth(by: rest)
        return UInt32(truncatingIfNeeded: high ^ low ^ (high ^ low) >> 32)
    }

    private func home(_ hash: UInt32) -> Int { Int(hash) & mask }

    subscript(tuple: FourTuple) -> HostEntry? {
        let wanted = hash(tuple)
        var i = home(wanted)
        while let entry = slots[i].entry {
            if slots[i].hash == wanted, entry.tuple == tuple { return entry }
            i = (i + 1) & mask
        }
        return nil
    }

    /// The connection with this tuple, if there is one, without counting a reference to it: 11 of 193 ns a segment. The caller
    /// knows that it stays alive.
    func connection(_ tuple: FourTuple) -> Unmanaged<Connection>? {
        let wanted = hash(tuple)
        var i = home(wanted)
        while slots[i].entry != nil {
            if slots[i].hash == wanted, case .connection(let connection) = slots[i].entry, connection.tuple == tuple {
                return Unmanaged.passUnretained(connection)
            }
            i = (i + 1) & mask
        }
        return nil
    }

    /// Puts `entry` under its tuple, in place of what is there.
    mutating func set(_ entry: HostEntry) {
        if (count + 1) * 3 > (mask + 1) * 2 { resize(to: (mask + 1) * 2) }
        let tuple = entry.tuple
        let hash = hash(tuple)
        var i = home(hash)
        while let other = slots[i].entry {
            if slots[i].hash == hash, other.tuple == tuple {
                precondition(other.mayLeave, "a connection is replaced before it was detached")
                slots[i].entry = entry
                return
            }
            i = (i + 1) & mask
        }
        slots[i] = Slot(entry: entry, hash: hash)
        count += 1
    }

    mutating func remove(_ tuple: FourTuple) {
        let wanted = hash(tuple)
        var i = home(wanted)
        while let entry = slots[i].entry, slots[i].hash != wanted || entry.tuple != tuple { i = (i + 1) & mask }
        guard let leaving = slots[i].entry else { return }
        precondition(leaving.mayLeave, "a connection leaves the table before it was detached")
        // Linear probing without tombstones: later entries of the run move up where they may.
        var hole = i
        var j = (i + 1) & mask
        while slots[j].entry != nil {
            let distanceToHome = (j &- home(slots[j].hash)) & mask
            if distanceToHome >= (j &- hole) & mask {
                slots[hole] = slots[j]
                hole = j
            }
            j = (j + 1) & mask
        }
        slots[hole] = Slot()
        count -= 1
        if mask > 1023, count * 8 < mask + 1 { resize(to: (mask + 1) / 2) }
    }

    /// All entries in no particular order.
    var all: [HostEntry] { slots.compactMap { $0.entry } }

    private mutating func resize(to capacity: Int) {
        let old = slots
        slots = Array(repeating: Slot(), count: capacity)
        mask = capacity - 1
        for slot in old where slot.entry != nil {
            var j = home(slot.hash)
            while slots[j].entry != nil { j = (j + 1) & mask }
            slots[j] = slot
        }
    }
}
