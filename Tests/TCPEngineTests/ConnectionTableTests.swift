// The table of connections against a dictionary.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct ConnectionTableTests {
    private static func entry(_ n: Int) -> HostEntry {
        // Few addresses and ports, so that tuples share parts, and some are IPv6.
        let z = mixed(n)
        let remote =
            z & 1 == 0
            ? IPAddress(v4: 0x0A00_0000 | UInt32(z >> 8 & 7)) : IPAddress(high: 0x2001_0db8 << 32, low: z >> 8 & 3)
        let tuple = FourTuple(
            local: Endpoint(remote.isIPv4 ? IPAddress(10, 9, 9, 9) : IPAddress(high: 0x2001_0db8 << 32, low: 9), 7),
            remote: Endpoint(remote, UInt16(truncatingIfNeeded: z >> 16 & 0xFFF)))
        let syn = SegmentHeader(
            sourcePort: tuple.remote.port, destinationPort: 7, sequenceNumber: SequenceNumber(0), controlBits: .syn)
        let listener = Listener(
            local: tuple.local, backlog: 1, configuration: SharedConfiguration(ConnectionConfiguration()))
        return .halfOpen(
            HalfOpen(
                tuple: tuple, link: LinkID(1), listener: listener, iss: SequenceNumber(0), timestampOffset: 0, syn: syn,
                text: nil, at: .origin))
    }

    private static func identity(_ entry: HostEntry?) -> ObjectIdentifier? {
        switch entry {
        case .connection(let connection): return ObjectIdentifier(connection)
        case .halfOpen(let halfOpen): return ObjectIdentifier(halfOpen)
        case .timeWait(let record): return ObjectIdentifier(record)
        case nil: return nil
        }
    }

    @Test(
        "entries are found after any order of insertion, replacement and removal", arguments: [0, 1, .max] as [UInt64])
    func likeDictionary(key: UInt64) {
        var table = ConnectionTable(key: key)
        var model: [FourTuple: HostEntry] = [:]
        for step in 0..<12_000 {
            let entry = Self.entry(step)
            // It grows to a few thousand entries, shrinks to nearly none, and grows again.
            let grows = step / 3000 % 2 == 0
            if mixed(step + 1_000_000) % 8 < (grows ? 7 : 1) {
                table.set(entry)
                model[entry.tuple] = entry
            } else if let victim = model.keys.first {
                table.remove(victim)
                model[victim] = nil
            }
            table.remove(FourTuple(local: entry.tuple.remote, remote: entry.tuple.remote))
            #expect(table.count == model.count)
            #expect(Self.identity(table[entry.tuple]) == Self.identity(model[entry.tuple]))
            if step % 500 == 0 {
                for (tuple, expected) in model { #expect(Self.identity(table[tuple]) == Self.identity(expected)) }
                #expect(Set(table.all.map { $0.tuple }) == Set(model.keys))
            }
        }
    }
}
