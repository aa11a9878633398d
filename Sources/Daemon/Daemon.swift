// The daemon: it starts everything, turns the loop, and ends in order.
import CLinux
import ControlRecords
import Glibc
import Impairments
import Logging
import NetworkLayer
import SocketLayer
import TCPEngine
import TCPSegments

/// How a daemon is set up.
public struct DaemonConfiguration: Sendable {
    /// The path of chiTCP's UNIX socket.
    public var socketPath = "/tmp/chitcpd.socket"
    /// Who may use the daemon.
    public var admission = Admission()
    /// How the network layer is set up.
    public var links = FrameLinksConfiguration()
    /// Whether frames over real TCP are exchanged.
    public var usesFrames = true
    /// The TUN device to use beside or instead of frames; nil: none.
    public var tun: TunConfiguration?
    /// What happens to segments on all links, to begin with.
    public var impairments: [ImpairmentRule] = []
    /// How the TCP is set up.
    public var host = HostConfiguration()
    /// Sockets at once.
    public var maximumSockets = 1_000_000
    /// How much is logged.
    public var verbosity = Verbosity.errors
    /// Where the log goes; nil: standard error.
    public var logPath: String?
    /// Where packets are recorded; nil: nowhere.
    public var capturePath: String?

    /// The defaults. Each segment costs a system call here: ACKs wait a millisecond for an answer that may carry them.
    public init() {
        host.connection.answerDelay = .milliseconds(1)
        host.fastOpen.blackholeTimeout = .seconds(3600)
    }
}

/// A running daemon. One thread owns everything; only `stop` may be called from elsewhere.
public final class Daemon {
    /// How the daemon was set up.
    public let configuration: DaemonConfiguration
    let loop: EventLoop
    let layer: SocketLayer
    let links: FrameLinks
    /// What happens to segments on all links.
    let impairments = ImpairmentFilter()
    private let tun: TunLink?
    private let router: LinkRouter
    let log: Logger
    /// Distinguishes this daemon's sockets from those of any other.
    let daemonID: UInt64
    var descriptorSockets: [UInt64: DescriptorSocket] = [:]
    var lastDescriptorID: UInt64 = 0
    var untidyEnds = UntidyEnds()
    /// Zeros to begin with; for bytes that are on their way from one call to the next.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)
    /// Options that were set or asked for and are not known here.
    private(set) var unknownOptions: UInt64 = 0
    /// The last of them.
    private(set) var lastUnknownOption: OptionName?
    private let logWriter: BackgroundWriter
    private var captureFile: CaptureWriter?
    /// For clients that watch.
    private var captures: [LiveCapture] = []
    private var listeners: [ClientListener] = []
    private var sessions: [ObjectIdentifier: any ClientSession] = [:]
    /// The processes that use chiTCP's protocol, and their sockets, by number.
    var messageProcesses: [Int32: MessageProcess] = [:]
    var messageSockets: [Int: MessageSocket] = [:]
    /// Users that were turned away, so that the log says it once of each.
    private var strangers: Set<UInt32> = []
    private var lateErrors: [UInt64: Int32] = [:]
    private var paused: [any EventHandler] = []
    private var resumeAt: Instant?
    private let wake: StopSignal

    /// Ends the daemon from any thread.
    public struct StopSignal: Sendable {
        let descriptor: Int32
        /// Asks the daemon to end in order. Safe in a signal handler.
        public func stop() { send(UInt64(1) << 32) }
        /// Asks it to reopen its log. Safe in a signal handler.
        public func reopenLog() { send(1) }
        private func send(_ value: UInt64) {
            var value = value
            _ = write(descriptor, &value, 8)
        }
    }

