// The host under test in virtual time: what the peer sends goes in, what leaves waits in a queue with its time.
import TCPEngine
import TCPSegments

/// One segment that left, in positions as a script writes them.
struct SentSegment {
    let at: Instant
    var bits: ControlBits
    let start: Int
    var count: Int
    let header: SegmentHeader
    let ecn: ECNField
    /// How many bytes differ from the pattern of what the script's user sends.
    var wrongBytes: Int
}

/// Drives a `Host` with one connection. The bytes of both directions follow a pattern by position, so that a byte in a wrong
/// place shows.
final class DrillHost {
    let host: Host
    let settings: DrillSettings
    let tuple: FourTuple
    private(set) var now: Instant
    private(set) var connection: Connection?
    private(set) var listener: Listener?
    /// What left and was not expected yet.
    var sent: [SentSegment] = []
    private var events: [DrillEvent] = []
    private var trace: [String] = []
    /// Where in the streams the user is: the next byte to send, and to read.
    private var sendPosition = 1, readPosition = 1
    /// The number of the host's last SYN, from which its positions count: the script's, but for SYN cookies.
    private var iss: SequenceNumber
    /// The host's first TSval: scripts count from it.
    private(set) var firstTimestamp: UInt32?
    private let began: Instant
    private static let link = LinkID(1)
    private static let traceLimit = 24

    init(_ settings: DrillSettings) {
        self.settings = settings
        iss = settings.iss
        var configuration = settings.host
        configuration.initialSequenceNumber = settings.iss
        host = Host(configuration: configuration, seed: 1)
        let local = settings.isIPv6 ? IPAddress(high: 0xfd00 << 48, low: 1) : IPAddress(192, 0, 2, 1)
        let remote = settings.isIPv6 ? IPAddress(high: 0xfd00 << 48, low: 2) : IPAddress(192, 0, 2, 2)
        tuple = FourTuple(local: Endpoint(local, 8080), remote: Endpoint(remote, 40_000))
        began = Instant(nanoseconds: 1_000_000_000)
        now = began
        addLink()
    }

    private func addLink() {
        host.addLink(
            Self.link,
            LinkProperties(
                maximumSegmentSize: settings.maximumSegmentSize, maximumSegmentLifetime: .seconds(30),
                computesChecksum: false, carriesECN: settings.carriesECN, hidesMTU: settings.hidesMTU),
            for: tuple.addresses, at: now)
    }

    /// What happened last, oldest first.
    var recent: [String] { trace }
    /// The time since the beginning.
    var elapsed: TimeInterval { now - began }

    func note(_ sentence: String) {
        if trace.count == Self.traceLimit { trace.removeFirst() }
        trace.append("\(elapsed)  \(sentence)")
    }

    // MARK: Time

    /// Lets virtual time pass up to `time` after the beginning, deadline by deadline; with `untilSent`, stops when something
    /// has left.
    func advance(to time: TimeInterval, untilSent: Bool = false) {
        let end = began + time
        while !(untilSent && !sent.isEmpty), let next = host.nextTimeout, next <= end {
            now = max(now, next)
            host.handleTimeout(at: now)
            drain()
        }
        if !(untilSent && !sent.isEmpty) { now = max(now, end) }
    }

    private func drain() {
        while let output = host.poll(at: now) {
            switch output {
            case .event(_, let event): if let seen = DrillEvent(event) { events.append(seen) }
            case .incoming: note("a connection waits to be accepted")
            case .pending(let pending): _ = host.open(pending, userData: nil, eventMask: [], at: now)
            case .linkWanted: addLink()
            case .transmit(let transmission, _, _): take(transmission)
            }
        }
    }

