// The command line of chitcpd, which `chitcp daemon` shares.
import ArgumentParser
import Glibc
import Impairments
import NetworkLayer
import TCPEngine
import TCPSegments

/// `chitcpd`: options, environment, signals; then the daemon runs until it is told to end.
public struct DaemonCommand: ParsableCommand {
    /// The name and what help says.
    public static let configuration = CommandConfiguration(
        commandName: "chitcpd", abstract: "The chiTCP daemon: TCP lives here.",
        discussion: """
            Applications use it through the chisocket library; daemons reach each other over real TCP connections. \
            CHITCPD_PORT and CHITCPD_SOCK set the port and the socket where the options do not. SIGINT and SIGTERM end \
            it in order, SIGHUP reopens the log.
            """)

    @Option(name: [.short, .long], help: "Real TCP port of this daemon and of those it dials (default 23300).")
    var port: UInt16?
    @Option(name: [.short, .long], help: "Path of the UNIX socket for applications.")
    var socket: String?
    @Option(name: [.short, .long], help: "Write a packet capture (pcap) to this file.")
    var capture: String?
    @Flag(name: .short, help: "Log more: -v a line per segment and state change, -vv info, -vvv debug, -vvvv trace.")
    var verbose: Int
    @Option(
        name: .long,
        help: """
            Listen on and dial from this address only; may be repeated. With --tun, ADDRESS/PREFIX is this host's address \
            on the device.
            """)
    var address: [String] = []
    @Option(name: .long, help: "Carry segments in IP packets through this TUN device, beside or instead of frames.")
    var tun: String?
    @Option(name: .long, help: "The TUN device's MTU, in bytes (default 1500).")
    var mtu: Int?
    @Option(
        name: .long,
        help: ArgumentHelp(
            """
            Go on as this user (name or number), without privilege, once the TUN device is open: only making it and \
            setting it up need CAP_NET_ADMIN.
            """, valueName: "user"))
    var tunUser: String?
    @Option(name: .long, help: "Reach this network (like 0.0.0.0/0) through the TUN device; may be repeated.")
    var route: [String] = []
    @Option(name: .long, help: "Admit this user (name or number) besides root and your own; may be repeated.")
    var allowUser: [String] = []
    @Option(name: .long, help: "Admit the members of this group (name or number); may be repeated.")
    var allowGroup: [String] = []
    @Flag(
        name: .long,
        help: """
            Imitate the original: MSS 536, buffers of 4096 bytes, no TCP options, no TIME-WAIT. Other options still count.
            """)
    var classic = false
    @Option(name: .long, help: "Largest segment that is sent or announced, in bytes of data, e.g. 536.")
    var mss: UInt16?
    @Option(name: .long, help: "Smallest retransmission timeout, e.g. 200ms.")
    var rtoMin: String?
    @Option(name: .long, help: "Retransmission timeout before the first measurement, e.g. 1s.")
    var rtoInitial: String?
    @Option(name: .long, help: "Maximum segment lifetime; TIME-WAIT lasts twice as long. Default 1s.")
    var msl: String?
    @Option(name: .long, help: "Send buffer of a connection, e.g. 1MiB (at most 16MiB).")
    var sendBuffer: String?
    @Option(name: .long, help: "Receive buffer of a connection, e.g. 1MiB (at most 16MiB).")
    var receiveBuffer: String?
    @Option(name: .long, help: "What a send buffer may grow to, e.g. 4MiB (default), or off.")
    var sendBufferMax: String?
    @Option(name: .long, help: "What a receive buffer may grow to, e.g. 6MiB (default), or off.")
    var receiveBufferMax: String?
    @Option(
        name: .long, help: "What the buffers of all connections may grow by together, e.g. 256MiB (default), or off.")
    var bufferGrowthMax: String?
    @Option(name: .long, help: "Congestion control of connections: cubic (default), reno or bbr.")
    var congestion: String?
    @Option(
        name: .long,
        help: """
            Congestion marks (ECN), where the link carries them: off, accept (default: peers that ask get them), on (peers are \
            asked), accurate (asked for accurate feedback).
            """)
    var ecn: String?
    @Option(
        name: .long,
        help:
            "TCP Fast Open, the sum of 1: client, 2: server, 4, 512: both without cookies, 1024: all listeners (default 1)."
    )
    var fastOpen: UInt16?
    @Option(name: .long, help: "SYN cookies: 0 never, 1 while a queue is full (default), 2 always.")
    var synCookies: Int?
    @Option(
        name: .long,
        help: """
            Look for the largest segment that a path takes, where links do not tell: off, black-hole (default: once large ones \
            vanish) or always.
            """)
    var mtuProbing: String?
    @Option(name: .long, help: "Sockets at once.")
    var maxSockets: Int?
    @Option(name: .long, help: "Append the log to this file instead of standard error.")
    var log: String?
    @Flag(
        inversion: .prefixedNo,
        help: """
            Compute the TCP checksum of all segments that leave in frames, or of none, also if an impairment corrupts them \
            (then what is corrupted reaches the application). Otherwise only of those that may be corrupted.
            """)
    var checksum: Bool?
    @Option(
        name: .long,
        help: ArgumentHelp(
            """
            Impair the network from the start, e.g. "loss=1%,delay=20ms,to=10.0.0.2"; may be repeated. The words are \
            those of chitcp impair, which changes it later.
            """, valueName: "words"))
    var impair: [String] = []
    @Option(name: .long, help: "Lose this share of the segments that leave, e.g. 5%.")
    var loss: String?
    @Option(name: .long, help: "Delay segments that leave, e.g. 20ms.")
    var delay: String?
    @Option(name: .long, help: "Seed of --loss: the same seed loses the same segments.")
    var seed: UInt64 = 1