    /// Opens everything that can fail: log, capture, sockets. The error is a sentence for the user.
    /// - Parameter tunDevice: the TUN device, if somebody with the privilege has opened it already.
    public init(_ configuration: DaemonConfiguration, tunDevice: TunDevice? = nil) throws(SystemError) {
        self.configuration = configuration
        scratch.initializeMemory(as: UInt8.self, repeating: 0)
        loop = try EventLoop()
        let signal = clinux_eventfd()
        guard signal >= 0 else { throw SystemError("cannot create an event descriptor") }
        wake = StopSignal(descriptor: signal)
        logWriter = BackgroundWriter(descriptor: try Self.openLog(configuration.logPath), name: "log")
        let writer = logWriter
        log = Logger(label: "chitcpd") { _ in
            DaemonLogHandler(writer: writer, logLevel: configuration.verbosity.level)
        }
        var random = SystemRandomNumberGenerator()
        daemonID = random.next()
        let host = Host(configuration: configuration.host, seed: random.next())
        layer = SocketLayer(host: host, maximumSockets: configuration.maximumSockets)
        let log = self.log
        let say: (String) -> Void = { log.warning("\($0)") }
        for rule in configuration.impairments { _ = impairments.set(rule) }
        links = FrameLinks(
            configuration: configuration.links, registry: loop, receiver: layer, filter: impairments, log: say)
        if let settings = configuration.tun {
            tun = try TunLink(
                configuration: settings, device: tunDevice, registry: loop, receiver: layer, tap: links.tap,
                filter: impairments, log: say)
        } else {
            tun = nil
        }
        router = LinkRouter(frames: configuration.usesFrames ? links : nil, tun: tun)
        layer.links = router
        if let path = configuration.capturePath {
            let file = try CaptureWriter(path: path)
            captureFile = file
            links.tap.add(file)
        }
        if configuration.verbosity.rawValue >= Verbosity.minimal.rawValue { watchSegments() }
        if configuration.usesFrames { try links.listen() }
        layer.unknownOptionObserver = { [unowned self] in countUnknown($0) }
        try serveClients()
        try loop.register(signal, SignalHandler(descriptor: signal, daemon: self))
    }

    deinit {
        close(wake.descriptor)
        scratch.deallocate()
    }

    /// chiTCP's messages at the socket's path, this project's own records beside it.
    private func serveClients() throws(SystemError) {
        let path = configuration.socketPath
        listeners.append(
            try ClientListener(SOCK_STREAM, at: path, daemon: self) { [unowned self] descriptor, now in
                MessageSession(descriptor, daemon: self).map { add($0, at: now) } != nil
            })
        do {
            listeners.append(
                try ClientListener(SOCK_SEQPACKET, at: path + CHITCP_CONTROL_SUFFIX, daemon: self) {
                    [unowned self] descriptor, now in
                    ControlSession(descriptor, daemon: self).map { add($0, at: now) } != nil
                })
        } catch {
            for listener in listeners { listener.close() }
            throw error
        }
    }

