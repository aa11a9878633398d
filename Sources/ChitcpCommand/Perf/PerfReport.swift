// What `chitcp perf` found: a table for people, JSON for programs.
import Glibc

/// What a figure counts, and how it is written.
enum PerfUnit: String, Sendable {
    case bytesPerSecond = "bytes/s"
    case nanoseconds = "ns"
    case perSecond = "1/s"
    case bytes = "bytes"

    func text(_ value: Double) -> String {
        switch self {
        case .bytesPerSecond: fixed(value / 1e9, 2) + " GB/s"
        case .nanoseconds: fixed(value / 1e3, 1) + " us"
        case .perSecond: fixed(value, 0) + "/s"
        case .bytes: fixed(value / 1e3, 2) + " kB"
        }
    }
}

/// What a figure is to be (design section 7): a limit on the figure itself, or on its ratio to the kernel's.
enum PerfBudget: Sendable {
    case atLeast(Double)
    case atMost(Double)
    case ratioAtLeast(Double)
    case ratioAtMost(Double)

    /// Whether the figure keeps it; nil if there is nothing to compare with.
    func isMet(by value: Double, kernel: Double?) -> Bool? {
        switch self {
        case .atLeast(let limit): value >= limit
        case .atMost(let limit): value <= limit
        case .ratioAtLeast(let limit): kernel.map { value >= limit * $0 }
        case .ratioAtMost(let limit): kernel.map { value <= limit * $0 }
        }
    }

    func text(_ unit: PerfUnit) -> String {
        switch self {
        case .atLeast(let limit): "≥ \(unit.text(limit))"
        case .atMost(let limit): "≤ \(unit.text(limit))"
        case .ratioAtLeast(let limit): "≥ \(fixed(limit, 2)) of the kernel's"
        case .ratioAtMost(let limit): "≤ \(fixed(limit, 1)) × the kernel's"
        }
    }
}

/// One figure, with the kernel's of the same run if that was measured.
struct PerfFigure: Sendable {
    let name: String
    let unit: PerfUnit
    let value: Double
    var kernel: Double?
    var budget: PerfBudget?

    var ratio: Double? { kernel.map { value / $0 } }
}

/// The middle one of several values; the lower middle one of an even number.
func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? .nan : sorted[(sorted.count - 1) / 2]
}

/// All figures of one call.
struct PerfReport {
    /// The kernel's congestion control, where the kernel was measured.
    let kernelName: String?
    var figures: [PerfFigure] = []

    /// The lines of the table.
    var table: [String] {
        var rows = [["", "chitcp"] + (kernelName.map { ["kernel (\($0))", "ratio"] } ?? []) + ["budget", ""]]
        for figure in figures {
            var row = [figure.name, figure.unit.text(figure.value)]
            if kernelName != nil {
                row.append(figure.kernel.map { figure.unit.text($0) } ?? "-")
                row.append(figure.ratio.map { fixed($0, 2) } ?? "-")
            }
            row.append(figure.budget?.text(figure.unit) ?? "")
            row.append(
                figure.budget?.isMet(by: figure.value, kernel: figure.kernel).map { $0 ? "met" : "MISSED" } ?? "")
            rows.append(row)
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let space = String(repeating: " ", count: widths[column] - cell.count)
                // Figures are flushed right, words left.
                let isFigure = column > 0 && column < row.count - 2
                line += (column > 0 ? "   " : "") + (isFigure ? space + cell : cell + space)
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }

    /// One JSON object a line.
    var json: [String] {
        figures.map { figure in
            func number(_ value: Double?) -> String { value.flatMap { $0.isFinite ? "\($0)" : nil } ?? "null" }
            let met = figure.budget?.isMet(by: figure.value, kernel: figure.kernel)
            return
                "{\"name\":\"\(figure.name)\",\"unit\":\"\(figure.unit.rawValue)\",\"chitcp\":\(number(figure.value)),"
                + "\"kernel\":\(number(figure.kernel)),\"budgetMet\":\(met.map { "\($0)" } ?? "null")}"
        }
    }
}

/// Resident memory of a process in bytes.
func residentBytes(of pid: pid_t) throws -> Double {
    let status = String(decoding: try readFile("/proc/\(pid)/status"), as: UTF8.self)
    guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
        let kilobytes = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap({ Double($0) }
        )
    else { throw CommandError("/proc/\(pid)/status says nothing of memory") }
    return kilobytes * 1024
}
