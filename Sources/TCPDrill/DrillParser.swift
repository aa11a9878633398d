// Reads a script: one step a line, words divided by blanks, `#` begins a comment.
import Impairments
import TCPEngine
import TCPSegments

/// Turns text into a script.
struct DrillParser {
    private var script: DrillScript
    private var time = TimeInterval.zero
    private var line = 0
    /// The words of the line that were not used yet.
    private var words: ArraySlice<Substring> = []

    /// Parses `text`; `name` stands in messages.
    static func parse(_ text: String, name: String) throws(DrillFailure) -> DrillScript {
        var parser = DrillParser(script: DrillScript(name: name))
        for raw in text.split(separator: "\n", omittingEmptySubsequences: false) {
            parser.line += 1
            try parser.parseLine(raw)
        }
        guard !parser.script.steps.isEmpty else { throw parser.failure("the script has no steps") }
        return parser.script
    }

    private init(script: DrillScript) { self.script = script }

    private func failure(_ sentence: String) -> DrillFailure {
        DrillFailure(script: script.name, line: line, sentence: sentence, trace: [])
    }

    private mutating func parseLine(_ raw: Substring) throws(DrillFailure) {
        let text = raw.prefix { $0 != "#" }
        words = text.split(whereSeparator: \.isWhitespace)[...]
        guard let first = words.first else { return }
        if first.hasPrefix("+") {
            words.removeFirst()
            time = time + (try interval(first.dropFirst()))
        }
        guard let verb = words.popFirst() else { throw failure("a time without anything that happens then") }
        if verb == "set" {
            guard script.steps.isEmpty else { throw failure("set lines come before everything else") }
            try parseSetting()
        } else {
            let action = try parseAction(verb)
            let shown = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            script.steps.append(DrillStep(line: line, text: shown, time: time, action: action))
        }
        if let extra = words.first { throw failure("\"\(extra)\" is too much here") }
    }

    // MARK: Words

    private mutating func word(_ what: String) throws(DrillFailure) -> Substring {
        guard let word = words.popFirst() else { throw failure("\(what) is missing") }
        return word
    }

    private func number<N: FixedWidthInteger>(_ text: Substring, _ what: String) throws(DrillFailure) -> N {
        guard let n = N(text) else { throw failure("\(what): \"\(text)\" is not a number from \(N.min) to \(N.max)") }
        return n
    }

    private mutating func number<N: FixedWidthInteger>(_ what: String) throws(DrillFailure) -> N {
        try number(word(what), what)
    }

    /// How many bytes a call is about.
    private mutating func byteCount() throws(DrillFailure) -> Int {
        let n: Int = try number("how many bytes")
        guard (0...ConnectionConfiguration.maximumBufferSize).contains(n) else {
            throw failure("\(n) bytes: a number from 0 to \(ConnectionConfiguration.maximumBufferSize)")
        }
        return n
    }

    private func interval(_ text: Substring) throws(DrillFailure) -> TimeInterval {
        if text == "0" { return .zero }
        guard let t = Quantity.time(text) else {
            throw failure("\"\(text)\" is not a time: write it with its unit, like 200ms or 1s")
        }
        return t
    }

    private mutating func interval(_ what: String) throws(DrillFailure) -> TimeInterval {
        let text = try word(what)
        return try interval(text)
    }

    private mutating func size(_ what: String) throws(DrillFailure) -> Int {
        let text = try word(what)
        guard let n = Quantity.size(text) else { throw failure("\(what): \"\(text)\" is not a size") }
        return n
    }

    private mutating func isOn(_ what: String) throws(DrillFailure) -> Bool {
        let text = try word("on or off")
        guard text == "on" || text == "off" else { throw failure("\(what): \"\(text)\" is neither on nor off") }
        return text == "on"
    }

    // MARK: Settings