    private static func openLog(_ path: String?) throws(SystemError) -> Int32 {
        guard let path else { return STDERR_FILENO }
        // O_NONBLOCK: a FIFO that nobody reads is an error now, not a wait without end.
        let fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0o644)
        guard fd >= 0 else { throw SystemError("cannot write the log \(path)") }
        return fd
    }

    /// For other threads and signal handlers.
    public var stopSignal: StopSignal { wake }

    /// One line for people: where this daemon is reached.
    public var greeting: String {
        var places: [String] = []
        if configuration.usesFrames {
            places = configuration.links.addresses.map { Endpoint($0, configuration.links.port).description }
            if places.isEmpty { places = ["port \(configuration.links.port) of all addresses"] }
        }
        if let tun = configuration.tun {
            places += tun.addresses.map { "\($0.address) through \(tun.name)" }
        }
        return "listening on \(places.joined(separator: ", ")), applications at \(configuration.socketPath)"
    }

    private var stopping = false

    /// Runs until `stop`.
    public func run() {
        while !stopping {
            var deadline = layer.host.nextTimeout
            if let other = impairments.nextTimeout { deadline = min(deadline ?? other, other) }
            if let other = links.nextTimeout { deadline = min(deadline ?? other, other) }
            if let other = resumeAt { deadline = min(deadline ?? other, other) }
            if let other = untidyEnds.nextTimeout { deadline = min(deadline ?? other, other) }
            loop.turn(until: deadline)
            settle(at: EventLoop.now())
        }
        shutDown()
    }

    /// What follows every batch of inputs: timers, outputs, and one write to each link.
    private func settle(at now: Instant) {
        if let moment = resumeAt, moment <= now { resumeAccepting() }
        impairments.handleTimeout(at: now)
        links.handleTimeout(at: now)
        untidyEnds.handleTimeout(at: now)
        layer.host.handleTimeout(at: now)
        layer.run(at: now)
        links.flush(at: now)
        // Flushing may have made a link writable again, whose connections wait.
        layer.run(at: now)
        links.flush(at: now)
        while tun?.flush(at: now) ?? false { layer.run(at: now) }
    }

    /// Ends in order: no new clients, connections reset so that peers know, files gone.
    private func shutDown() {
        let now = EventLoop.now()
        log.info("stopping: \(descriptorSockets.count + messageSockets.count) sockets")
        for listener in listeners { listener.close() }
        for process in messageProcesses.values { process.release(aborting: true, at: now) }
        for session in sessions.values { session.close(at: now) }
        for socket in Array(descriptorSockets.values) { socket.release(aborting: true, at: now) }
        settle(at: now)
        let held = layer.breakpointStatistics
        if held.dropped + held.overflowed > 0 {
            log.info("segments dropped at breakpoints: \(held.dropped) as told, \(held.overflowed) for want of room")
        }
        links.close(at: now)
        tun?.close()
        captureFile?.close()
        for capture in captures { capture.close() }
        if logWriter.dropped > 0 { log.warning("\(logWriter.dropped) log lines were dropped") }
        logWriter.close()
    }

    func received(signal: UInt64) {
        if signal >> 32 != 0 { stopping = true }
        if signal & 0xFFFF_FFFF != 0, let path = configuration.logPath {
            do throws(SystemError) { logWriter.replaceDescriptor(try Self.openLog(path)) } catch {
                log.error("\(error)")
            }
        }
    }

    // MARK: Sessions and sockets

    private func add(_ session: any ClientSession, at now: Instant) {
        sessions[ObjectIdentifier(session)] = session
        session.descriptorReady(.readable, at: now)
    }

    func forget(_ session: any ClientSession) {
        sessions[ObjectIdentifier(session)] = nil
        resumeAccepting()
    }

    func forget(_ socket: DescriptorSocket, error: Int32) {
        descriptorSockets[socket.id] = nil
        if error != 0 {
            // Bounded: the errors of sockets that nobody asked about are forgotten all at once.
            if lateErrors.count >= 4096 { lateErrors = [:] }
            lateErrors[socket.id] = error
        }
        resumeAccepting()
    }

    /// The error with which a socket that is gone has ended, once; then, as after success, 0. Nil if there never was one.
    func takeLateError(_ id: UInt64) -> Int32? {
        guard id > 0, id <= lastDescriptorID else { return nil }
        return lateErrors.removeValue(forKey: id) ?? 0
    }

    /// A process of a user that may not use this daemon has asked it for something.
    func turnAway(_ client: ClientCredentials) {
        guard strangers.count < 64, strangers.insert(client.uid).inserted else { return }
        let uid = client.uid
        log.warning(
            "user \(uid) may not use this daemon (process \(client.pid)): start it with --allow-user \(uid) to admit it"
        )
    }

    private func countUnknown(_ option: OptionName) {
        unknownOptions += 1
        lastUnknownOption = option
        log.debug("an unknown option: level \(option.level), number \(option.name)")
    }

    /// Descriptors or sockets have run out: `listener` goes on when one is free.
    func pauseAccepting(_ listener: any EventHandler, because reason: String) {
        if paused.isEmpty { log.warning("accepting pauses: \(reason)") }
        // Real connections and files give descriptors back, too, and do not tell.
        resumeAt = EventLoop.now() + .milliseconds(100)
        if !paused.contains(where: { $0 === listener }) { paused.append(listener) }
    }

    private func resumeAccepting() {
        guard !paused.isEmpty else { return }
        let waiting = paused
        paused = []
        resumeAt = nil
        for listener in waiting { loop.again(listener) }
    }

    // MARK: Captures

    /// From now on `capture` sees all segments. False if too many watch already.
    func begin(_ capture: LiveCapture) -> Bool {
        guard captures.count < 16 else { return false }
        captures.append(capture)
        links.tap.add(capture)
        return true
    }

    /// Nobody watches any more. At the daemon's own end captures go on to its last segment.
    func end(_ capture: LiveCapture) {
        guard !stopping else { return }
        captures.removeAll { $0 === capture }
        links.tap.remove(capture)
        capture.finish()
    }

    // MARK: The MINIMAL log

    private func watchSegments() {
        let writer = logWriter
        links.tap.observer = { [unowned self] event, header, count, tuple in
            let socket = layer.socketNumber(of: tuple)
            let outgoing = event == .sent || event == .dropSent
            let line = MinimalLine(
                time: wallClock(), socket: socket, event: event, header: header, count: count,
                source: outgoing ? tuple.local.address : tuple.remote.address,
                destination: outgoing ? tuple.remote.address : tuple.local.address)
            writer.write(Array("\(line)\n".utf8))
        }
        layer.stateObserver = { socket, from, to in
            let line = MinimalLine(
                time: wallClock(), socket: socket?.number, kind: .transition(from: "\(from)", to: "\(to)"))
            writer.write(Array("\(line)\n".utf8))
        }
    }
}

/// A client's connection of either kind.
protocol ClientSession: EventHandler {
    func close(at now: Instant)
}

/// CLOCK_REALTIME in nanoseconds.
func wallClock() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_REALTIME, &t)
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
}

/// Hands signals to the daemon's thread.
private final class SignalHandler: EventHandler {
    private let descriptor: Int32
    private unowned let daemon: Daemon

    init(descriptor: Int32, daemon: Daemon) {
        self.descriptor = descriptor
        self.daemon = daemon
    }

    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        var value: UInt64 = 0
        while read(descriptor, &value, 8) == 8 { daemon.received(signal: value) }
    }
}
