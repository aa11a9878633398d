// One hostile input against a fresh daemon that serves a transfer during and after, and what has to hold of it.
import Chisocket
import Glibc
import Synchronization
import TCPSegments

/// The daemon under attack, a good neighbour that exchanges data with it all the while, and the attacker's means.
final class Siege {
    /// The daemon under attack.
    let victim: DaemonProcess
    /// Another daemon, which nobody attacks.
    let neighbour: DaemonProcess
    let folder: TemporaryFolder
    /// Echoes at both.
    let server: EchoServer
    /// From the neighbour to the victim, all the while.
    let traffic: Traffic
    private let site: Site
    private var open: [RawLink] = []

    /// The addresses of one siege: 127.x.y.z, with x from the process, so that test runs do not meet.
    struct Site {
        let index: Int
        private static let second = 128 + Int(getpid()) % 120

        init(_ index: Int) { self.index = index }

        /// Address `host` of this site, 0 to 15.
        func address(_ host: Int) -> String {
            "127.\(Self.second).\(index / 15 + 1).\(index % 15 * 16 + host)"
        }
    }

    /// Addresses of the victim, its neighbour, the attacker, and of one more daemon.
    var victimAddress: String { site.address(1) }
    var neighbourAddress: String { site.address(2) }
    var attackerAddress: String { site.address(3) }
    var twinAddress: String { site.address(4) }
    /// Some more.
    func spareAddress(_ number: Int) -> String { site.address(5 + number % 11) }

    init(_ input: HostileInput, at site: Site) throws {
        self.site = site
        folder = try TemporaryFolder()
        victim = try DaemonProcess("victim", at: site.address(1), in: folder, input.launch)
        neighbour = try DaemonProcess("neighbour", at: site.address(2), in: folder)
        try victim.waitUntilServing()
        try neighbour.waitUntilServing()
        server = try EchoServer([victim, neighbour])
        do {
            try checkedTransfer(neighbour.path, to: victim.address)
            try checkedTransfer(victim.path, to: neighbour.address)
            traffic = try Traffic(neighbour.path, to: victim.address)
            // The listener and the end of the transfer under way are left.
            try waitUntil("the first block comes back") { traffic.blocks > 0 }
            try waitUntil("two sockets of \(try victim.socketNumbers()) are left") {
                try victim.socketNumbers().count == 2
            }
        } catch {
            server.stop()
            throw error
        }
    }

    // MARK: The attacker's means

    /// Leaves a real connection as it is until the victim has proved that it serves all the same.
    func leaveOpen(_ link: RawLink) throws { open.append(link) }

    /// Returns when so many more blocks of the transfer under way have come back.
    func waitForBlocks(_ count: Int) throws {
        let before = traffic.blocks
        try waitUntil("\(count) blocks of the transfer under way come back") { traffic.blocks >= before + count }
    }

    /// One more daemon, at an address of its own.
    func twin(_ launch: Launch = Launch()) throws -> DaemonProcess {
        let twin = try DaemonProcess("twin", at: twinAddress, in: folder, launch)
        try twin.waitUntilServing()
        return twin
    }

    /// A chisocket of the victim that begins to connect.
    func attempt(to address: String) throws -> Attempt { try Attempt(victim.path, to: address) }

    // MARK: The rules

    /// What was seen of a daemon that survived.
    struct Report: Sendable {
        var failures: [String] = []
        /// From the end of the attack to the end of a checked transfer each way.
        var recovery = TimeInterval.zero
        /// Bytes of memory the daemon kept.
        var growth = 0
    }

    /// A transfer each way after the attack is to end within this; a second on a machine that has nothing else to do.
    static let recoveryLimit = TimeInterval.seconds(15)
    /// A daemon may keep this much.
    static let growthLimit = 16 << 20

    /// Does what `input` says to a fresh daemon and looks whether all rules hold.
    static func run(_ input: HostileInput, index: Int) -> Report {
        var report = Report()
        do {
            let siege = try Siege(input, at: Site(index))
            defer { siege.server.stop() }
            do { try siege.hold(input, &report) } catch {
                report.failures.append("\(error)")
                if let ending = siege.victim.pollEnding() {
                    report.failures.append("the daemon ended with \(ending); it said:\n\(siege.victim.said)")
                }
                try? siege.traffic.stop()
            }
        } catch {
            report.failures.append("before the attack: \(error)")
        }
        return report
    }

    private func hold(_ input: HostileInput, _ report: inout Report) throws {
        let descriptors = victim.descriptorCount
        let memory = victim.residentMemory
        let sockets = try victim.socketNumbers()
        let before = traffic.blocks
        try input.action(self)
        try victim.requireAlive()

        let end = monotonicNow()
        try checkedTransfer(neighbour.path, to: victim.address)
        try checkedTransfer(victim.path, to: neighbour.address)
        report.recovery = monotonicNow() - end
        if report.recovery > Self.recoveryLimit { report.failures.append("it served after \(report.recovery) only") }

        // The transfer that ran all the while goes on.
        try waitUntil("the transfer under way goes on") { traffic.blocks > before + 2 }
        open = []
        // The application gives up clients that do not come back; then nothing of the attack is left.
        server.keepOnly([victimAddress, neighbourAddress])
        try waitUntil("sockets \(try victim.socketNumbers()) are \(sockets) again") {
            try victim.socketNumbers() == sockets
        }
        // A link that was dialled because of what came over others stays, both of its ends if it leads to itself.
        let links = input.surface == .numbers || input.surface == .links ? 2 : 0
        try waitUntil("\(victim.descriptorCount) descriptors are \(descriptors) again") {
            victim.descriptorCount <= descriptors + links
        }
        try waitUntil("it keeps \(victim.residentMemory - memory) bytes, not less than \(Self.growthLimit)") {
            victim.residentMemory - memory < Self.growthLimit
        }
        report.growth = max(0, victim.residentMemory - memory)
        try traffic.stop()
        try victim.stop()
        try neighbour.stop()
        let left = folder.files.filter { $0.hasPrefix("victim") && !$0.hasSuffix(".err") }
        if !left.isEmpty { report.failures.append("it left \(left) behind") }
    }
}

/// What the whole suite saw.
final class Ledger: Sendable {
    static let shared = Ledger()

    private struct Entries {
        var survived = 0
        var slowest: (name: String, time: TimeInterval) = ("none", .zero)
        var largest: (name: String, growth: Int) = ("none", 0)
    }

    private let entries = Mutex(Entries())

    func note(_ input: HostileInput, _ report: Siege.Report) {
        entries.withLock {
            if report.failures.isEmpty { $0.survived += 1 }
            if report.recovery > $0.slowest.time { $0.slowest = (input.name, report.recovery) }
            if report.growth > $0.largest.growth { $0.largest = (input.name, report.growth) }
        }
    }

    /// A line for people.
    var summary: String {
        entries.withLock {
            "\($0.survived) hostile inputs survived; slowest to serve again: \($0.slowest.time) after \($0.slowest.name); "
                + "most memory kept: \($0.largest.growth / 1024) KiB after \($0.largest.name)"
        }
    }
}
