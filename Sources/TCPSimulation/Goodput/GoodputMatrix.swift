// The goodput matrix: named cells, and the text that is checked in.
import TCPEngine
import TCPSegments

/// The cells, and how a row is written.
public enum GoodputMatrix {
    static let losses = [0, 100, 1_000, 10_000, 50_000]
    static let delays: [TimeInterval] = [.microseconds(100), .milliseconds(10), .milliseconds(50), .milliseconds(150)]

    /// All cells: every algorithm with every loss and delay at 100 Mbit/s and a queue of one bandwidth-delay product, and around
    /// these the other rates, queues, disturbances and numbers of flows.
    public static var cells: [GoodputCell] {
        var cells: [GoodputCell] = []
        for algorithm in [CongestionControlAlgorithm.reno, .cubic, .bbr] {
            for delay in delays {
                for loss in losses {
                    cells.append(
                        GoodputCell(algorithm, loss: loss, delay: delay, queueTenths: 10, rate: 100_000_000))
                }
            }
            // Queues, at both ends of the losses that do not drown everything.
            for delay in delays.dropFirst() {
                for tenths in [1, 40] {
                    for loss in [0, 1_000] {
                        cells.append(
                            GoodputCell(algorithm, loss: loss, delay: delay, queueTenths: tenths, rate: 100_000_000))
                    }
                }
            }
            // Slower and faster links. A gigabit at 300 ms needs more than the largest buffer.
            for delay in delays {
                for loss in [0, 1_000] {
                    for tenths in [1, 10] {
                        cells.append(
                            GoodputCell(algorithm, loss: loss, delay: delay, queueTenths: tenths, rate: 10_000_000))
                    }
                }
            }
            for delay in delays.dropLast() {
                for loss in [0, 100] {
                    cells.append(
                        GoodputCell(algorithm, loss: loss, delay: delay, queueTenths: 10, rate: 1_000_000_000))
                }
            }
            // Disturbances.
            for delay in delays.dropFirst() {
                for disturbance in [GoodputCell.Disturbance.bursts, .reorder, .duplicate] {
                    for loss in disturbance == .bursts ? [1_000, 10_000] : [0, 1_000] {
                        cells.append(
                            GoodputCell(
                                algorithm, loss: loss, delay: delay, queueTenths: 10, disturbance: disturbance,
                                rate: 100_000_000))
                    }
                }
            }
            // Fairness.
            for delay in delays[1...2] {
                for tenths in [1, 10] {
                    for flows in [2, 4] {
                        cells.append(
                            GoodputCell(
                                algorithm, loss: 0, delay: delay, queueTenths: tenths, rate: 100_000_000, flows: flows))
                    }
                }
            }
        }
        return cells
    }

    /// The slightly reordering path: one in a hundred by a quarter of the round trip, loss 0.003 %, round trip 66 ms.
    public static var reorderingCells: [GoodputCell] {
        var cells: [GoodputCell] = []
        for algorithm in [CongestionControlAlgorithm.reno, .cubic, .bbr] {
            for rate in [10_000_000, 20_000_000, 50_000_000, 100_000_000] as [Int64] {
                cells.append(
                    GoodputCell(
                        algorithm, loss: 0, delay: .milliseconds(33), queueTenths: 10, disturbance: .slightly,
                        rate: rate))
            }
        }
        return cells
    }

    /// What a test runs: small cells, one or more of each kind.
    public static var smallCells: [GoodputCell] {
        var cells: [GoodputCell] = []
        for algorithm in [CongestionControlAlgorithm.reno, .cubic, .bbr] {
            for loss in [0, 1_000, 10_000] {
                cells.append(
                    GoodputCell(algorithm, loss: loss, delay: .milliseconds(10), queueTenths: 10, rate: 10_000_000))
            }
            for disturbance in [GoodputCell.Disturbance.bursts, .reorder, .duplicate] {
                cells.append(
                    GoodputCell(
                        algorithm, loss: disturbance == .bursts ? 1_000 : 0, delay: .milliseconds(10), queueTenths: 10,
                        disturbance: disturbance, rate: 10_000_000))
            }
        }
        for algorithm in [CongestionControlAlgorithm.cubic, .bbr] {
            cells.append(
                GoodputCell(algorithm, loss: 0, delay: .milliseconds(10), queueTenths: 10, rate: 10_000_000, flows: 2))
        }
        return cells
    }

    /// The table of the small cells, line by line.
    public static func smallTable() throws(ConnectionError) -> String {
        var text = heading + "\n"
        for cell in smallCells { text += try row(for: cell, warmUp: .seconds(3), measured: .seconds(5)) + "\n" }
        return text
    }

    /// The names of the columns.
    public static var heading: String {
        row([
            "cell", "flows", "Mbit/s", "ideal", "share", "Jain", "queueing", "rexmit", "dropped", "RTO", "needless",
            "undone",
        ])
    }

    /// Runs a cell and writes its row.
    public static func row(
        for cell: GoodputCell, warmUp: TimeInterval, measured: TimeInterval
    ) throws(ConnectionError) -> String {
        let result = try cell.run(warmUp: warmUp, measured: measured, seed: 1)
        return row([
            name(of: cell), String(cell.flows), megabits(result.goodput), megabits(result.ideal),
            "\(decimal(result.share, 10)) %", decimal(result.fairness, 1000), milliseconds(result.queueing),
            String(result.retransmitted), String(result.dropped), String(result.timeouts), String(result.needless),
            String(result.undone),
        ])
    }

    /// The time before measuring: long enough to have left slow start behind.
    public static func warmUp(for cell: GoodputCell) -> TimeInterval {
        cell.delay > .milliseconds(100) ? .seconds(20) : .seconds(10)
    }

    /// What a row begins with, e.g. `cubic 100M 10.0ms loss 0.1% queue 1.0 random`.
    public static func name(of cell: GoodputCell) -> String {
        let loss = cell.disturbance == .slightly ? "0.003%" : "\(decimal(cell.loss, 10_000))%"
        return [
            cell.algorithm.rawValue, "\(cell.rate / 1_000_000)M", "\(cell.delay.nanoseconds / 100_000)",
            "loss \(loss)", "queue \(decimal(cell.queueTenths, 10))", cell.disturbance.rawValue,
        ].enumerated().map { $0.offset == 2 ? "\(decimal(Int($0.element) ?? 0, 10))ms" : $0.element }.joined(
            separator: " ")
    }

    private static func megabits(_ rate: Int64) -> String { decimal(Int(rate / 10_000), 100) }
    private static func milliseconds(_ time: TimeInterval) -> String {
        "\(decimal(Int(time.nanoseconds / 10_000), 100)) ms"
    }

    /// `value` / `scale` with as many digits as the scale has zeros, those at the end left out for scales above 1000.
    private static func decimal(_ value: Int, _ scale: Int) -> String {
        var fraction = String(value % scale)
        let digits = String(scale).count - 1
        fraction = String(repeating: "0", count: digits - fraction.count) + fraction
        if scale > 1000 { while fraction.count > 0, fraction.hasSuffix("0") { fraction.removeLast() } }
        return fraction.isEmpty ? "\(value / scale)" : "\(value / scale).\(fraction)"
    }

    private static let widths = [44, 6, 9, 9, 9, 7, 12, 9, 9, 6, 10, 8]

    private static func row(_ cells: [String]) -> String {
        zip(cells, widths).enumerated().map { index, pair in
            let (text, width) = pair
            let padding = String(repeating: " ", count: max(1, width - text.count))
            return index == 0 ? text + padding : padding + text
        }.joined()
    }
}