    private func take(_ transmission: borrowing Transmission) {
        for i in 0..<transmission.segmentCount {
            let (header, offset, count) = transmission.segment(i)
            if header.controlBits.contains(.syn) { iss = header.sequenceNumber }
            let start = Int(iss.distance(to: header.sequenceNumber))
            var bytes = [UInt8](repeating: 0, count: count)
            bytes.withUnsafeMutableBytes {
                guard let base = $0.baseAddress else { return }
                transmission.payload.copyBytes(from: offset, count: count, to: base)
            }
            let first = start + (header.controlBits.contains(.syn) ? 1 : 0)
            let wrong = bytes.indices.count { bytes[$0] != Self.pattern(first + $0) }
            if firstTimestamp == nil { firstTimestamp = header.options.timestamps?.value }
            let segment = SentSegment(
                at: now, bits: header.controlBits, start: start, count: count, header: header,
                ecn: transmission.ecn, wrongBytes: wrong)
            note("> \(describe(segment))")
            sent.append(segment)
        }
    }

    static func pattern(_ position: Int) -> UInt8 { UInt8(truncatingIfNeeded: position &* 31 &+ position >> 8) }

    // MARK: The peer

    func inject(_ segment: DrillSegment, written text: String) {
        var header = SegmentHeader(
            sourcePort: tuple.remote.port, destinationPort: tuple.local.port,
            sequenceNumber: settings.irs + UInt32(truncatingIfNeeded: segment.start), controlBits: segment.bits,
            window: WindowField(segment.window ?? 65_535), urgentPointer: segment.urgent ?? 0)
        var tuple = self.tuple
        if let connection {
            // An active OPEN has chosen its port itself.
            tuple = connection.tuple
            header.destinationPort = tuple.local.port
        }
        if let ack = segment.ack { header.acknowledgmentNumber = iss + UInt32(truncatingIfNeeded: ack) }
        header.options.maximumSegmentSize = segment.mss
        header.options.windowScale = segment.windowScale
        header.options.sackPermitted = segment.sackPermitted
        if let t = segment.timestamps {
            header.options.timestamps = Timestamps(
                value: UInt32(truncatingIfNeeded: t.value),
                echoReply: (firstTimestamp ?? 0) &+ UInt32(truncatingIfNeeded: t.echo))
        }
        if let time = segment.userTimeout { header.options.append(UserTimeoutOption(time)) }
        if let option = segment.fastOpen { header.options.append(option) }
        for block in segment.blocks {
            header.options.sackBlocks.append(
                SequenceRange(
                    start: iss + UInt32(truncatingIfNeeded: block.lowerBound),
                    length: UInt32(truncatingIfNeeded: block.count)))
        }
        let first = segment.start + (segment.bits.contains(.syn) ? 1 : 0)
        let payload = (0..<segment.count).map { Self.pattern(first + $0) }
        note(text)
        payload.withUnsafeBytes {
            host.handle(
                header, payload: $0, tuple: tuple, on: Self.link, ecn: segment.ecn ?? .notCapable, at: now)
        }
        drain()
    }

    func report(_ error: PathError, about position: Int, written text: String) {
        note(text)
        let segment = QuotedSegment(
            tuple: connection?.tuple ?? tuple,
            sequenceNumber: iss + UInt32(truncatingIfNeeded: position))
        host.pathError(error, about: segment, at: now)
        drain()
    }

    // MARK: The user

