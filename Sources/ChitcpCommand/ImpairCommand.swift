// `chitcp impair`: makes a running daemon's network bad, and good again.
import ArgumentParser
import Chisocket
import ControlRecords
import Daemon
import Glibc
import Impairments
import TCPSegments

/// Changes and shows what happens to a daemon's segments.
struct ImpairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "impair",
        abstract: "Lose, delay, reorder, duplicate or corrupt the daemon's segments from now on.",
        discussion: """
            Connections go on meanwhile. What is said takes the place of what was said before about the same host and \
            direction. chitcpd --impair, chitcp relay and chitcp lab take the same words as one text: \
            "loss=1%,delay=20ms,to=HOST".
            """,
        subcommands: [ImpairSetCommand.self, ImpairShowCommand.self, ImpairClearCommand.self],
        defaultSubcommand: ImpairSetCommand.self)
}

/// Which daemon.
struct DaemonOption: ParsableArguments {
    @Option(name: .long, help: "The daemon's UNIX socket; CHITCPD_SOCK or the usual one otherwise.")
    var socket: String?

    func validate() throws {
        if socket?.isEmpty == true { throw ValidationError("--socket: a path is needed, like /tmp/chitcpd.socket") }
    }

    var path: DaemonPath { socket.map { DaemonPath($0) } ?? .standard }
}

/// Which host and which direction.
struct ImpairedWay: ParsableArguments {
    @Option(help: ArgumentHelp("What goes to this host; otherwise all that has no rule of its own.", valueName: "host"))
    var to: String?
    @Option(help: ArgumentHelp("What comes from this host.", valueName: "host"))
    var from: String?
    @Option(help: "out (the default, without --from), in or both.")
    var direction: String?

    /// The words of rules that say this.
    var words: [String] {
        [("to", to), ("from", from), ("direction", direction)].compactMap { name, value in value.map { "\(name)=\($0)" }
        }
    }
}

/// `chitcp impair set`, or without `set`.
struct ImpairSetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Impair segments from now on (the default).")

    @OptionGroup var way: ImpairedWay
    @Option(help: ArgumentHelp("Lose this share of them, e.g. 1%.", valueName: "share"))
    var loss: String?
    @Option(
        help: ArgumentHelp(
            "Lose them in bursts as well: how often one begins, and its mean length, e.g. 0.5%/4.",
            valueName: "share/packets"))
    var burst: String?
    @Option(help: ArgumentHelp("Delay them, e.g. 20ms.", valueName: "time"))
    var delay: String?
    @Option(help: ArgumentHelp("Delay them by up to this more, at random.", valueName: "time"))
    var jitter: String?
    @Option(
        help: ArgumentHelp(
            "Hold this share back (for 5ms if not said), so that later ones overtake, e.g. 1% or 1%/10ms.",
            valueName: "share[/time]"))
    var reorder: String?
    @Option(help: ArgumentHelp("Deliver this share twice.", valueName: "share"))
    var duplicate: String?
    @Option(help: ArgumentHelp("Flip a bit of this share; their checksums are made, and catch it.", valueName: "share"))
    var corrupt: String?
    @Option(help: ArgumentHelp("Send no faster than this, e.g. 10mbit.", valueName: "rate"))
    var rate: String?
    @Option(help: ArgumentHelp("What may wait in front of the rate (100kB).", valueName: "size"))
    var queue: String?
    @Option(help: ArgumentHelp("Have packets above this size vanish, e.g. 1400.", valueName: "size"))
    var largest: String?
    @Option(
        help: ArgumentHelp(
            "Mark packets (ECN) that find more than this in the queue, on TUN devices.", valueName: "size"))
    var mark: String?
    @Option(help: "The seed of all chances: the same seed and the same segments give the same losses (1).")
    var seed: UInt64?
    @OptionGroup var daemon: DaemonOption
    @Argument(help: .hidden)
    var others: [String] = []

    private var words: [String] {
        [
            ("loss", loss), ("burst", burst), ("delay", delay), ("jitter", jitter), ("reorder", reorder),
            ("duplicate", duplicate), ("corrupt", corrupt), ("rate", rate), ("queue", queue),
            ("largest", largest), ("mark", mark), ("seed", seed.map { "\($0)" }),
        ].compactMap { name, value in value.map { "\(name)=\($0)" } }
    }

    func validate() throws {
        if let other = others.first {
            throw ValidationError("\(other): options are wanted here, like --loss 1% --delay 20ms; or show, or clear")
        }
        guard words.contains(where: { !$0.hasPrefix("seed=") }) else {
            throw ValidationError("say what is to happen, like --loss 1% --delay 20ms; or chitcp impair show, or clear")
        }
        guard rate != nil || (queue == nil && mark == nil) else {
            throw ValidationError("--queue and --mark go with a rate, like --rate 10mbit")
        }
        _ = try rules { _ in IPAddress(127, 0, 0, 1) }
    }

    func run() throws {
        var addresses: [String: IPAddress] = [:]
        for host in [way.to, way.from].compactMap(\.self) {
            let address = try resolve(host, port: 0).address
            guard !address.isUnspecified else { throw CommandError("impair: \(host) is not a host's address") }
            addresses[host] = address
        }
        for rule in try rules({ addresses[$0] }) {
            do throws(ChisocketError) { try DaemonControl.impair(rule.record, at: daemon.path) } catch {
                throw error.aboutImpairing
            }
            print("\(rule.way): \(rule.configuration)")
        }
    }

    private func rules(_ resolve: (String) -> IPAddress?) throws -> [ImpairmentRule] {
        do throws(ImpairmentError) {
            return try ImpairmentRule.parse((words + way.words).joined(separator: ","), resolve: resolve)
        } catch { throw ValidationError("--\(error)") }
    }
}