    /// One with these values.
    public init() {}

    /// Runs the daemon until a signal ends it.
    public func run() throws {
        occupyStandardDescriptors()
        let configuration = try makeConfiguration()
        // Errors of write(2) say it, too: a pipe without reader, a file past its size limit.
        for number in [SIGPIPE, SIGXFSZ] { signal(number, SIG_IGN) }
        raiseDescriptorLimit()
        SignalRelay.hold()
        let daemon: Daemon
        do {
            daemon = try Daemon(configuration, tunDevice: openDevice(configuration))
        } catch {
            say("chitcpd: \(error)")
            throw ExitCode(1)
        }
        SignalRelay.install(daemon.stopSignal)
        say("chitcpd: \(daemon.greeting)")
        daemon.run()
    }

    func makeConfiguration() throws -> DaemonConfiguration {
        var c = DaemonConfiguration()
        if classic { c.imitateOriginal() }
        c.links.port = try port ?? environmentPort() ?? 23300
        guard c.links.port > 0 else {
            throw ValidationError("Port 0 cannot be dialled: choose a port from 1 to 65535.")
        }
        c.socketPath = socket ?? Self.defaultSocketPath
        guard !c.socketPath.isEmpty else {
            throw ValidationError("--socket: a path is needed, like /tmp/chitcpd.socket.")
        }
        for name in allowUser {
            guard let user = Admission.user(name) else { throw ValidationError("--allow-user \(name): no such user.") }
            c.admission.users.insert(user)
        }
        for name in allowGroup {
            guard let group = Admission.group(name) else {
                throw ValidationError("--allow-group \(name): no such group.")
            }
            c.admission.groups.insert(group)
        }
        c.capturePath = capture
        c.logPath = log
        c.verbosity = Verbosity(rawValue: min(verbose, 4)) ?? .trace
        c.links.addresses = try address.filter { !$0.contains("/") }.map { text in
            guard let a = IPAddress(text), !a.isUnspecified else {
                throw ValidationError("--address \(text): not an IPv4 or IPv6 address of this machine.")
            }
            return a
        }
        c.tun = try tunConfiguration()
        // Without an address of their own, frames give way to the device.
        c.usesFrames = c.tun == nil || !c.links.addresses.isEmpty
        if let checksum { c.links.checksums = checksum ? .always : .never }
        if let time = try duration("--rto-min", rtoMin) { c.host.connection.minimumRTO = time }
        if let time = try duration("--rto-initial", rtoInitial) { c.host.connection.initialRTO = time }
        if let time = try duration("--msl", msl) { c.links.maximumSegmentLifetime = time }
        if let size = try bufferSize("--send-buffer", sendBuffer) { c.host.connection.sendBufferSize = size }
        if let size = try bufferSize("--receive-buffer", receiveBuffer) { c.host.connection.receiveBufferSize = size }
        if let size = try growth("--send-buffer-max", sendBufferMax) { c.host.connection.maximumSendBuffer = size }
        if let size = try growth("--receive-buffer-max", receiveBufferMax) {
            c.host.connection.maximumReceiveBuffer = size
        }
        if let text = bufferGrowthMax {
            guard let size = text == "off" ? 0 : Quantity.size(text), size > 0 || text == "off", size <= 1 << 40 else {
                throw ValidationError("--buffer-growth-max \(text): a size like 64MiB, at most 1024GiB, or off.")
            }
            c.host.bufferBudget = size
        }
        if let mss {
            guard mss > 0 else { throw ValidationError("--mss 0: a segment carries at least 1 byte.") }
            c.host.connection.maximumSegmentSize = Int(mss)
        }
        if let congestion {
            guard let algorithm = CongestionControlAlgorithm(rawValue: congestion) else {
                throw ValidationError("--congestion \(congestion): cubic, reno or bbr.")
            }
            c.host.connection.congestionControl = algorithm
        }
        if let ecn {
            let uses: [String: ECNUse] = ["off": .off, "accept": .accept, "on": .classic, "accurate": .accurate]
            guard let use = uses[ecn] else { throw ValidationError("--ecn \(ecn): off, accept, on or accurate.") }
            c.host.connection.ecn = use
        }
        if let fastOpen { c.host.fastOpen.modes = FastOpenModes(rawValue: fastOpen) }
        if let synCookies {
            guard let use = SynCookieUse(rawValue: synCookies) else {
                throw ValidationError("--syn-cookies \(synCookies): 0, 1 or 2.")
            }
            c.host.synCookies = use
        }
        if let mtuProbing {
            guard let probing = SegmentSizeProbing(rawValue: mtuProbing) else {
                throw ValidationError("--mtu-probing \(mtuProbing): off, black-hole or always.")
            }
            c.host.connection.segmentSizeProbing = probing
        }
        if let maxSockets {
            guard maxSockets > 0 else { throw ValidationError("--max-sockets \(maxSockets): at least 1.") }
            c.maximumSockets = maxSockets
        }
        c.impairments = try impairments()
        return c
    }

