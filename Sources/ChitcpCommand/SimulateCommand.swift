// `chitcp simulate`: many random networks in virtual time, on all cores.
import ArgumentParser
import Glibc
import Synchronization
import TCPSegments
import TCPSimulation

/// Runs one random scenario a seed and says what broke.
struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate", abstract: "Run random networks in virtual time and check everything that must hold.",
        discussion: """
            Each seed is a network of two to four hosts with one to six connections: loss, bursts, reordering, duplication, \
            corruption, partitions, options, buffers, and what the applications do. Every byte and the TCP's invariants \
            are checked after every step. A seed gives the same run on every machine.
            """)

    @Option(name: .long, help: "How many seeds.")
    var seeds: UInt64 = 1000
    @Option(name: .long, help: "The first seed.")
    var first: UInt64 = 0
    @Option(name: .long, help: "Stop after so many minutes, whatever is left.")
    var minutes: Double?
    @Option(name: .long, help: "Threads; as many as there are cores otherwise.")
    var jobs: Int?

    func validate() throws {
        guard seeds > 0 else { throw ValidationError("--seeds 0: at least 1.") }
        guard !first.addingReportingOverflow(seeds).overflow else {
            throw ValidationError("--first \(first): there are not \(seeds) seeds from there on.")
        }
        guard minutes.map({ $0 > 0 }) ?? true else { throw ValidationError("--minutes: more than 0.") }
        guard jobs.map({ (1...1024).contains($0) }) ?? true else { throw ValidationError("--jobs: 1 to 1024.") }
    }

    func run() throws {
        let start = Self.seconds()
        let campaign = Campaign(seeds: first..<(first + seeds), until: minutes.map { start + $0 * 60 })
        let threads = (0..<(jobs ?? max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))))).map { _ in campaign.start() }
        for thread in threads { pthread_join(thread, nil) }
        let tally = campaign.tally
        let elapsed = Self.seconds() - start
        for outcome in tally.failed.sorted(by: { $0.seed < $1.seed }) {
            print("seed \(outcome.seed):")
            for failure in outcome.failures.prefix(5) { print("  \(failure)") }
            print(outcome.report)
        }
        print(
            "\(tally.runs) seeds from \(first) on: \(tally.failed.count) failed, \(tally.segments) segments, "
                + "\(fixed(tally.virtualSeconds / 3600, 1)) virtual hours in \(fixed(elapsed, 1)) s, "
                + "hash of all traces \(String(tally.digest, radix: 16))")
        if !tally.failed.isEmpty {
            print("again: chitcp simulate --seeds 1 --first \(tally.failed.map(\.seed).min() ?? 0)")
            throw ExitCode(1)
        }
    }

    static func seconds() -> Double {
        var t = timespec()
        clock_gettime(CLOCK_MONOTONIC, &t)
        return Double(t.tv_sec) + Double(t.tv_nsec) / 1e9
    }
}

/// Hands seeds to threads and adds up what comes of them.
private final class Campaign: Sendable {
    struct Tally: Sendable {
        var runs = 0
        var segments = 0
        var virtualSeconds = 0.0
        /// The sum of the runs' hashes, so that the order in which threads finish does not matter.
        var digest: UInt64 = 0
        var failed: [RandomScenario.Outcome] = []
    }

    private struct State {
        var next: UInt64
        var tally = Tally()
    }

    private let end: UInt64
    private let deadline: Double?
    private let state: Mutex<State>

    init(seeds: Range<UInt64>, until deadline: Double?) {
        end = seeds.upperBound
        self.deadline = deadline
        state = Mutex(State(next: seeds.lowerBound))
    }

    var tally: Tally { state.withLock { $0.tally } }

    func start() -> pthread_t {
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Campaign>.fromOpaque(argument).takeRetainedValue().work() }
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        precondition(result == 0, "no thread")
        return thread
    }

    private func work() {
        while let seed = take() {
            let outcome: RandomScenario.Outcome
            do throws { outcome = try RandomScenario(seed: seed).run() } catch {
                outcome = RandomScenario.Outcome(failedToBegin: seed, "\(error)")
            }
            let runs = state.withLock { state in
                state.tally.runs += 1
                state.tally.segments += outcome.segments
                state.tally.virtualSeconds += outcome.duration.inSeconds
                state.tally.digest &+= outcome.digest
                if !outcome.failures.isEmpty { state.tally.failed.append(outcome) }
                return state.tally.runs
            }
            if runs % 100 == 0, isatty(STDERR_FILENO) == 1 {
                let line = Array("\r\(runs) seeds".utf8)
                _ = write(STDERR_FILENO, line, line.count)
            }
        }
    }

    /// The next seed; nil when there is none left, time is over, or enough have failed.
    private func take() -> UInt64? {
        if let deadline, SimulateCommand.seconds() >= deadline { return nil }
        return state.withLock { state in
            guard state.next < end, state.tally.failed.count < 10 else { return nil }
            defer { state.next += 1 }
            return state.next
        }
    }
}
