// The process that a lab's daemons belong to: it starts them, waits, and takes everything away.
import CLinux
import Chisocket
import Glibc
import Impairments
import TCPSegments

/// Makes a lab and keeps it until it is told to end.
struct LabSupervisor {
    let folder: LabFolder
    let description: LabDescription
    let usesNamespaces: Bool

    /// Makes the lab, calls `ready` and returns when a signal ended it and nothing of it is left. Throws if it cannot be made.
    func run(file: String, ready: () -> Void) throws {
        // Whoever has this lock is the lab.
        guard let lock = try FileLock(folder.lockPath, waiting: false) else {
            throw CommandError("the lab \(folder.name) is up already (chitcp lab down \(folder.name))")
        }
        let signals = holdSignals()
        let belongings = Belongings()
        defer {
            belongings.cleanUp()
            folder.clean()
            withExtendedLifetime(lock) {}
        }
        let state = try plan(file: file)
        try write(state.text, to: folder.statePath)
        if usesNamespaces { try LabNamespaces.make(lab: folder.name, hosts: state.hosts) }
        var daemons: [(host: LabState.Host, pid: pid_t)] = []
        for (host, own) in zip(state.hosts, description.hosts) where !own.isKernel {
            daemons.append((host, try start(own, host, state, belongings)))
        }
        for (host, pid) in daemons { try waitUntilReady(host, pid, belongings) }
        ready()
        watch(signals, daemons, belongings)
    }

