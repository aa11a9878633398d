// Hostile input of those who capture: pipes that are none, readers that do not read, filters without sense.
import CLinux
import ControlRecords
import Glibc

extension HostileInput {
    /// A pipe whose writing end was given to the victim, if it took it.
    private static func begin(
        _ client: RawControl, _ limit: Int32 = 0, data: [UInt8] = []
    ) throws -> (error: Int32, reading: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure("no pipe") }
        defer { close(ends[1]) }
        return (
            try client.error(of: client.request(CHITCP_OP_CAPTURE, limit, data: data), passing: [ends[1]]), ends[0]
        )
    }

    static let captures: [HostileInput] = [
        HostileInput(.control, "captures into what is no writing end of a pipe") { siege in
            let client = try RawControl(siege.victim)
            var ends: [Int32] = [-1, -1]
            guard pipe(&ends) == 0 else { throw Failure("no pipe") }
            defer { for end in ends { close(end) } }
            let null = open("/dev/null", O_RDWR), folder = open("/tmp", O_RDONLY)
            let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            defer { for descriptor in [null, folder, socket] { close(descriptor) } }
            for wrong in [[], [null], [folder], [socket], [ends[0]]] {
                guard try client.error(of: client.request(CHITCP_OP_CAPTURE), passing: wrong) == EINVAL else {
                    throw Failure("a capture into \(wrong)")
                }
            }
        },
        HostileInput(.control, "captures with senseless limits and filters") { siege in
            let client = try RawControl(siege.victim)
            var foreign = [UInt8](repeating: 0, count: 24)
            foreign[18] = 77
            let size = Int(CHITCP_DATA_MAX)
            for (limit, data) in [
                (-1, []), (.min, []), (0, [1]), (0, foreign), (0, [UInt8](repeating: 0xFF, count: 24)),
                (0, [UInt8](repeating: 0, count: 24 * 17)), (0, [UInt8](repeating: 0, count: size)),
            ] as [(Int32, [UInt8])] {
                let (error, reading) = try begin(client, limit, data: data)
                close(reading)
                guard error == EINVAL else { throw Failure("a capture with \(limit), \(data.count) bytes: \(error)") }
            }
        },
        HostileInput(.control, "captures of one byte a packet, and two at once on a connection") { siege in
            let client = try RawControl(siege.victim)
            let (first, reading) = try begin(client, 1)
            let (second, other) = try begin(client)
            defer { for descriptor in [reading, other] { close(descriptor) } }
            guard first == 0, second == EINVAL else { throw Failure("\(first), \(second)") }
            try checkedTransfer(siege.neighbour.path, to: siege.victim.address)
        },
        HostileInput(.control, "captures that nobody reads, as many as there may be") { siege in
            let clients = try (0..<20).map { _ in try RawControl(siege.victim) }
            var pipes: [Int32] = []
            defer { for descriptor in pipes { close(descriptor) } }
            var refused = 0
            for client in clients {
                let (error, reading) = try begin(client)
                pipes.append(reading)
                if error == EBUSY { refused += 1 } else if error != 0 { throw Failure("error \(error)") }
            }
            guard refused == 4 else { throw Failure("\(refused) refused") }
            for _ in 0..<3 { try checkedTransfer(siege.neighbour.path, to: siege.victim.address) }
            guard siege.victim.residentMemory < 300 << 20 else { throw Failure("it grows without bound") }
        },
        HostileInput(.control, "captures whose readers vanish, or whose connections do") { siege in
            for round in 0..<40 {
                let client = try RawControl(siege.victim)
                let (error, reading) = try begin(client)
                guard error == 0 else { throw Failure("round \(round): error \(error)") }
                if round.isMultiple(of: 2) {
                    close(reading)
                    if round < 4 { try checkedTransfer(siege.neighbour.path, to: siege.victim.address) }
                    client.close()
                } else {
                    client.close()
                    var bytes = [UInt8](repeating: 0, count: 65_536)
                    // The stream ends in order.
                    while read(reading, &bytes, bytes.count) > 0 {}
                    close(reading)
                }
                // The end of a connection is seen a moment later: another one asks behind it.
                let another = try RawControl(siege.victim)
                _ = try another.error(of: another.request(CHITCP_OP_HELLO))
            }
        },
    ]
}
