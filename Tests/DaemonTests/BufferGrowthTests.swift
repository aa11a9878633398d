// What a daemon's buffers may grow by together: --buffer-growth-max.
import Chisocket
import Glibc
import TestSupport
import Testing

@Suite("Buffers of a daemon grow together", .timeLimit(.minutes(15)))
struct BufferGrowthTests {
    private static let size = 64 << 10

    /// Sends `count` bytes over each of two connections, and calls `look` for each megabyte, with what both receive windows are
    /// together, until that says that it has seen enough: growing takes what it takes, but not for ever.
    private func transfer(
        _ hosts: (a: DaemonProcess, b: DaemonProcess), count: Int, until look: (Int) -> Bool
    ) throws {
        let listener = try Chisocket.listening(on: hosts.b.endpoint(7), backlog: 4, daemon: hosts.b.path)
        try listener.limitWaiting()
        var pairs: [(client: Chisocket, server: Chisocket)] = []
        for _ in 0..<2 {
            let client = try Chisocket(.ipv4, daemon: hosts.a.path)
            try client.limitWaiting()
            try client.connect(to: hosts.b.endpoint(7))
            pairs.append((client, try listener.acceptLimited()))
        }
        let piece = pattern(1 << 20)
        for _ in 0..<count >> 20 {
            for (client, server) in pairs {
                let sender = Background { try client.send(piece) }
                #expect(try server.receive(exactly: piece.count) == piece)
                #expect(sender.join() == nil)
            }
            let windows = try DaemonControl.sockets(of: hosts.b.path).filter { $0.remote != nil }
            try #require(windows.count == 2)
            if look(windows.reduce(0) { $0 + Int($1.record.rcv_wnd) }) { return }
        }
    }

    @Test("windows stay within what is allowed, and use it", arguments: ["off", "100kB", nil])
    func bound(limit: String?) throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let options = ["--receive-buffer", "64KiB", "--mss", "1460"]
        let hosts = (
            a: try DaemonProcess("\(net).1", in: folder, options: ["--mss", "1460"]),
            b: try DaemonProcess(
                "\(net).2", in: folder, options: options + (limit.map { ["--buffer-growth-max", $0] } ?? []))
        )
        let most = limit == "off" ? 2 * Self.size : limit == nil ? Int.max : 2 * Self.size + 100_000
        // Without a limit they grow beyond what the others may.
        let wanted = limit == nil ? 2 * Self.size + 100_000 : most - 40_000
        var largest = 0
        var more = 5
        try transfer(hosts, count: 2000 << 20) {
            largest = max(largest, $0)
            if largest > wanted { more -= 1 }
            return more == 0
        }
        #expect(largest <= most && largest > wanted, "\(largest)")
    }
}