    private mutating func parseSetting() throws(DrillFailure) {
        let name = try word("what to set")
        var s = script.settings
        switch name {
        case "mss": s.maximumSegmentSize = try number("mss")
        case "iss": s.iss = SequenceNumber(try number("iss"))
        case "irs": s.irs = SequenceNumber(try number("irs"))
        case "ipv6": s.isIPv6 = try isOn("ipv6")
        case "tolerance": s.tolerance = try interval("tolerance")
        case "timestamps": s.host.connection.timestamps = try isOn("timestamps")
        case "sack": s.host.connection.selectiveAcks = try isOn("sack")
        case "wscale": s.host.connection.windowScaling = try isOn("wscale")
        case "nodelay": s.host.connection.noDelay = try isOn("nodelay")
        case "link-hides-mtu": s.hidesMTU = try isOn("link-hides-mtu")
        case "size-probing":
            let text = try word("off, black-hole or always")
            guard let probing = SegmentSizeProbing(rawValue: String(text)) else {
                throw failure("size-probing \(text): it is off, black-hole or always")
            }
            s.host.connection.segmentSizeProbing = probing
        case "size-probe-interval": s.host.connection.segmentSizeProbeInterval = try interval("size-probe-interval")
        case "link-ecn": s.carriesECN = try isOn("link-ecn")
        case "ecn":
            let text = try word("off, accept, classic or accurate")
            guard let use = ECNUse(rawValue: String(text)) else {
                throw failure("ecn \(text): it is off, accept, classic or accurate")
            }
            s.host.connection.ecn = use
        case "sendbuffer": s.host.connection.sendBufferSize = try size("sendbuffer")
        case "receivebuffer": s.host.connection.receiveBufferSize = try size("receivebuffer")
        case "sendbuffer-max": s.host.connection.maximumSendBuffer = try size("sendbuffer-max")
        case "receivebuffer-max": s.host.connection.maximumReceiveBuffer = try size("receivebuffer-max")
        case "rto-min": s.host.connection.minimumRTO = try interval("rto-min")
        case "rto-initial": s.host.connection.initialRTO = try interval("rto-initial")
        case "rto-max": s.host.connection.maximumRTO = try interval("rto-max")
        case "delayed-ack": s.host.connection.delayedAck = try interval("delayed-ack")
        case "syn-retries": s.host.connection.synRetries = try number("syn-retries")
        case "synack-retries": s.host.connection.synAckRetries = try number("synack-retries")
        case "data-retries": s.host.connection.dataRetries = try number("data-retries")
        case "finwait2": s.host.connection.finWait2Timeout = try interval("finwait2")
        case "usertimeout": s.host.connection.userTimeout = try interval("usertimeout")
        case "fastopen": s.host.fastOpen.modes = FastOpenModes(rawValue: try number("fastopen"))
        case "fastopen-blackhole": s.host.fastOpen.blackholeTimeout = try interval("fastopen-blackhole")
        case "fastopen-key": s.host.fastOpen.keys.append(try fastOpenKey())
        case "syn-text": s.host.connection.keepsTextOfSyn = try isOn("syn-text")
        case "uto":
            var rules = UserTimeoutRules(announced: try interval("uto"))
            if !words.isEmpty {
                let lower = try interval("the lower limit")
                let upper = try interval("the upper limit")
                guard lower <= upper else { throw failure("uto: the lower limit is above the upper one") }
                rules.limits = lower...upper
            }
            s.host.connection.userTimeoutRules = rules
        case "defer-accept":
            s.host.connection.deferredAccepts = ConnectionConfiguration.synAckRetransmissions(
                in: try interval("defer-accept"))
        case "pacing-limit": s.host.connection.maximumPacingRate = try size("pacing-limit")
        case "window-clamp": s.host.connection.windowClamp = try size("window-clamp")
        case "maxseg": s.host.connection.maximumSegmentSize = try number("maxseg")
        case "syncookies": s.host.synCookies = try synCookies()
        case "msl": s.host.maximumSegmentLifetime = try interval("msl")
        default: throw failure("there is nothing called \"\(name)\" to set")
        }
        script.settings = s
    }

    private mutating func fastOpenKey() throws(DrillFailure) -> FastOpenKey {
        let text = try word("the key")
        guard let key = FastOpenKey(text) else {
            throw failure("\"\(text)\" is no key: it is four hexadecimal numbers with a dash between")
        }
        return key
    }

    private mutating func synCookies() throws(DrillFailure) -> SynCookieUse {
        let value: Int = try number("syncookies")
        guard let use = SynCookieUse(rawValue: value) else { throw failure("syncookies is 0, 1 or 2") }
        return use
    }