    /// SIGINT, SIGTERM and the end of a child wait until somebody looks.
    private func holdSignals() -> sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] { sigaddset(&signals, number) }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        return signals
    }

    /// Waits for a signal to end; says so if a daemon ends before.
    private func watch(
        _ signals: sigset_t, _ daemons: [(host: LabState.Host, pid: pid_t)], _ belongings: Belongings
    ) {
        var signals = signals
        var running = daemons
        while true {
            var number: Int32 = 0
            guard sigwait(&signals, &number) == 0 else { continue }
            guard number == SIGCHLD else { return }
            running.removeAll { host, pid in
                guard belongings.hasEnded(pid) else { return false }
                say("the daemon of \(host.name) has ended by itself: see \(folder.log(of: host.name))")
                return true
            }
        }
    }

    // MARK: What there will be

    private func plan(file: String) throws -> LabState {
        let addresses = LabAddresses(description: description, file: file)
        let all =
            usesNamespaces
            ? try addresses.inNamespaces(hasIPv6: LabNamespaces.hasIPv6)
            : try addresses.onLoopback(free: freeNet, obstacle: obstacle)
        let hosts = zip(description.hosts, all).map { host, own in
            LabState.Host(
                name: host.name, addresses: own, isKernel: host.isKernel,
                namespace: usesNamespaces ? LabNamespaces.name(lab: folder.name, host: host.name) : nil)
        }
        let namespaces = usesNamespaces ? [LabNamespaces.hub(lab: folder.name)] + hosts.compactMap(\.namespace) : []
        return LabState(file: file, supervisor: getpid(), hosts: hosts, namespaces: namespaces)
    }

    /// Three bytes of loopback addresses of which none is used here: where to look first follows from the lab's name.
    private func freeNet() throws -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in folder.name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        let others = try LabFolder.all().filter { $0.name != folder.name }
        let taken =
            (others.flatMap { $0.state()?.hosts ?? [] }.flatMap(\.addresses)
            + description.hosts.flatMap(\.addresses)).map { "\($0)" }
        for attempt in 0..<8000 as Range<UInt64> {
            let place = (hash &+ attempt) % 8000
            let net = "127.\(64 + place / 250).\(place % 250 + 1)"
            guard !taken.contains(where: { $0.hasPrefix(net + ".") }) else { continue }
            let isFree = description.hosts.indices.allSatisfy { index in
                IPAddress("\(net).\(index + 1)").map { obstacle(to: $0) == nil } ?? false
            }
            if isFree { return net }
        }
        throw CommandError("no free loopback addresses from 127.64.0.0 to 127.95.255.255")
    }

    /// Why no daemon can listen at an address: an errno, or nil.
    private func obstacle(to address: IPAddress) -> Int32? {
        let probe = socket(
            address.isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard probe >= 0 else { return errno }
        defer { close(probe) }
        var one: Int32 = 1
        setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        guard Endpoint(address, 23300).withSocketAddress({ bind(probe, $0, $1) }) == 0, listen(probe, 1) == 0 else {
            return errno
        }
        return nil
    }

    // MARK: Daemons

    private func start(
        _ own: LabDescription.Host, _ host: LabState.Host, _ state: LabState, _ belongings: Belongings
    ) throws -> pid_t {
        var arguments = ["daemon", "--socket", folder.socket(of: host.name), "--log", folder.log(of: host.name)]
        if let namespace = host.namespace {
            arguments += ["--tun", LabNamespaces.device]
            for address in host.addresses { arguments += ["--address", "\(LabNamespaces.single(address))"] }
            for network in LabNamespaces.reachable(state.hosts.flatMap(\.addresses)) {
                arguments += ["--route", "\(network)"]
            }
            arguments += rules(of: own, state) + own.options
            guard let own = ownPath() else { throw CommandError("cannot find where chitcp lies", errno: errno) }
            // ip(8) turns into the program it starts: the daemon is this process's child.
            return try belongings.start(
                try ipPath(), ["ip", "netns", "exec", namespace, own] + arguments, environment: [:],
                errors: folder.log(of: host.name), group: 0)
        }
        arguments += ["--port", "23300"] + host.addresses.flatMap { ["--address", "\($0)"] }
        arguments += rules(of: own, state) + own.options
        return try belongings.startSelf(
            arguments, environment: ["CHITCPD_PORT": "23300"], errors: folder.log(of: host.name))
    }

    /// What the daemon of a host does to its segments. What the kernel at the other end of a link sends meets it here, on its
    /// way in.
    private func rules(of own: LabDescription.Host, _ state: LabState) -> [String] {
        var words: [String] = []
        func add(_ impairment: LabImpairment?, _ way: String) {
            guard let impairment, !impairment.configuration.isPerfect else { return }
            // The seed of what comes in is one more than what is said: see ImpairmentRule.
            let seed = way.hasPrefix("from=") ? impairment.seed &- 1 : impairment.seed
            words += ["--impair", "\(impairment.configuration) seed=\(seed) \(way)"]
        }
        add(own.impairment, "direction=out")
        for link in description.links where [link.first, link.second].contains(own.name) {
            let isFirst = link.first == own.name
            guard let other = state.host(isFirst ? link.second : link.first) else { continue }
            for address in other.addresses {
                add(isFirst ? link.there : link.back, "to=\(address)")
                if other.isKernel { add(isFirst ? link.back : link.there, "from=\(address)") }
            }
        }
        return words
    }

    private func waitUntilReady(_ host: LabState.Host, _ pid: pid_t, _ belongings: Belongings) throws {
        let limit = monotonicNow() + 20_000_000_000
        while true {
            do throws(ChisocketError) {
                try DaemonControl.check(DaemonPath(folder.socket(of: host.name)))
                return
            } catch {
                if belongings.hasEnded(pid) {
                    let text = (try? readFile(folder.log(of: host.name))).map { String(decoding: $0, as: UTF8.self) }
                    throw CommandError("the daemon of \(host.name) did not start: \(text ?? "it said nothing")")
                }
                guard monotonicNow() < limit else {
                    throw CommandError("the daemon of \(host.name) was not ready within 20 seconds: \(error)")
                }
            }
            usleep(2_000)  // between two attempts to connect
        }
    }

    private func say(_ sentence: String) {
        let bytes = Array((sentence + "\n").utf8)
        _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
    }
}

/// Where this executable lies; nil with errno.
func ownPath() -> String? {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let n = readlink("/proc/self/exe", &buffer, buffer.count)
    return n > 0 ? String(decoding: buffer[..<n].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
}

/// ip(8).
func ipPath() throws -> String {
    for path in ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"] where access(path, X_OK) == 0 { return path }
    throw CommandError("--namespaces needs ip (Debian: apt-get install iproute2)")
}

/// Writes `text` as the whole file at `path`.
func write(_ text: String, to path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw CommandError("cannot write \(path)", errno: errno) }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    guard bytes.withUnsafeBytes({ writeAll(descriptor, $0) }) else {
        throw CommandError("cannot write \(path)", errno: errno)
    }
}
