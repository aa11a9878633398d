// `chitcp drill`: plays scripts against the TCP in virtual time.
import ArgumentParser
import TCPDrill

/// Plays each script and says what passed; what did not is shown expected against actual.
struct DrillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill", abstract: "Play scripts of segments and calls against the TCP, in virtual time.",
        discussion: """
            A script is a text file of the peer's segments, the user's calls and the segments that must leave; \
            Documentation/Drill.md describes the language. A folder stands for all .drill files in it.
            """)

    @Argument(help: "Scripts, or folders of them.")
    var paths: [String]
    @Flag(name: .shortAndLong, help: "Name failures only.")
    var quiet = false

    func run() throws {
        let files = try paths.flatMap { try DrillFiles.scripts(at: $0) }
        var failures = 0
        for file in files {
            do throws(DrillFailure) {
                try DrillRunner.run(DrillScript(try DrillFiles.text(of: file), name: file))
                if !quiet { print("passed  \(file)") }
            } catch {
                failures += 1
                print("FAILED  \(error)")
            }
        }
        print("\(files.count - failures) passed, \(failures) failed")
        if failures > 0 { throw ExitCode(1) }
    }
}