    /// Does what the script's user does; nil if the call is not possible now, for a reason that `why` tells.
    func call(_ call: DrillCall, written text: String) throws(ConnectionError) -> Int {
        note(text)
        defer { drain() }
        switch call {
        case .listen(let backlog):
            listener = try host.listen(on: tuple.local, backlog: backlog)
            return 0
        case .connect: try open(.none)
        case .connectDeferred: try open(.withFirstSend)
        case .sendTo(let count):
            let room = try open(.now).synDataRoom
            return try send(min(count, room), urgent: false)
        case .fastOpenQueue(let limit):
            guard let listener else { throw .notConnected }
            host.setFastOpenQueue(limit, of: listener)
        case .accept:
            guard let listener, let accepted = host.accept(listener) else { throw .notConnected }
            begin(accepted)
        case .closeListener:
            guard let listener else { throw .notConnected }
            host.close(listener, at: now)
            return 0
        case .send(let count, let urgent):
            let queued = try send(count, urgent: urgent)
            try required().noteWrite(endsRecord: false, moreFollows: false)
            return queued
        case .sendMore(let count):
            let queued = try send(count, urgent: false)
            try required().noteWrite(endsRecord: false, moreFollows: true)
            return queued
        case .cork(let on): try host.setCorked(required(), on, at: now)
        case .quickAck(let on): try host.setQuickAck(required(), on, at: now)
        case .receive(let limit): return receive(limit)
        case .shutdownSending: try host.shutdownSending(required(), at: now)
        case .shutdownReceiving: try host.shutdownReceiving(required(), at: now)
        case .close: try host.close(required(), at: now)
        case .abort: try host.abort(required(), at: now)
        case .noDelay(let on): try host.setNoDelay(required(), on, at: now)
        case .keepAlive(let idle, let interval, let probes):
            try host.setKeepAlive(required(), true, idle: idle, interval: interval, probes: probes, at: now)
        case .userTimeout(let limit): try host.setUserTimeout(required(), limit)
        }
        return 0
    }

    @discardableResult
    private func open(_ use: FastOpenUse) throws(ConnectionError) -> Connection {
        let opened = try host.open(
            from: nil, localAddress: tuple.local.address, to: tuple.remote, fastOpen: use, at: now)
        begin(opened)
        return opened
    }

    /// Another connection: its streams begin anew.
    private func begin(_ connection: Connection) {
        self.connection = connection
        sendPosition = 1
        readPosition = 1
    }

    private func required() throws(ConnectionError) -> Connection {
        guard let connection else { throw .notConnected }
        return connection
    }

    private func send(_ count: Int, urgent: Bool) throws(ConnectionError) -> Int {
        let connection = try required()
        let bytes = (0..<count).map { Self.pattern(sendPosition + $0) }
        let queued = try bytes.withUnsafeBytes { buffer in
            Result { () throws(ConnectionError) in
                urgent ? try host.sendUrgent(connection, buffer, at: now) : try host.send(connection, buffer, at: now)
            }
        }.get()
        sendPosition += queued
        return queued
    }

    /// How many bytes were read; -1 if they are not those that the peer has sent.
    private func receive(_ limit: Int) -> Int {
        guard let connection else { return 0 }
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = bytes.withUnsafeMutableBytes { host.receive(connection, into: $0, at: now) }
        let wrong = (0..<count).contains { bytes[$0] != Self.pattern(readPosition + $0) }
        readPosition += count
        return wrong ? -1 : count
    }

    // MARK: Questions

    /// Takes out the oldest event of this kind, and what came before it.
    func takeEvent(_ event: DrillEvent) -> Bool {
        guard let index = events.firstIndex(of: event) else { return false }
        events.removeFirst(index + 1)
        return true
    }

    var unaskedEvents: [DrillEvent] { events }

    func value(_ value: DrillValue) -> Int? {
        switch value {
        case .connections: return host.connectionCount
        case .acceptQueue: return listener?.acceptQueueCount
        case .cookiesSent: return Int(clamping: host.statistics.synCookiesSent)
        case .cookiesAccepted: return Int(clamping: host.statistics.synCookiesAccepted)
        case .congestionWindow, .slowStartThreshold, .inFlight, .sendWindow, .receiveWindow, .segmentSize, .sendQueued,
            .receiveQueued, .outOfOrder, .retransmitted, .dropped, .timeout, .roundTrip, .synData, .userTimeout:
            break
        }
        guard let info = connection?.info else { return nil }
        switch value {
        case .congestionWindow: return info.congestionWindow
        case .slowStartThreshold: return info.slowStartThreshold
        case .inFlight: return info.inFlight
        case .sendWindow: return Int(info.sndWnd)
        case .receiveWindow: return Int(info.rcvWnd)
        case .segmentSize: return info.maximumSegmentSize
        case .sendQueued: return info.sendQueued
        case .receiveQueued: return info.receiveQueued
        case .outOfOrder: return info.outOfOrderQueued
        case .retransmitted: return Int(clamping: info.segmentsRetransmitted)
        case .dropped: return Int(clamping: info.segmentsDropped)
        case .timeout: return Int(info.retransmissionTimeout.nanoseconds / 1_000_000)
        case .roundTrip: return info.smoothedRTT.map { Int($0.nanoseconds / 1_000_000) }
        case .userTimeout: return info.userTimeout.map { Int($0.nanoseconds / 1_000_000_000) } ?? 0
        case .synData: return info.synDataAcknowledged ? 1 : 0
        case .connections, .acceptQueue, .cookiesSent, .cookiesAccepted: return nil
        }
    }