/// `chitcp impair show`.
struct ImpairShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show what happens to segments, and what happened so far.")

    @OptionGroup var daemon: DaemonOption

    func run() throws {
        let list = try DaemonControl.impairments(of: daemon.path)
        if list.isEmpty { print("nothing happens to segments") }
        for status in list { for line in describe(status) { print(line) } }
    }
}

/// `chitcp impair clear`.
struct ImpairClearCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear", abstract: "Let segments pass again: all, or those of one host or direction.")

    @OptionGroup var way: ImpairedWay
    @OptionGroup var daemon: DaemonOption

    func validate() throws {
        guard way.to == nil || way.from == nil else { throw ValidationError("say --to or --from, or run it twice") }
        if let direction = way.direction, !["out", "in", "both"].contains(direction) {
            throw ValidationError("--direction \(direction): out, in or both")
        }
    }

    func run() throws {
        var directions: Int32 =
            switch way.direction {
            case "out": CHITCP_IMPAIR_OUT
            case "in": CHITCP_IMPAIR_IN
            default: CHITCP_IMPAIR_OUT | CHITCP_IMPAIR_IN
            }
        if way.direction == nil, way.to != nil { directions = CHITCP_IMPAIR_OUT }
        if way.direction == nil, way.from != nil { directions = CHITCP_IMPAIR_IN }
        let peer = try (way.to ?? way.from).map { host in
            ImpairmentRule(.out, peer: try resolve(host, port: 0).address, ImpairmentConfiguration()).record.peer
        }
        let count: Int
        do throws(ChisocketError) {
            count = try DaemonControl.clearImpairments(directions, peer: peer, at: daemon.path)
        } catch { throw error.aboutImpairing }
        print(count == 1 ? "1 impairment removed" : "\(count) impairments removed")
    }
}

extension ImpairmentRule {
    /// Which segments it is about, for people.
    var way: String {
        switch (direction, peer) {
        case (.out, nil): "what leaves"
        case (.in, nil): "what comes in"
        case (.out, let peer?): "what goes to \(peer)"
        case (.in, let peer?): "what comes from \(peer)"
        }
    }
}

extension ChisocketError {
    /// What it means when the network was to be impaired.
    fileprivate var aboutImpairing: CommandError {
        switch errno {
        case EPERM where !isDaemonMissing:
            CommandError("impair: only root and the user of the daemon may change its network")
        case ENOSPC where !isDaemonMissing: CommandError("impair: too many hosts have impairments of their own")
        case EOPNOTSUPP where !isDaemonMissing: CommandError("impair: this daemon is older and knows no impairments")
        default: CommandError("\(self)")
        }
    }
}

/// The lines for one impairment: what happens, and below it what happened.
func describe(_ status: chitcp_impairment_status) -> [String] {
    guard let rule = ImpairmentRule(status.rule) else { return ["an impairment this command does not know"] }
    let counts: [(String, UInt64)] = [
        ("lost", status.lost), ("dropped by the queue", status.queue_dropped),
        ("dropped for want of memory", status.overflowed), ("delayed", status.delayed),
        ("reordered", status.reordered), ("duplicated", status.duplicated), ("corrupted", status.corrupted),
        ("to be marked", status.marked),
    ]
    let happened = counts.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }
    return [
        "\(rule.way): \(rule.configuration) seed=\(rule.seed)",
        "    \(status.segments) segments"
            + (happened.isEmpty ? ", nothing happened yet" : ": " + happened.joined(separator: ", "))
            + "; \(status.held_segments) (\(status.held_bytes) bytes) under way",
    ]
}
