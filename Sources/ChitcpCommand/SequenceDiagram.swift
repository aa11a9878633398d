// Two daemons' MINIMAL logs as one two-column sequence diagram: pure functions from lines to lines.
import NetworkLayer

/// Where an event of a merged log happened.
enum Side: Equatable, Sendable {
    case client, server
}

/// A line of one of the two logs, and whose it is.
struct LogEvent: Equatable, Sendable {
    let side: Side
    let line: MinimalLine
}

/// What the two logs count.
struct LogCounts: Equatable, Sendable {
    var segments = 0
    var retransmissions = 0
    var dropped = 0
}

/// Merges two logs by time. Lines of the same instant keep their log's order, the client's first.
func mergeLogs(client: String, server: String) -> [LogEvent] {
    func events(_ text: String, _ side: Side) -> [LogEvent] {
        text.split(separator: "\n").compactMap { MinimalLine(parsing: $0) }.map { LogEvent(side: side, line: $0) }
    }
    let left = events(client, .client)
    let right = events(server, .server)
    var merged: [LogEvent] = []
    merged.reserveCapacity(left.count + right.count)
    var i = 0
    var j = 0
    while i < left.count || j < right.count {
        if j == right.count || (i < left.count && left[i].line.time <= right[j].line.time) {
            merged.append(left[i])
            i += 1
        } else {
            merged.append(right[j])
            j += 1
        }
    }
    return merged
}

/// Counts segments sent, those among them that repeat numbers already sent, and those an impairment dropped.
func count(_ events: [LogEvent]) -> LogCounts {
    var counts = LogCounts()
    var highest: [String: UInt32] = [:]
    for event in events {
        guard case .segment(let segment) = event.line.kind else { continue }
        if segment.event == "DROP_SENT" || segment.event == "DROP_RCVD" { counts.dropped += 1 }
        guard segment.isOutgoing else { continue }
        counts.segments += 1
        let length = segment.sequenceLength
        guard length > 0 else { continue }
        let direction = "\(segment.source)>\(segment.destination)"
        let end = segment.seq &+ length
        if let top = highest[direction], Int32(bitPattern: end &- top) <= 0 {
            counts.retransmissions += 1
        } else {
            highest[direction] = end
        }
    }
    return counts
}

/// The diagram of a connection's opening, first data and close.
struct SequenceDiagram {
    private static let column = 14
    private static let arrow = 64

    /// The diagram's lines for `events`; what lies between the first data and the close is counted, not drawn.
    static func render(_ events: [LogEvent], clientName: String, serverName: String) -> [String] {
        let drawn = events.filter { event in
            switch event.line.kind {
            case .segment(let segment): segment.isOutgoing
            case .transition: true
            }
        }
        let firstData = drawn.firstIndex { $0.line.hasData } ?? drawn.count
        let openingEnd = min(firstData + 6, drawn.count)
        let closingStart = max(openingEnd, drawn[openingEnd...].firstIndex { $0.line.beginsClose } ?? drawn.count)

        var lines = [pad(clientName, column) + pad("", arrow) + "  " + serverName]
        guard let start = drawn.first?.line.time else { return lines + ["(the logs hold no segment)"] }
        lines += drawn[..<openingEnd].map { row($0, since: start) }
        let hidden = drawn[openingEnd..<closingStart].count { $0.line.isSegment }
        if hidden > 0 {
            lines.append(pad("", column) + centred("… \(grouped(UInt64(hidden))) segments …", arrow))
        }
        // Data may still flow one way while the other has closed: it is counted like the data before.
        var passed: [LogEvent] = []
        for event in drawn[closingStart...] {
            if event.line.isPlainSegment {
                passed.append(event)
                continue
            }
            lines += summary(passed, since: start)
            passed = []
            lines.append(row(event, since: start))
        }
        lines += summary(passed, since: start)
        return lines
    }

    /// One segment is drawn, more are counted.
    private static func summary(_ segments: [LogEvent], since start: Int64) -> [String] {
        guard segments.count > 1 else { return segments.map { row($0, since: start) } }
        return [pad("", column) + centred("… \(grouped(UInt64(segments.count))) segments …", arrow)]
    }

    private static func row(_ event: LogEvent, since start: Int64) -> String {
        let time = fixed(Double(event.line.time - start) / 1e6, 3)
        let stamp = String(repeating: " ", count: max(0, 10 - time.count)) + time + " ms"
        switch event.line.kind {
        case .transition(_, let to):
            return event.side == .client
                ? pad(to, column) + pad("│", arrow - 1) + "│" + pad("", column) + stamp
                : pad("", column) + pad("│", arrow - 1) + "│ " + pad(to, column - 1) + stamp
        case .segment(let segment):
            let lost = segment.event == "DROP_SENT"
            let label =
                " [\(segment.flags)] \(segment.seq)"
                + (segment.flags.contains(".") ? " ack \(segment.ack)" : "")
                + " win \(segment.win)" + (segment.len > 0 ? " len \(segment.len)" : "") + (lost ? " LOST" : "") + " "
            let room = max(0, arrow - 4 - label.count)
            let left = String(repeating: "─", count: room / 2)
            let right = String(repeating: "─", count: room - room / 2)
            let body =
                event.side == .client
                ? "├" + left + label + right + (lost ? "─✕│" : "─►│")
                : (lost ? "│✕─" : "│◄─") + left + label + right + "┤"
            return pad("", column) + body + pad("", column) + stamp
        }
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func centred(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, (width - text.count) / 2)) + text
    }
}

extension MinimalLine.Segment {
    /// True if this daemon put the segment on its way (or an impairment dropped it there).
    var isOutgoing: Bool { event == "SENT" || event == "DROP_SENT" }
    /// SEG.LEN of RFC 9293 3.4: data, and one each for SYN and FIN.
    var sequenceLength: UInt32 {
        UInt32(truncatingIfNeeded: len) &+ (flags.contains("S") ? 1 : 0) &+ (flags.contains("F") ? 1 : 0)
    }
}

extension MinimalLine {
    fileprivate var isSegment: Bool { if case .segment = kind { true } else { false } }
    /// Neither SYN, FIN nor RST.
    fileprivate var isPlainSegment: Bool {
        if case .segment(let segment) = kind { !segment.flags.contains { "SFR".contains($0) } } else { false }
    }
    fileprivate var hasData: Bool { if case .segment(let segment) = kind { segment.len > 0 } else { false } }
    fileprivate var beginsClose: Bool {
        switch kind {
        case .segment(let segment): segment.flags.contains("F") || segment.flags.contains("R")
        case .transition(let from, _): from == "ESTABLISHED"
        }
    }
}
