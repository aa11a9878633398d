// The acceptance cases: C programs over the headers that C programs use, each with a fresh daemon.
import Glibc
import Testing

/// A case of Programs/, as `acceptance --list` names it.
private struct Case: Sendable {
    let name: String
    /// The options of its daemon; nil if it needs none.
    let daemon: [String]?

    init?(_ line: Substring) {
        let parts = line.split(separator: "\t", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        name = String(parts[0])
        daemon = parts[1] == "none" ? nil : parts[1].split(separator: " ").map(String.init)
    }

    /// Cases that mostly wait: begun first, so that nobody waits for them in the end.
    var isSlow: Bool { ["round trip", "slow reader"].contains { name.hasPrefix($0) } || name.hasPrefix("loss: 0.") }
}

/// How a case ended.
private struct Outcome: Sendable {
    let name: String
    let passed: Bool
    let seconds: Double
    let text: String
}

@Suite("Programs in C over libchitcp", .serialized, .timeLimit(.minutes(15)))
struct CAcceptanceTests {
    /// The daemon a case talks to.
    enum Daemon: String, Sendable, CaseIterable {
        case plain, classic

        var options: [String] { self == .classic ? ["--classic"] : [] }
        /// The third number of its addresses, so that both kinds can run at once.
        var network: Int { self == .classic ? 2 : 1 }
    }

    /// At least this many cases have to be there, or something was lost.
    static let expectedCases = 157
    /// Cases at once: most of them wait most of the time.
    static let atOnce = 8

    @Test("the acceptance cases pass", arguments: Daemon.allCases)
    func cases(_ kind: Daemon) async throws {
        let folder = try ScratchFolder()
        let program = folder.path + "/acceptance"
        let sources = Toolbox.files(in: Toolbox.root + "/Tests/CProgramTests/Programs", suffix: ".c")
        try await onThread { try Toolbox.build(sources, into: program) }
        let list = try await onThread { try run(program, ["--list"]) }
        var cases = list.text.split(separator: "\n").compactMap { Case($0) }
        #expect(cases.count >= Self.expectedCases)
        // Without daemon once is enough.
        if kind == .classic { cases.removeAll { $0.daemon == nil } }
        // CHITCP_CASES=PART runs those whose name has PART in it.
        if let part = getenv("CHITCP_CASES").map({ String(cString: $0) }) {
            cases.removeAll { !$0.name.contains(part) }
        }
        let outcomes = try await runAll(cases, program, kind, folder)
        for outcome in outcomes where !outcome.passed {
            Issue.record("\(kind.rawValue), \(outcome.name):\n\(outcome.text)")
        }
    }

    private func runAll(
        _ cases: [Case], _ program: String, _ kind: Daemon, _ folder: ScratchFolder
    ) async throws -> [Outcome] {
        let waiting = cases.filter(\.isSlow) + cases.filter { !$0.isSlow }
        return try await withThrowingTaskGroup(of: Outcome.self) { group in
            var outcomes: [Outcome] = []
            for (index, each) in waiting.enumerated() {
                if index >= Self.atOnce, let outcome = try await group.next() { outcomes.append(report(outcome, kind)) }
                group.addTask {
                    try await onThread {
                        try runOne(each, program, kind, "127.91.\(kind.network).\(index + 1)", folder)
                    }
                }
            }
            for try await outcome in group { outcomes.append(report(outcome, kind)) }
            print("acceptance, \(kind.rawValue): \(outcomes.count { $0.passed }) of \(outcomes.count) cases passed")
            return outcomes
        }
    }

    private func report(_ outcome: Outcome, _ kind: Daemon) -> Outcome {
        let hundredths = Int(outcome.seconds * 100)
        let seconds = "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
        print("acceptance, \(kind.rawValue): \(outcome.passed ? "passed" : "FAILED") \(outcome.name) (\(seconds) s)")
        return outcome
    }
}

/// Runs a case, with a daemon of its own at `address` if it needs one.
private func runOne(
    _ each: Case, _ program: String, _ kind: CAcceptanceTests.Daemon, _ address: String, _ folder: ScratchFolder
) throws -> Outcome {
    guard let options = each.daemon else {
        let result = try run(program, [each.name])
        return Outcome(name: each.name, passed: result.status == 0, seconds: result.seconds, text: result.text)
    }
    let daemon = try DaemonProcess(address, in: folder, options: kind.options + options)
    let result = try run(program, [each.name], environment: daemon.environment, seconds: each.isSlow ? 240 : 60)
    let complaints = daemon.stop()
    let passed = result.status == 0 && complaints.isEmpty
    let text = passed ? "" : "status \(result.status)\n\(result.text)\n\(complaints)"
    return Outcome(name: each.name, passed: passed, seconds: result.seconds, text: text)
}
