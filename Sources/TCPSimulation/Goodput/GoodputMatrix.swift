// The goodput matrix: named cells, and the text that is checked in.
import TCPEngine
import TCPSegments

/// The cells, table by table, and how a row is written.
public enum GoodputMatrix {
    /// Cells that are printed together.
    public struct Table: Sendable {
        /// A sentence or two.
        public let title: String
        /// Its rows.
        public let cells: [GoodputCell]
        /// How long each is measured.
        public let measured: TimeInterval
    }

    /// What stands above the tables.
    public static let introduction = """
        Bulk flows in virtual time through one bottleneck, MSS 1460, measured for 10 seconds after a warm-up unless a table says otherwise.
        A queue's length and the threshold of its marks are in bandwidth-delay products; it holds ten packets or more.

        ideal: what the link carries, or under loss the algorithm's own formula allows, whichever is less: sqrt(3/2p) segments a round trip
          for the standard's algorithm, RFC 9438 5.1 for CUBIC, the link without what is lost for BBR. So few losses fall into the time that
          rows with rare ones differ from it by their number.
        Jain: Jain's index of the measured time, (sum x)^2 / (n sum x^2).
        converged: from the start of the last flow to the beginning of the first window in which Jain's index is 0.95 or more, and is so in
          every window that begins within it. A window lasts a second, or twenty round trips of the path if they take longer: shorter ones
          show single reductions of the congestion window, and a window by itself may be where two curves cross. "> 9.9 s" means that it did
          not come to that in so long. Flows begin 137 ms apart unless a table says otherwise.
        marked: packets that the queue gave ECN's mark.
        """

    /// All that is printed.
    public static var tables: [Table] {
        [
            Table(title: "One flow on all paths, and two and four on some.", cells: cells, measured: .seconds(10)),
            Table(
                title:
                    "A path that reorders slightly: 1 % by a quarter of the round trip, loss 0.003 %, measured for 120 s: losses are rare.",
                cells: reorderingCells, measured: .seconds(120)),
            Table(
                title: "Late comers: each flow begins 10 s after the one before, measured for 60 s.",
                cells: convergenceCells, measured: .seconds(60)),
            Table(
                title: "Marks: the queue marks from its threshold on (RFC 3168; accecn: accurate feedback, RFC 9768).",
                cells: markingCells, measured: .seconds(10)),
        ]
    }

    static let losses = [0, 100, 1_000, 10_000, 50_000]
    static let delays: [TimeInterval] = [.microseconds(100), .milliseconds(10), .milliseconds(50), .milliseconds(150)]

