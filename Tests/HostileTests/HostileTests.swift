// A daemon never falls over: every hostile input against a fresh one, which serves a transfer during and after.
import Testing

/// Prints the count when the suite has ended.
struct Counted: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await function()
        print(Ledger.shared.summary)
    }
}

@Suite("A daemon never falls over", Counted(), .timeLimit(.minutes(15)))
struct HostileTests {
    /// Each case waits much and works little, so more than one per processor run at a time.
    private static let gate = Gate(6)

    private func survives(_ input: HostileInput) async {
        guard let index = HostileInput.all.firstIndex(where: { $0.name == input.name }) else { return }
        let report = await Self.gate.run { Siege.run(input, index: index) }
        Ledger.shared.note(input, report)
        for failure in report.failures { Issue.record("\(input.name): \(failure)") }
    }

    @Test("inputs have names of their own")
    func names() {
        #expect(Set(HostileInput.all.map(\.name)).count == HostileInput.all.count)
    }

    @Test("frames that are none, or come in pieces", arguments: HostileInput.of(.frames))
    func frames(_ input: HostileInput) async { await survives(input) }

    @Test("segments that make no sense", arguments: HostileInput.of(.segments))
    func segments(_ input: HostileInput) async { await survives(input) }

    @Test("options of every kind and length", arguments: HostileInput.of(.options))
    func options(_ input: HostileInput) async { await survives(input) }

    @Test("guessed numbers in somebody else's connection", arguments: HostileInput.of(.numbers))
    func numbers(_ input: HostileInput) async { await survives(input) }

    @Test("too much of anything", arguments: HostileInput.of(.floods))
    func floods(_ input: HostileInput) async { await survives(input) }

    @Test("real connections that are not what they seem", arguments: HostileInput.of(.links))
    func links(_ input: HostileInput) async { await survives(input) }

    @Test("records and descriptors that do not belong on the control socket", arguments: HostileInput.of(.control))
    func control(_ input: HostileInput) async { await survives(input) }

    @Test("messages of chiTCP's protocol that make no sense", arguments: HostileInput.of(.messages))
    func messages(_ input: HostileInput) async { await survives(input) }

    @Test("applications that misuse their descriptors or end", arguments: HostileInput.of(.clients))
    func clients(_ input: HostileInput) async { await survives(input) }

    @Test("signals in every phase", arguments: HostileInput.of(.signals))
    func signals(_ input: HostileInput) async { await survives(input) }

    @Test("files that are full, vanish or cannot be", arguments: HostileInput.of(.files))
    func files(_ input: HostileInput) async { await survives(input) }

    @Test("environment, options and limits that make no sense", arguments: HostileInput.of(.environment))
    func environment(_ input: HostileInput) async { await survives(input) }
}
