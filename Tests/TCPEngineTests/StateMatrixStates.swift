// The shortest scripts that lead a host into each state, and what a segment made of it.
import TCPSegments
import Testing

@testable import TCPEngine

/// A state and the way there.
enum Way: String, CaseIterable, Sendable, CustomStringConvertible {
    case closed = "CLOSED"
    case listen = "LISTEN"
    case synSent = "SYN-SENT"
    case synReceivedPassive = "SYN-RECEIVED by a passive OPEN"
    case synReceivedSimultaneous = "SYN-RECEIVED by a simultaneous open"
    case established = "ESTABLISHED"
    case establishedActive = "ESTABLISHED by an active OPEN"
    case establishedClosedWindow = "ESTABLISHED, RCV.WND = 0"
    case establishedSmallWindow = "ESTABLISHED, RCV.WND = 5"
    case finWait1 = "FIN-WAIT-1"
    case finWait1Orphan = "FIN-WAIT-1 after CLOSE"
    case finWait2 = "FIN-WAIT-2"
    case finWait2Orphan = "FIN-WAIT-2 after CLOSE"
    case closeWait = "CLOSE-WAIT"
    case closing = "CLOSING"
    case lastAck = "LAST-ACK"
    case timeWaitFromFinWait2 = "TIME-WAIT from FIN-WAIT-2"
    case timeWaitFromClosing = "TIME-WAIT from CLOSING"
    case timeWaitFromFinWait1 = "TIME-WAIT from FIN-WAIT-1"
    case timeWaitWatched = "TIME-WAIT with a debugger"
    case timeWaitActive = "TIME-WAIT without a listener"

    var description: String { rawValue }
}

/// Where the sequence numbers of both ends begin, so that a cell's numbers straddle a wrap or do not.
struct Numbers: Sendable, CustomStringConvertible {
    let description: String
    let iss: UInt32
    let irs: UInt32
    var ipv6 = false

    static let zeroWrap = Numbers(description: "around 2^32", iss: 0 &- 350, irs: 0 &- 500)
    static let signWrap = Numbers(description: "around 2^31", iss: (1 << 31) - 350, irs: (1 << 31) - 500)
    static let plain = Numbers(description: "without a wrap, IPv6", iss: 1_000_000, irs: 7_000_000, ipv6: true)
}

extension OneHost {
    /// The peer's window in all scripts: small, so that RFC 5961 5.2 has a near edge.
    static let peerWindow: UInt16 = 400
    static let receiveBuffer = 1000

    /// A host in the state, and what the oracle may know of it, taken from the segments that were seen.
    static func reach(_ way: Way, _ numbers: Numbers) throws -> (OneHost, Situation) {
        let one = OneHost(iss: numbers.iss, irs: numbers.irs, ipv6: numbers.ipv6) {
            $0.connection.receiveBufferSize = receiveBuffer
            $0.connection.windowScaling = false
            $0.connection.timestamps = false
            $0.connection.selectiveAcks = false
        }
        var s = Situation(state: .closed)
        try one.walk(way, &s)
        one.events = []
        return (one, s)
    }

    private func walk(_ way: Way, _ s: inout Situation) throws {
        switch way {
        case .closed: return
        case .listen:
            try listen()
            s.state = .listen
            return
        case .synSent:
            try open()
            s.state = .synSent
            s.sndNxt = 1
            return
        case .synReceivedPassive:
            try listen()
            s.isListening = true
            s.isPassive = true
            note(inject(.syn, seq: 0, window: Self.peerWindow), &s)
            s.state = .synReceived
            s.sndNxt = 1
            return
        case .synReceivedSimultaneous:
            try open()
            note(inject(.syn, seq: 0, window: Self.peerWindow), &s)
            s.state = .synReceived
            s.sndNxt = 1
            return
        case .establishedActive, .timeWaitActive:
            try open()
            note(inject([.syn, .ack], seq: 0, ack: 1, window: Self.peerWindow), &s)
        case .established, .establishedClosedWindow, .establishedSmallWindow, .finWait1, .finWait1Orphan, .finWait2,
            .finWait2Orphan, .closeWait, .closing, .lastAck, .timeWaitFromFinWait2, .timeWaitFromClosing,
            .timeWaitFromFinWait1, .timeWaitWatched:
            try listen()
            s.isListening = true
            inject(.syn, seq: 0, window: Self.peerWindow)
            inject(.ack, seq: 1, ack: 1, window: Self.peerWindow)
        }
        s.state = .established
        s.maxSndWnd = Int(Self.peerWindow)
        // 40 bytes in and read; 300 bytes out and acknowledged, 100 outstanding.
        let connection = try #require(self.connection)
        note(inject(.ack, seq: 1, ack: 1, pattern(40), window: Self.peerWindow), &s)
        read()
        try send(300)
        #expect(sent().count == 1)
        inject(.ack, seq: 41, ack: 301, window: Self.peerWindow)
        try send(100)
        #expect(sent().count == 1)
        s.sndUna = 301
        s.sndNxt = 401
        try close(way, connection, &s)
    }