    // MARK: Steps

    private mutating func parseAction(_ verb: Substring) throws(DrillFailure) -> DrillAction {
        switch verb {
        case "<": return .inject(try parseSegment())
        case ">": return .expect(try parseSegment())
        case "quiet": return .quiet
        case "icmp": return try parsePathError()
        case "state": return .state(try parseState())
        case "event": return .event(try parseEvent())
        case "check":
            let name = try word("a value's name")
            guard let value = DrillValue(rawValue: String(name)) else {
                let names = DrillValue.allCases.map(\.rawValue).joined(separator: ", ")
                throw failure("there is no value called \"\(name)\"; there are \(names)")
            }
            let sign = try word("=, >= or <=")
            guard let comparison = DrillComparison(rawValue: String(sign)) else {
                throw failure("\"\(sign)\" compares nothing: write =, >= or <=")
            }
            return .check(value, comparison, try number("the value"))
        default: return .call(try parseCall(verb), expected: try parseResult())
        }
    }

    private mutating func parsePathError() throws(DrillFailure) -> DrillAction {
        let name = try word("what is reported")
        let error: PathError
        switch name {
        case "unreachable": error = .unreachable
        case "rejected": error = .rejected
        case "soft": error = .soft
        case "too-big": error = .tooBig(mtu: try number("the MTU"))
        default: throw failure("icmp \(name): it is unreachable, rejected, soft or too-big")
        }
        return .pathError(error, position: try number("a position"))
    }

    private mutating func parseState() throws(DrillFailure) -> State {
        let name = try word("a state")
        guard let state = State.allCases.first(where: { $0.description == name }) else {
            throw failure("\"\(name)\" is no state of TCP; states are written like FIN_WAIT_1")
        }
        return state
    }

    private mutating func parseEvent() throws(DrillFailure) -> DrillEvent {
        let name = try word("an event")
        switch name {
        case "established": return .established
        case "readable": return .readable
        case "writable": return .writable
        case "urgent": return .urgent
        case "peer-closed": return .peerClosed
        case "closed": return .closed(try words.popFirst().map { word throws(DrillFailure) in try error(word) })
        default: throw failure("\"\(name)\" is no event")
        }
    }

    private static let errors: [String: ConnectionError] = [
        "refused": .refused, "reset": .reset, "timed-out": .timedOut, "unreachable": .unreachable,
        "aborted": .aborted, "not-connected": .notConnected, "closing": .closing, "address-in-use": .addressInUse,
    ]

    private func error(_ word: Substring) throws(DrillFailure) -> ConnectionError {
        guard let error = Self.errors[String(word)] else {
            throw failure("\"\(word)\" is no error; there are \(Self.errors.keys.sorted().joined(separator: ", "))")
        }
        return error
    }

    private mutating func parseCall(_ verb: Substring) throws(DrillFailure) -> DrillCall {
        switch verb {
        case "listen": return .listen(backlog: words.isEmpty ? 8 : try number("the backlog"))
        case "connect":
            guard words.first == "deferred" else { return .connect }
            words.removeFirst()
            return .connectDeferred
        case "sendto": return .sendTo(try byteCount())
        case "fastopen": return .fastOpenQueue(try number("how many connections"))
        case "accept": return .accept
        case "send":
            let count = try byteCount()
            if words.first == "more" {
                words.removeFirst()
                return .sendMore(count)
            }
            let urgent = words.first == "urgent"
            if urgent { words.removeFirst() }
            return .send(count, urgent: urgent)
        case "read": return .receive(try byteCount())
        case "shutdown":
            let direction = try word("read or write")
            guard direction == "read" || direction == "write" else {
                throw failure("shutdown \(direction): it is read or write")
            }
            return direction == "read" ? .shutdownReceiving : .shutdownSending
        case "close": return .close
        case "close-listener": return .closeListener
        case "abort": return .abort
        case "cork": return .cork(try isOn("cork"))
        case "quickack": return .quickAck(try isOn("quickack"))
        case "nodelay": return .noDelay(try isOn("nodelay"))
        case "keepalive":
            let idle = try interval("the idle time")
            let between = try interval("the interval")
            return .keepAlive(idle: idle, interval: between, probes: try number("how many probes"))
        case "usertimeout":
            if words.first == "off" {
                words.removeFirst()
                return .userTimeout(nil)
            }
            return .userTimeout(try interval("the limit"))
        default: throw failure("\"\(verb)\" is nothing that a script can do")
        }
    }