    // MARK: Words

    /// A segment of the host's as a script would write it.
    func describe(_ segment: SentSegment) -> String {
        let header = segment.header
        var s = segment.bits.letters + " \(segment.start)"
        if segment.count > 0 { s += ":\(segment.start + segment.count)" }
        if segment.bits.contains(.ack) {
            s += " ack \(settings.irs.distance(to: header.acknowledgmentNumber))"
        }
        s += " win \(header.window.value)"
        if segment.bits.contains(.urg) { s += " urg \(header.urgentPointer)" }
        if let mss = header.options.maximumSegmentSize { s += " mss \(mss)" }
        if let scale = header.options.windowScale { s += " wscale \(scale)" }
        if header.options.sackPermitted { s += " sackok" }
        if let t = header.options.timestamps { s += " ts \(t.value &- (firstTimestamp ?? 0)) \(t.echoReply)" }
        if segment.ecn != .notCapable { s += " \(segment.ecn.word)" }
        if let option = header.options.userTimeout { s += " uto \(option.time)" }
        if let option = header.options.fastOpen { s += Self.describe(option) }
        let blocks = blocks(of: header)
        if !blocks.isEmpty {
            s += " sack" + blocks.map { " \($0.lowerBound):\($0.upperBound)" }.joined()
        }
        return s
    }

    /// The Fast Open option as a script would write it.
    static func describe(_ option: FastOpenOption) -> String {
        let digits = option.cookie.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return (option.isExperimental ? " foexp " : " fo ") + (option.cookie.isEmpty ? "request" : digits)
    }

    /// The SACK blocks in the peer's positions.
    func blocks(of header: SegmentHeader) -> [Range<Int>] {
        (0..<header.options.sackBlocks.count).map {
            let block = header.options.sackBlocks[$0]
            let start = Int(settings.irs.distance(to: block.start))
            return start..<(start + Int(block.length))
        }
    }
}

extension ECNField {
    /// The word of a script.
    var word: String {
        switch self {
        case .notCapable: return "not-ect"
        case .capable1: return "ect1"
        case .capable0: return "ect0"
        case .congestionExperienced: return "ce"
        }
    }
}

extension ControlBits {
    /// The letters of a script.
    var letters: String {
        let all: [(ControlBits, String)] = [
            (.fin, "F"), (.syn, "S"), (.rst, "R"), (.psh, "P"), (.ack, "."), (.urg, "U"), (.ece, "E"), (.cwr, "W"),
            (.ae, "A"),
        ]
        let letters = all.filter { contains($0.0) }.map(\.1).joined()
        return letters.isEmpty ? "-" : letters
    }
}

extension DrillEvent {
    /// The event as scripts know it; nil for those that they do not ask for.
    init?(_ event: ConnectionEvent) {
        switch event {
        case .stateChanged: return nil
        case .established: self = .established
        case .readable: self = .readable
        case .writable: self = .writable
        case .urgent: self = .urgent
        case .peerClosed: self = .peerClosed
        case .closed(let error): self = .closed(error)
        }
    }
}
