// Impairments on a TUN device, with the kernel's TCP at the other end.
import Chisocket
import ControlRecords
import Daemon
import Glibc
import Impairments
import TestSupport
import Testing

@Suite(
    "Impairments on a TUN device", .timeLimit(.minutes(15)),
    .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct ImpairedTunTests {
    @Test("every byte arrives both ways, whatever happens to packets in both directions", arguments: [true, false])
    func transfer(isIPv4: Bool) throws {
        let bench = try Bench()
        let words = "loss=1%,delay=2ms,jitter=1ms,reorder=1%/2ms,duplicate=1%,corrupt=1%,direction=both"
        for rule in try ImpairmentRule.parse(words) { try DaemonControl.impair(rule.record, at: bench.path) }
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: isIPv4)
        let data = pattern(1_000_000)
        try exchange(data, data, kernel, ours)
        let statuses = try DaemonControl.impairments(of: bench.path)
        #expect(statuses.map(\.rule.direction) == [1, 2])
        for status in statuses {
            // Packets of the MTU each way, not what the kernel puts together.
            #expect(status.segments > 690)
            #expect(status.lost > 0 && status.delayed > 0 && status.duplicated > 0 && status.corrupted > 0)
        }
        // The kernel's own count of what our link has corrupted on purpose.
        let caught = try bench.namespace.run { () -> Int in
            let text = readText("/proc/thread-self/net/snmp").split(separator: "\n").filter { $0.hasPrefix("Tcp:") }
            let columns = text.map { $0.split(separator: " ") }
            let column = columns.first?.firstIndex(of: "InCsumErrors")
            return column.flatMap { Int(columns.last?[$0] ?? "") } ?? 0
        }
        #expect(caught > 0)
    }

    @Test("a queue marks what knows ECN, in both directions, and nothing need be dropped", arguments: ["out", "in"])
    func marks(direction: String) throws {
        let bench = try Bench(commands: "echo 1 > /proc/sys/net/ipv4/tcp_ecn") {
            $0.host.connection.ecn = .classic
        }
        for rule in try ImpairmentRule.parse("rate=50mbit,queue=1MB,mark=30kB,direction=\(direction)") {
            try DaemonControl.impair(rule.record, at: bench.path)
        }
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: true)
        let data = pattern(1_500_000)
        let sender = Background {
            if direction == "in" {
                try kernel.send(data)
                kernel.shutdownSending()
            } else {
                try ours.send(data)
                try ours.shutdown(.sending)
            }
        }
        #expect(try (direction == "in" ? ours.receiveAll() : kernel.receiveAll()) == data)
        #expect(sender.join() == nil)
        let status = try #require(try DaemonControl.impairments(of: bench.path).first)
        // Who is told of marks sends slower: nobody fills the queue.
        #expect(status.marked > 0 && status.queue_dropped == 0)
    }

    @Test("a rate keeps the kernel's sender back, and its queue drops")
    func rate() throws {
        let bench = try Bench()
        for rule in try ImpairmentRule.parse("rate=20mbit,queue=30kB,direction=in") {
            try DaemonControl.impair(rule.record, at: bench.path)
        }
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: true)
        let data = pattern(1_000_000)
        var begin = timespec()
        clock_gettime(CLOCK_MONOTONIC, &begin)
        let sender = Background {
            try kernel.send(data)
            kernel.shutdownSending()
        }
        #expect(try ours.receiveAll() == data)
        #expect(sender.join() == nil)
        var end = timespec()
        clock_gettime(CLOCK_MONOTONIC, &end)
        let milliseconds = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1_000_000
        #expect(milliseconds >= 385)
        let status = try #require(try DaemonControl.impairments(of: bench.path).first)
        #expect(status.queue_dropped > 0)
    }
}