    /// Opens the TUN device with the privilege that takes, and goes on as the user who was named.
    private func openDevice(_ configuration: DaemonConfiguration) throws(SystemError) -> TunDevice? {
        guard let tunUser, let owner = TunOwner(tunUser), let tun = configuration.tun else { return nil }
        let device = try TunDevice(name: tun.name, mtu: tun.mtu) { say("chitcpd: \($0)") }
        try owner.become()
        return device
    }

    /// What --loss and --delay say, and what --impair says.
    private func impairments() throws -> [ImpairmentRule] {
        var rules: [ImpairmentRule] = []
        if loss != nil || delay != nil {
            var everything = ImpairmentConfiguration()
            if let loss {
                guard let share = Quantity.probability(loss) else {
                    throw ValidationError("--loss \(loss): a share of the segments like 5% or 0.05.")
                }
                everything.loss = share
            }
            if let time = try duration("--delay", delay) { everything.delay = time }
            rules.append(ImpairmentRule(.out, everything, seed: seed))
        }
        for words in impair {
            do throws(ImpairmentError) { rules += try ImpairmentRule.parse(words) } catch {
                throw ValidationError("--impair \(error).")
            }
        }
        for (index, rule) in rules.enumerated() {
            guard !rules[..<index].contains(where: { $0.direction == rule.direction && $0.peer == rule.peer }) else {
                let whose = rule.peer.map { rule.direction == .out ? " to \($0)" : " from \($0)" } ?? ""
                throw ValidationError(
                    "--impair: what happens to segments going \(rule.direction)\(whose) is said twice.")
            }
        }
        guard rules.count <= ImpairmentFilter.maximumRules else {
            throw ValidationError("--impair: at most \(ImpairmentFilter.maximumRules) rules.")
        }
        return rules
    }