    private mutating func parseResult() throws(DrillFailure) -> DrillResult? {
        guard words.first == "=" else { return nil }
        words.removeFirst()
        let text = try word("the result")
        return if let n = Int(text) { .count(n) } else { .failure(try error(text)) }
    }

    // MARK: Segments

    private static let letters: [Character: ControlBits] = [
        "F": .fin, "S": .syn, "R": .rst, "P": .psh, ".": .ack, "U": .urg, "E": .ece, "W": .cwr, "A": .ae,
    ]

    private mutating func parseSegment() throws(DrillFailure) -> DrillSegment {
        var segment = DrillSegment()
        let flags = try word("the control bits")
        if flags != "-" {
            for letter in flags {
                guard let bit = Self.letters[letter] else {
                    throw failure("\"\(flags)\": control bits are letters of FSRP.UEWA, or - for none")
                }
                segment.bits.insert(bit)
            }
        }
        let positions = try range(try word("the sequence number"))
        segment.start = positions.lowerBound
        segment.count = positions.count
        while let name = words.popFirst() { try parseField(name, of: &segment) }
        return segment
    }

    /// `5` or `5:105`.
    private func range(_ text: Substring) throws(DrillFailure) -> Range<Int> {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let start: Int = try number(parts[0], "a position")
        guard parts.count > 1 else { return start..<start }
        let end: Int = try number(parts[1], "a position")
        guard parts.count == 2, end >= start, end - start <= 65_535 else {
            throw failure("\"\(text)\" is no range of positions: it is written start:end, at most 65,535 bytes long")
        }
        return start..<end
    }

    /// The cookie's bytes in hexadecimal, or `request`.
    private mutating func cookie() throws(DrillFailure) -> FastOpenCookie {
        let text = try word("the cookie, or request")
        if text == "request" { return .request }
        let digits = Array(text)
        let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
            UInt8(String(digits[$0...($0 + 1)]), radix: 16)
        }
        guard digits.count % 2 == 0, bytes.count == digits.count / 2, let cookie = FastOpenCookie(bytes) else {
            throw failure("\"\(text)\" is no cookie: that is 4 to 16 bytes in hexadecimal, an even number of them")
        }
        return cookie
    }

    private mutating func parseField(_ name: Substring, of segment: inout DrillSegment) throws(DrillFailure) {
        switch name {
        case "ack": segment.ack = try number("ack")
        case "win": segment.window = try number("win")
        case "urg": segment.urgent = try number("urg")
        case "mss": segment.mss = try number("mss")
        case "wscale": segment.windowScale = try number("wscale")
        case "sackok": segment.sackPermitted = true
        case "not-ect": segment.ecn = .notCapable
        case "ect0": segment.ecn = .capable0
        case "ect1": segment.ecn = .capable1
        case "ce": segment.ecn = .congestionExperienced
        case "uto": segment.userTimeout = try interval("uto")
        case "fo": segment.fastOpen = FastOpenOption(try cookie())
        case "foexp": segment.fastOpen = FastOpenOption(try cookie(), isExperimental: true)
        case "ts":
            let value: Int = try number("TSval")
            segment.timestamps = (value, try number("TSecr"))
        case "sack":
            while let next = words.first, next.contains(":") {
                words.removeFirst()
                segment.blocks.append(try range(next))
            }
            guard (1...4).contains(segment.blocks.count) else { throw failure("sack takes one to four blocks") }
        case "no":
            let option = try word("which option is absent")
            guard ["mss", "wscale", "sackok", "ts", "sack", "fo", "uto"].contains(option) else {
                throw failure("no \(option): the options are mss, wscale, sackok, ts, sack, fo and uto")
            }
            segment.absent.insert(String(option))
        default: throw failure("a segment has no field \"\(name)\"")
        }
    }
}

extension DrillScript {
    /// Parses a script; `name` stands in messages.
    public init(_ text: String, name: String) throws(DrillFailure) { self = try DrillParser.parse(text, name: name) }
}
