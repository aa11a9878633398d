// What the engine costs: two hosts in one thread, everything between two applications included, and the budgets beside it.
import Glibc
import TCPEngine
import TCPSegments

func column(_ value: Double, _ width: Int, decimals: Int = 0) -> String {
    var scaled = value
    for _ in 0..<decimals { scaled *= 10 }
    var digits = String(Int(scaled.rounded()))
    if decimals > 0 {
        digits = String(repeating: "0", count: max(0, decimals + 1 - digits.count)) + digits
        digits.insert(".", at: digits.index(digits.endIndex, offsetBy: -decimals))
    }
    return String(repeating: " ", count: max(0, width - digits.count)) + digits
}

/// `engine-benchmark [CONNECTIONS]`: how many connections the last table goes up to (100,000 unless told).
let largest = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 0 : 100_000
guard largest >= 1, largest <= 1_000_000 else {
    print("usage: engine-benchmark [CONNECTIONS]   (1 to 1000000, default 100000; a million takes 4 GB)")
    exit(2)
}

let memory = residentMemory()
print(
    """
    established connections, both ends in one process (budget: 1536 bytes an end when idle; time flat)

      connections   bytes an end   ns to set up   ns for a byte there and back
    """)
for count in [1000, 10_000, 100_000, 1_000_000] where count <= largest {
    let figures = try crowd(of: count, above: memory)
    print(
        column(Double(count), 13) + column(figures.memoryPerEnd, 15) + column(figures.setUp, 15)
            + column(figures.exchange, 18))
}

let each = try churn(100_000)
print(
    """

    connect, a byte there, a byte back, close, both ends together: \(column(each, 0)) ns, \
    \(Int(1e9 / each)) connections a second

    """)

let total = 512 << 20
print(
    """
    bulk data, \(total >> 20) MiB a run, \(segmentSize)-byte segments with timestamps: copy in, header, checksum, copy into a
    packet, check, decode, handle, copy into the buffer, copy out, acknowledgments (budget: 190 ns a segment)

      window     loss   polled after        CPU ns per segment   ACKs per 100   segments a transmission
    """)
let everything = Wire()
let cases: [(window: Int, wire: Wire)] = [
    (64 << 10, everything), (256 << 10, everything), (1 << 20, everything), (1 << 20, Wire(burst: 2)),
    (1 << 20, Wire(burst: 1)), (1 << 20, Wire(lossOneIn: 100)),
]
for (window, wire) in cases {
    _ = try transfer(window: window, wire: wire, total: 32 << 20)
    let runs = try (0..<5).map { _ in try transfer(window: window, wire: wire, total: total / 2) }
    let median = runs.sorted { $0.perSegment < $1.perSegment }[runs.count / 2]
    let loss = wire.lossOneIn == 0 ? "  -" : "1 %"
    let burst =
        wire.burst == .max ? "all that left" : wire.burst == 1 ? "each segment " : "\(wire.burst) segments   "
    print(
        "  \(column(Double(window >> 10), 5)) KiB    \(loss)   \(burst)   \(column(median.perSegment, 21))"
            + "\(column(median.acknowledgmentsPer100, 15, decimals: 1))"
            + "\(column(median.segmentsPerTransmission, 26, decimals: 1))")
}