    /// All cells: every algorithm with every loss and delay at 100 Mbit/s and a queue of one bandwidth-delay product, and around
    /// these the other rates, queues, disturbances and numbers of flows.
    static var cells: [GoodputCell] {
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
    static var reorderingCells: [GoodputCell] {
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

    /// Flows that have the path for themselves until another one comes.
    static var convergenceCells: [GoodputCell] {
        var cells: [GoodputCell] = []
        for algorithm in [CongestionControlAlgorithm.reno, .cubic, .bbr] {
            for (rate, flows) in [(10_000_000, 2), (100_000_000, 2), (100_000_000, 4)] as [(Int64, Int)] {
                for delay in delays[1...2] {
                    for tenths in [1, 10] {
                        cells.append(
                            GoodputCell(
                                algorithm, loss: 0, delay: delay, queueTenths: tenths, rate: rate, flows: flows,
                                apart: .seconds(10)))
                    }
                }
            }
        }
        return cells
    }

    /// A queue of one bandwidth-delay product that marks from a fifth of it on, with both kinds of feedback.
    static var markingCells: [GoodputCell] {
        var cells: [GoodputCell] = []
        for algorithm in [CongestionControlAlgorithm.reno, .cubic, .bbr] {
            for ecn in [ECNUse.classic, .accurate] {
                for rate in [10_000_000, 100_000_000] as [Int64] {
                    for delay in delays.dropFirst() {
                        cells.append(
                            GoodputCell(
                                algorithm, loss: 0, delay: delay, queueTenths: 10, rate: rate, ecn: ecn, markTenths: 2))
                    }
                }
                for delay in delays[1...2] {
                    cells.append(
                        GoodputCell(
                            algorithm, loss: 0, delay: delay, queueTenths: 10, rate: 100_000_000, flows: 2, ecn: ecn,
                            markTenths: 2))
                }
            }
        }
        return cells
    }

    /// What a test runs: small cells, one or more of each kind.
    static var smallCells: [GoodputCell] {
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
        for algorithm in [CongestionControlAlgorithm.reno, .cubic, .bbr] {
            cells.append(
                GoodputCell(
                    algorithm, loss: 0, delay: .milliseconds(10), queueTenths: 10, rate: 10_000_000, flows: 2,
                    apart: .seconds(3)))
            for ecn in [ECNUse.classic, .accurate] {
                cells.append(
                    GoodputCell(
                        algorithm, loss: 0, delay: .milliseconds(10), queueTenths: 10, rate: 10_000_000, ecn: ecn,
                        markTenths: 2))
            }
        }
        return cells
    }

    /// The table of the small cells, line by line.
    public static func smallTable() throws(ConnectionError) -> String {
        var text = heading + "\n"
        for cell in smallCells {
            text += try row(for: cell, warmUp: .seconds(3) + late(cell), measured: .seconds(5)) + "\n"
        }
        return text
    }

    /// The names of the columns.
    public static var heading: String {
        row([
            "cell", "flows", "Mbit/s", "ideal", "share", "Jain", "converged", "queueing", "rexmit", "dropped", "marked",
            "RTO", "needless", "undone",
        ])
    }

    /// Runs a cell and writes its row.
    public static func row(
        for cell: GoodputCell, warmUp: TimeInterval, measured: TimeInterval
    ) throws(ConnectionError) -> String {
        let result = try cell.run(warmUp: warmUp, measured: measured, seed: 1)
        return row([
            name(of: cell), String(cell.flows), megabits(result.goodput), megabits(result.ideal),
            "\(decimal(result.share, 10)) %", decimal(result.fairness, 1000), seconds(result.convergence),
            milliseconds(result.queueing), String(result.retransmitted), String(result.dropped),
            cell.markTenths > 0 ? String(result.marked) : "-", String(result.timeouts), String(result.needless),
            String(result.undone),
        ])
    }

    /// The time before measuring: long enough for every flow to have left slow start behind.
    public static func warmUp(for cell: GoodputCell) -> TimeInterval {
        (cell.delay > .milliseconds(100) ? .seconds(20) : .seconds(10)) + late(cell)
    }

    /// When the last flow comes, if it comes to a path that others have filled.
    private static func late(_ cell: GoodputCell) -> TimeInterval {
        cell.apart >= .seconds(1) ? cell.lastStart : .zero
    }

    /// What a row begins with, e.g. `cubic 100M 10.0ms loss 0.1% queue 1.0 random`.
    public static func name(of cell: GoodputCell) -> String {
        let loss = cell.disturbance == .slightly ? "0.003%" : "\(decimal(cell.loss, 10_000))%"
        var words = [
            cell.algorithm.rawValue, "\(cell.rate / 1_000_000)M",
            "\(decimal(Int(cell.delay.nanoseconds / 100_000), 10))ms", "loss \(loss)",
            "queue \(decimal(cell.queueTenths, 10))", cell.disturbance.rawValue,
        ]
        if cell.apart >= .seconds(1) { words.append("late \(cell.apart.nanoseconds / 1_000_000_000)s") }
        if cell.markTenths > 0 {
            words.append("\(cell.ecn == .accurate ? "accecn" : "ecn") \(decimal(cell.markTenths, 10))")
        }
        return words.joined(separator: " ")
    }

    private static func megabits(_ rate: Int64) -> String { decimal(Int(rate / 10_000), 100) }
    private static func milliseconds(_ time: TimeInterval) -> String {
        "\(decimal(Int(time.nanoseconds / 10_000), 100)) ms"
    }

    private static func seconds(_ convergence: Convergence) -> String {
        switch convergence {
        case .alone: "-"
        case .after(let time): "\(decimal(Int(time.nanoseconds / 10_000_000), 100)) s"
        case .notWithin(let time): "> \(decimal(Int(time.nanoseconds / 100_000_000), 10)) s"
        }
    }

    /// `value` / `scale` with as many digits as the scale has zeros, those at the end left out for scales above 1000.
    private static func decimal(_ value: Int, _ scale: Int) -> String {
        var fraction = String(value % scale)
        let digits = String(scale).count - 1
        fraction = String(repeating: "0", count: digits - fraction.count) + fraction
        if scale > 1000 { while fraction.count > 0, fraction.hasSuffix("0") { fraction.removeLast() } }
        return fraction.isEmpty ? "\(value / scale)" : "\(value / scale).\(fraction)"
    }

    private static let widths = [57, 6, 9, 9, 9, 7, 11, 12, 9, 9, 8, 6, 10, 8]

    private static func row(_ cells: [String]) -> String {
        zip(cells, widths).enumerated().map { index, pair in
            let (text, width) = pair
            let padding = String(repeating: " ", count: max(1, width - text.count))
            return index == 0 ? text + padding : padding + text
        }.joined()
    }
}
