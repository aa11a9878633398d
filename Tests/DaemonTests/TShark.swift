// Captures, read by somebody else's program.
import Glibc
import TestSupport
import Testing

/// tshark, if this machine has it (.ci/run installs it where it may).
enum TShark {
    /// Where it is.
    static let path: String? = ["/usr/bin/tshark", "/usr/local/bin/tshark"].first { access($0, X_OK) == 0 }
    /// True if it is there.
    static var isThere: Bool { path != nil }

    /// What tshark says of each packet of a file: the values of `fields`. It checks all checksums; that it complains about
    /// nothing is expected here, but for the end of a file that is still being written (`mayBeCutShort`).
    static func rows(
        of file: String, _ fields: [String], options: [String] = [], in folder: TemporaryFolder,
        mayBeCutShort: Bool = false
    ) throws -> [[Substring]] {
        let command =
            [
                try #require(path), "-n", "-r", file, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
                "-T",
                "fields", "-E", "separator=;",
            ] + options + fields.flatMap { ["-e", $0] }
        let report = try output(of: command, in: folder)
        #expect(report.errors == "" || mayBeCutShort, "what tshark said: \(report.errors)")
        let rows = report.text.split(separator: "\n").map { $0.split(separator: ";", omittingEmptySubsequences: false) }
        try #require(rows.allSatisfy { $0.count == fields.count })
        return rows
    }

    /// Runs a program to its end.
    private static func output(
        of command: [String], in folder: TemporaryFolder
    ) throws -> (text: String, errors: String) {
        let out = folder.path + "/out"
        let err = folder.path + "/err"
        let pid = try spawn(
            command[0], Array(command.dropFirst()),
            descriptors: [
                (1, .file(out, O_WRONLY | O_CREAT | O_TRUNC)), (2, .file(err, O_WRONLY | O_CREAT | O_TRUNC)),
            ])
        waitForEnd(of: pid)
        // tshark warns root, who may well read files.
        let errors = try readText(err).split(separator: "\n").filter { !$0.hasPrefix("Running as user \"root\"") }
        return (try readText(out), errors.joined(separator: "\n"))
    }
}
