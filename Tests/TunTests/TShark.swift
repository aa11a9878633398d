// Captures, read by somebody else's program.
import Glibc
import Testing

/// tshark, if this machine has it (.ci/run installs it where it may).
enum TShark {
    private static let path: String? = ["/usr/bin/tshark", "/usr/local/bin/tshark"].first { access($0, X_OK) == 0 }
    /// True if it is there.
    static var isThere: Bool { path != nil }

    /// The values of `fields` of each packet in a file that passes `filter`. All checksums are verified.
    static func rows(of file: String, _ fields: [String], filter: String = "") throws -> [[Substring]] {
        let program = try #require(path)
        let wanted = fields.map { "-e \($0)" }.joined(separator: " ")
        // tshark warns root, who may well read files.
        let process = try CommandProcess(
            script: """
                { \(program) -n -r \(file) -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE -Y '\(filter)' -T fields \
                    -E separator=';' \(wanted) || echo failed; } 2>&1 | grep -v '^Running as user "root"' || true
                """)
        #expect(process.wait() == 0)
        let rows = process.said.split(separator: "\n").map {
            $0.split(separator: ";", omittingEmptySubsequences: false)
        }
        try #require(rows.allSatisfy { $0.count == fields.count }, "what tshark said: \(process.said.prefix(1000))")
        return rows
    }

    /// What is malformed or has a wrong checksum in a capture of a `Bench`, each with its description.
    static func complaints(of file: String, isIPv4: Bool) throws -> [[Substring]] {
        // The kernel writes a checksum of 0 as 0xFFFF, as UDP must: the same number in one's complement (RFC 1071), but not the
        // one that RFC 1624 3 ends with, and tshark complains.
        let kernel = isIPv4 ? "ip.src == \(Bench.kernel4)" : "ipv6.src == \(Bench.kernel6)"
        let filter = """
            _ws.malformed || ip.checksum.status == 0 || (tcp.checksum.status == 0 && !(\(kernel) && tcp.checksum == 0xffff))
            """
        return try rows(of: file, ["frame.number", "_ws.col.Info"], filter: filter)
    }
}
