// Random networks: a few hundred seeds of what `chitcp simulate` runs by the thousand.
import TCPSimulation
import Testing

@Suite struct ScenarioTests {
    @Test(
        "whatever a seed's network and users do, every byte is right and everything comes to its end", arguments: 0..<8)
    func seeds(slice: UInt64) throws {
        for seed in stride(from: slice, to: 160, by: 8) {
            let outcome = try RandomScenario(seed: seed).run()
            #expect(
                outcome.failures.isEmpty,
                "seed \(seed): \(outcome.failures.joined(separator: "\n"))\n\(outcome.report)")
        }
    }

    @Test("a seed gives the same run again, and another seed another one")
    func reproducible() throws {
        let runs = try [3, 3, 4].map { try RandomScenario(seed: $0).run() }
        #expect(runs[0].digest == runs[1].digest)
        #expect(runs[0].segments == runs[1].segments)
        #expect(runs[0].digest != runs[2].digest)
    }
}
