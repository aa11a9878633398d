// The text of a lab file: the part of YAML that hosts, links and words need, every value with its line.

/// A mistake in a lab file, with the place.
struct LabFileError: Error, CustomStringConvertible, Equatable {
    /// FILE:LINE: what is wrong, and what is right.
    let description: String

    init(_ file: String, _ line: Int, _ sentence: String) { description = "\(file):\(line): \(sentence)" }
}

/// A value of a lab file.
struct LabNode: Equatable {
    /// What it is.
    indirect enum Value: Equatable {
        case nothing
        case text(String)
        case list([LabNode])
        case mapping([LabEntry])
    }

    let value: Value
    let line: Int
}

/// A name and its value in a mapping.
struct LabEntry: Equatable {
    let name: String
    let line: Int
    let node: LabNode
}

/// Reads mappings and lists by indentation, `[a, b]`, `{a: b}`, plain and quoted words, and comments. Everything else that
/// YAML has (anchors, tags, several documents, text blocks) is refused.
struct LabText {
    private struct Line {
        let number: Int
        var indent: Int
        var text: Substring
    }

    private let file: String
    private var lines: [Line] = []
    private var next = 0
    /// Mappings and lists in each other.
    private static let maximumDepth = 16

    /// The value in `text`; `file` is named in mistakes.
    static func read(_ text: String, file: String) throws(LabFileError) -> LabNode {
        var reader = try LabText(text, file: file)
        guard let first = reader.lines.first else { return LabNode(value: .nothing, line: 1) }
        let node = try reader.block(indent: first.indent, depth: 0)
        if reader.next < reader.lines.count {
            throw reader.mistake(reader.lines[reader.next].number, "indented differently from what stands above it")
        }
        return node
    }