    private func close(_ way: Way, _ connection: Connection, _ s: inout Situation) throws {
        func ourFin(byClose: Bool = false) {
            if byClose { host.close(connection, at: now) } else { host.shutdownSending(connection, at: now) }
            #expect(sent().map(\.bits) == [[.fin, .ack]])
            s.isOrphan = byClose
            s.finSent = true
            s.sndNxt = 402
            s.state = s.state == .closeWait ? .lastAck : .finWait1
        }
        func finIsAcknowledged() {
            inject(.ack, seq: s.rcvNxt, ack: 402, window: Self.peerWindow)
            s.sndUna = 402
        }
        func peerFin(ack: Int) {
            note(inject([.ack, .fin], seq: s.rcvNxt, ack: ack, window: Self.peerWindow), &s)
        }
        switch way {
        case .closed, .listen, .synSent, .synReceivedPassive, .synReceivedSimultaneous, .established,
            .establishedActive:
            break
        case .establishedClosedWindow:
            note(inject(.ack, seq: 41, ack: 301, pattern(s.rcvWnd), window: Self.peerWindow), &s)
            #expect(s.rcvWnd == 0)
        case .establishedSmallWindow:
            note(inject(.ack, seq: 41, ack: 301, pattern(s.rcvWnd - 5), window: Self.peerWindow), &s)
            #expect(s.rcvWnd == 5)
        case .finWait1: ourFin()
        case .finWait1Orphan:
            ourFin(byClose: true)
        case .finWait2Orphan:
            ourFin(byClose: true)
            finIsAcknowledged()
            s.state = .finWait2
        case .finWait2:
            ourFin()
            finIsAcknowledged()
            s.state = .finWait2
        case .closeWait:
            peerFin(ack: 301)
            s.state = .closeWait
        case .closing:
            ourFin()
            peerFin(ack: 301)
            s.state = .closing
        case .lastAck:
            peerFin(ack: 301)
            s.state = .closeWait
            ourFin()
        case .timeWaitFromFinWait2, .timeWaitWatched, .timeWaitActive:
            if way == .timeWaitWatched { connection.eventMask = .stateChanges }
            ourFin()
            finIsAcknowledged()
            peerFin(ack: 402)
            s.state = .timeWait
        case .timeWaitFromClosing:
            ourFin()
            peerFin(ack: 301)
            finIsAcknowledged()
            s.state = .timeWait
        case .timeWaitFromFinWait1:
            ourFin()
            s.sndUna = 402
            peerFin(ack: 402)
            s.state = .timeWait
        }
        // So that a 2 MSL timer that starts anew shows.
        now = now + .milliseconds(100)
    }

    /// RCV.NXT and RCV.WND are what our last segment said.
    private func note(_ segments: [Sent], _ s: inout Situation) {
        guard let last = segments.last else {
            Issue.record("nothing was sent")
            return
        }
        s.rcvNxt = acknowledged(last)
        s.rcvWnd = Int(last.header.window.value)
    }

    // MARK: What came of it

    /// The state the host holds for the ends; nil: none.
    var stateNow: State? {
        switch host.table[tuple] {
        case .connection(let connection): connection.state
        case .halfOpen: .synReceived
        case .timeWait: .timeWait
        case nil: nil
        }
    }

    /// When TIME-WAIT ends.
    var timeWaitEnd: Instant? {
        switch host.table[tuple] {
        case .connection(let connection): connection.timers[.timeWait]
        case .timeWait(let record): record.deadline
        case .halfOpen, nil: nil
        }
    }

    /// How the user was told of the end, if at all.
    var ending: Ending? {
        guard let event = events.last(where: { $0.hasPrefix("closed") }) else { return nil }
        for error in [ConnectionError.refused, .reset, .timedOut, .unreachable, .aborted]
        where event.contains("ConnectionError.\(error)") {
            return .failed(error)
        }
        return .orderly
    }

    /// Names what was sent in the oracle's words.
    func reply(_ segments: [Sent]) -> Reply {
        guard let first = segments.first else { return .none }
        guard segments.count == 1, first.payload.isEmpty else { return .other("\(segments.map(describe))") }
        switch first.bits {
        case .ack: return .ack(seq: position(first), ack: acknowledged(first))
        case .rst: return .reset(seq: position(first))
        case [.rst, .ack]:
            return first.header.sequenceNumber.value == 0
                ? .resetAcknowledging(acknowledged(first))
                : .abort(seq: position(first), ack: acknowledged(first))
        case [.syn, .ack]: return .synAck(acknowledged(first))
        default: return .other(describe(first))
        }
    }

    func describe(_ s: Sent) -> String {
        "<SEQ=\(position(s))><ACK=\(acknowledged(s))><CTL=\(s.bits.names)> \(s.payload.count) bytes"
    }
}

extension ControlBits {
    /// The bits' names as RFC 9293 writes them.
    var names: String {
        let all: [(ControlBits, String)] = [
            (.syn, "SYN"), (.fin, "FIN"), (.rst, "RST"), (.psh, "PSH"), (.ack, "ACK"), (.urg, "URG"),
        ]
        return all.filter { contains($0.0) }.map(\.1).joined(separator: ",")
    }
}
