// Where processes run: the scheduler's choice, or all on one core.
import CLinux
import Glibc

/// Where the processes of a measurement run. A wake-up across cores costs several times one on the same core, so the same
/// round trip has two figures.
enum Placement: String {
    /// Wherever the scheduler puts them.
    case free
    /// All on the first core that this process may use.
    case oneCore = "one core"

    /// Runs `body` with this thread and the main threads of `others` placed so, and puts them back.
    func apply<R>(to others: [pid_t], _ body: () throws -> R) throws -> R {
        guard self == .oneCore else { return try body() }
        var allowed = [UInt64](repeating: 0, count: 16)
        guard clinux_get_affinity(0, &allowed) == 0, let word = allowed.firstIndex(where: { $0 != 0 }) else {
            throw CommandError("cannot find out which cores may be used", errno: errno)
        }
        var one = [UInt64](repeating: 0, count: 16)
        one[word] = 1 << UInt64(allowed[word].trailingZeroBitCount)
        let all = [0] + others
        defer { for pid in all { _ = clinux_set_affinity(pid, allowed) } }
        for pid in all where clinux_set_affinity(pid, one) != 0 {
            throw CommandError("cannot place process \(pid) on one core", errno: errno)
        }
        return try body()
    }
}