    private init(_ text: String, file: String) throws(LabFileError) {
        self.file = file
        for (index, whole) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let number = index + 1
            let line = try withoutComment(whole.hasSuffix("\r") ? whole.dropLast() : whole, number)
            let indent = line.prefix { $0 == " " }.count
            let rest = line.dropFirst(indent)
            if rest.allSatisfy({ $0 == " " || $0 == "\t" }) { continue }
            if rest.hasPrefix("\t") { throw mistake(number, "indented with a tab; use blanks") }
            if rest.hasPrefix("---") || rest.hasPrefix("...") {
                throw mistake(number, "a lab file is one document, without --- and ...")
            }
            lines.append(Line(number: number, indent: indent, text: rest))
        }
    }

    private func mistake(_ line: Int, _ sentence: String) -> LabFileError { LabFileError(file, line, sentence) }

    /// A comment begins with # at the beginning or after a blank, outside of quotes.
    private func withoutComment(_ line: Substring, _ number: Int) throws(LabFileError) -> Substring {
        var quote: Character?
        var previous: Character = " "
        for index in line.indices {
            let c = line[index]
            if let open = quote {
                if c == open { quote = nil }
            } else if c == "#", previous == " " || previous == "\t" {
                return trimmed(line[..<index])
            } else if c == "'" || c == "\"", " [{,:".contains(previous) {
                quote = c
            }
            previous = c
        }
        guard quote == nil else { throw mistake(number, "a quote that does not end") }
        return trimmed(line)
    }

    private func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }

    // MARK: By indentation

    private mutating func block(indent: Int, depth: Int) throws(LabFileError) -> LabNode {
        let first = lines[next]
        guard depth < Self.maximumDepth else { throw mistake(first.number, "too deep") }
        if isItem(first.text) { return try list(indent: indent, depth: depth) }
        guard try splitName(first) != nil else {
            next += 1
            return try inline(first.text, first.number, depth: depth)
        }
        var entries: [LabEntry] = []
        while next < lines.count, lines[next].indent == indent, !isItem(lines[next].text) {
            let line = lines[next]
            guard let (name, rest) = try splitName(line) else {
                let text = line.text.count > 40 ? line.text.prefix(37) + "..." : line.text
                throw mistake(line.number, "\(text): a name and a colon are wanted here")
            }
            try refuseTwice(name, line.number, among: entries)
            next += 1
            entries.append(
                LabEntry(
                    name: name, line: line.number,
                    node: try value(rest, line.number, indent: indent, depth: depth)))
        }
        try refuseDeeper(than: indent)
        return LabNode(value: .mapping(entries), line: first.number)
    }

    /// What stands behind a name: on its line, or below it.
    private mutating func value(
        _ rest: Substring, _ number: Int, indent: Int, depth: Int
    ) throws(LabFileError) -> LabNode {
        if !rest.isEmpty { return try inline(rest, number, depth: depth + 1) }
        guard next < lines.count else { return LabNode(value: .nothing, line: number) }
        let below = lines[next]
        // The items of a list may stand right below the name.
        guard below.indent > indent || (below.indent == indent && isItem(below.text)) else {
            return LabNode(value: .nothing, line: number)
        }
        return try block(indent: below.indent, depth: depth + 1)
    }

    private mutating func list(indent: Int, depth: Int) throws(LabFileError) -> LabNode {
        let number = lines[next].number
        var nodes: [LabNode] = []
        while next < lines.count, lines[next].indent == indent, isItem(lines[next].text) {
            let item = lines[next].text.dropFirst()
            let blanks = item.prefix { $0 == " " }.count
            if item.isEmpty {
                next += 1
                nodes.append(try value("", lines[next - 1].number, indent: indent, depth: depth))
                continue
            }
            // What follows the dash is a block of its own, as deep as it stands.
            lines[next].indent = indent + 1 + blanks
            lines[next].text = item.dropFirst(blanks)
            nodes.append(try block(indent: lines[next].indent, depth: depth + 1))
        }
        try refuseDeeper(than: indent)
        return LabNode(value: .list(nodes), line: number)
    }

    private func isItem(_ text: Substring) -> Bool { text == "-" || text.hasPrefix("- ") }

    private func refuseDeeper(than indent: Int) throws(LabFileError) {
        if next < lines.count, lines[next].indent > indent {
            throw mistake(lines[next].number, "indented differently from what stands above it")
        }
    }

    private func refuseTwice(_ name: String, _ line: Int, among entries: [LabEntry]) throws(LabFileError) {
        if let earlier = entries.first(where: { $0.name == name }) {
            throw mistake(line, "\(name) is there already, in line \(earlier.line)")
        }
    }

    /// `name: rest`; nil if the line has no name.
    private func splitName(_ line: Line) throws(LabFileError) -> (String, Substring)? {
        guard let first = line.text.first, first != "[", first != "{" else { return nil }
        if first == "'" || first == "\"" {
            guard let end = line.text.dropFirst().firstIndex(of: first) else { return nil }
            let after = line.text[line.text.index(after: end)...]
            guard after == ":" || after.hasPrefix(": ") else { return nil }
            return (String(line.text[line.text.index(after: line.text.startIndex)..<end]), behindColon(after))
        }
        for index in line.text.indices where line.text[index] == ":" {
            let after = line.text[index...]
            guard after == ":" || after.hasPrefix(": ") else { continue }
            try refuseUnknown(first, line.number)
            return (String(trimmed(line.text[..<index])), behindColon(after))
        }
        return nil
    }

    private func behindColon(_ text: Substring) -> Substring { text.dropFirst().drop { $0 == " " } }

    private func refuseUnknown(_ first: Character, _ line: Int) throws(LabFileError) {
        if "&*!|>%@`?".contains(first) {
            throw mistake(line, "\(first): a lab file has no anchors, tags or text blocks; put the word in quotes")
        }
    }

    // MARK: On one line

    private func inline(_ text: Substring, _ number: Int, depth: Int) throws(LabFileError) -> LabNode {
        var rest = text
        let node = try flow(&rest, number, depth: depth, until: "")
        guard rest.allSatisfy({ $0 == " " }) else { throw mistake(number, "\(rest): not expected here") }
        return node
    }

    /// A value in which `ends` end a plain word; what follows stays in `rest`.
    private func flow(
        _ rest: inout Substring, _ number: Int, depth: Int, until ends: String
    ) throws(LabFileError) -> LabNode {
        guard depth < Self.maximumDepth else { throw mistake(number, "too deep") }
        rest = rest.drop { $0 == " " }
        switch rest.first {
        case "[":
            var nodes: [LabNode] = []
            try items(&rest, number, close: "]") { (rest) throws(LabFileError) in
                nodes.append(try flow(&rest, number, depth: depth + 1, until: ",]"))
            }
            return LabNode(value: .list(nodes), line: number)
        case "{":
            var entries: [LabEntry] = []
            try items(&rest, number, close: "}") { (rest) throws(LabFileError) in
                let name = try word(&rest, number, until: ":,}")
                guard rest.first == ":" else { throw mistake(number, "\(name): a name and a colon are wanted here") }
                rest.removeFirst()
                try refuseTwice(name, number, among: entries)
                let node = try flow(&rest, number, depth: depth + 1, until: ",}")
                entries.append(LabEntry(name: name, line: number, node: node))
            }
            return LabNode(value: .mapping(entries), line: number)
        default:
            let text = try word(&rest, number, until: ends)
            return LabNode(value: text == "~" || text == "null" ? .nothing : .text(text), line: number)
        }
    }

    private func items(
        _ rest: inout Substring, _ number: Int, close: Character,
        _ item: (inout Substring) throws(LabFileError) -> Void
    ) throws(LabFileError) {
        rest = rest.dropFirst().drop { $0 == " " }
        while rest.first != close {
            try item(&rest)
            rest = rest.drop { $0 == " " }
            if rest.first == "," {
                rest = rest.dropFirst().drop { $0 == " " }
            } else if rest.first != close {
                throw mistake(number, "\(close) is missing")
            }
        }
        rest.removeFirst()
    }

    private func word(_ rest: inout Substring, _ number: Int, until ends: String) throws(LabFileError) -> String {
        rest = rest.drop { $0 == " " }
        guard let first = rest.first else { throw mistake(number, "a value is missing") }
        if first == "'" || first == "\"" {
            rest.removeFirst()
            guard let end = rest.firstIndex(of: first) else { throw mistake(number, "a quote that does not end") }
            defer { rest = rest[rest.index(after: end)...] }
            guard !rest[..<end].contains("\\") else {
                throw mistake(number, "a backslash has no meaning in a lab file")
            }
            return String(rest[..<end])
        }
        try refuseUnknown(first, number)
        let word = rest.prefix { !ends.contains($0) }
        rest = rest[word.endIndex...]
        return String(trimmed(word))
    }
}