    private func tunConfiguration() throws -> TunConfiguration? {
        let own = try address.filter { $0.contains("/") }.map { try network("--address", $0) }
        guard let tun else {
            guard own.isEmpty, route.isEmpty, mtu == nil, tunUser == nil else {
                throw ValidationError("--mtu, --route, --tun-user and --address with a prefix go with --tun NAME.")
            }
            return nil
        }
        if let tunUser, TunOwner(tunUser) == nil { throw ValidationError("--tun-user \(tunUser): no such user.") }
        guard (1...15).contains(tun.utf8.count), !tun.contains("/") else {
            throw ValidationError("--tun \(tun): an interface's name has 1 to 15 characters.")
        }
        guard !own.isEmpty else {
            throw ValidationError("--tun \(tun) needs this host's address on it, like --address 10.77.0.2/24.")
        }
        var c = TunConfiguration(name: tun, addresses: own)
        c.routes = try route.map { try network("--route", $0) }
        if let mtu {
            let least = own.contains { !$0.address.isIPv4 } ? 1280 : 576
            guard (least...65_535).contains(mtu) else {
                throw ValidationError("--mtu \(mtu): from \(least) to 65535 bytes.")
            }
            c.mtu = mtu
        }
        if let time = try duration("--msl", msl) { c.maximumSegmentLifetime = time }
        return c
    }

    private func network(_ option: String, _ text: String) throws -> IPPrefix {
        guard let prefix = IPPrefix(text) else {
            throw ValidationError("\(option) \(text): an address and a prefix length, like 10.77.0.2/24.")
        }
        return prefix
    }

    private func duration(_ option: String, _ text: String?) throws -> TimeInterval? {
        guard let text else { return nil }
        guard let time = Quantity.time(text), time <= .seconds(3600) else {
            throw ValidationError("\(option) \(text): a time with its unit, like 200ms or 1s, at most 3600s.")
        }
        return time
    }

    private func bufferSize(_ option: String, _ text: String?) throws -> Int? {
        guard let text else { return nil }
        guard let size = Quantity.size(text), (1...ConnectionConfiguration.maximumBufferSize).contains(size) else {
            throw ValidationError("\(option) \(text): a size from 1 to 16MiB, like 4096, 64KiB or 1MiB.")
        }
        return size
    }

    private func growth(_ option: String, _ text: String?) throws -> Int? {
        guard text == "off" else { return try bufferSize(option, text) }
        return 0
    }

    private func environmentPort() throws -> UInt16? {
        guard let text = getenv("CHITCPD_PORT").map({ String(cString: $0) }), !text.isEmpty else { return nil }
        guard let port = UInt16(text) else { throw ValidationError("CHITCPD_PORT=\(text): a port from 1 to 65535.") }
        return port
    }

    /// CHITCPD_SOCK, else chiTCP's default with the login name.
    static var defaultSocketPath: String {
        if let path = getenv("CHITCPD_SOCK"), path.pointee != 0 { return String(cString: path) }
        if let login = getlogin() { return "/tmp/chitcpd.socket." + String(cString: login) }
        return "/tmp/chitcpd.socket"
    }

    private func say(_ sentence: String) {
        let bytes = Array((sentence + "\n").utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }

    /// Descriptors 0 to 2 are nothing of the daemon's, also if they were closed: what is said goes to 2.
    private func occupyStandardDescriptors() {
        while true {
            let descriptor = open("/dev/null", O_RDWR)
            guard descriptor >= 0 else { return }
            if descriptor > STDERR_FILENO {
                close(descriptor)
                return
            }
        }
    }

    /// As many descriptors as the system allows: each application socket takes one.
    private func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

/// Hands SIGINT, SIGTERM and SIGHUP to the daemon of this process.
enum SignalRelay {
    nonisolated(unsafe) private static var target: Daemon.StopSignal?

    private static var handled: sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, number) }
        return signals
    }

    /// Signals wait from here on until `install`: one that comes while the daemon starts ends it in order as well.
    static func hold() {
        var signals = handled
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    static func install(_ stop: Daemon.StopSignal) {
        // Written once, before the handlers are installed.
        target = stop
        for number in [SIGINT, SIGTERM] { signal(number) { _ in SignalRelay.target?.stop() } }
        signal(SIGHUP) { _ in SignalRelay.target?.reopenLog() }
        // Whoever started this process may have blocked them as well, and a blocked mask is inherited.
        var signals = handled
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    }
}
