// Every user call in every state (RFC 9293 3.10.1 to 3.10.6): the effect, or the typed error.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct UserCallTests {
    /// A row: in this state the call does this. States in which no user holds a connection yet (LISTEN, and SYN-RECEIVED of
    /// a passive OPEN) have rows for OPEN only.
    struct Row<Outcome: Sendable>: Sendable, CustomStringConvertible {
        let way: Way
        let outcome: Outcome
        var description: String { "\(way): \(outcome)" }
    }

    /// A host in the state, with the connection the user holds. CLOSED: one that the user has aborted.
    private static func reach(_ way: Way) throws -> (OneHost, Situation, Connection) {
        if way == .closed {
            let one = OneHost()
            try one.open()
            let connection = try #require(one.connection)
            one.host.abort(connection, at: one.now)
            _ = one.sent()
            one.events = []
            return (one, Situation(state: .closed), connection)
        }
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        return (one, s, try #require(one.connection))
    }

    private static func rows<Outcome>(_ table: [(Outcome, [Way])]) -> [Row<Outcome>] {
        table.flatMap { outcome, ways in ways.map { Row(way: $0, outcome: outcome) } }
    }

    private static let established: [Way] = [.established, .establishedActive]
    private static let timeWait: [Way] = [
        .timeWaitFromFinWait2, .timeWaitFromClosing, .timeWaitFromFinWait1, .timeWaitActive, .timeWaitWatched,
    ]

    // MARK: OPEN (3.10.1)

    @Test(
        "an active OPEN of a pair that exists is an error, whatever its state (3.10.1)",
        arguments: Way.allCases)
    func openActively(way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        let open = {
            try one.host.open(
                from: one.tuple.local, localAddress: one.tuple.local.address, to: one.tuple.remote, at: one.now)
        }
        switch s.state {
        case .closed, .listen:
            let connection = try open()
            one.addLink()
            #expect(connection.state == .synSent)
            #expect(one.sent().map(\.bits) == [.syn])
        case .synSent, .synReceived, .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck, .timeWait:
            #expect(throws: ConnectionError.addressInUse) { try open() }
            #expect(one.sent().isEmpty)
            #expect(one.stateNow == s.state)
        }
    }

    @Test(
        "a passive OPEN is an error if there is one, and else possible beside every connection of the port (MUST-42)",
        arguments: Way.allCases)
    func openPassively(way: Way) throws {
        let (one, s) = try OneHost.reach(way, .zeroWrap)
        let listen = { try one.host.listen(on: one.tuple.local, backlog: 1) }
        if one.listener != nil {
            #expect(throws: ConnectionError.addressInUse) { try listen() }
        } else {
            _ = try listen()
            let expected: State? = s.state == .closed ? nil : s.state
            #expect(one.stateNow == expected)
        }
    }

    // MARK: SEND (3.10.2)

    enum SendOutcome: Sendable {
        case queued
        case failed(ConnectionError)
    }

    static let sends = rows([
        (SendOutcome.failed(.notConnected), [.closed]),
        (.queued, [.synSent, .synReceivedSimultaneous, .closeWait, .establishedClosedWindow] + established),
        (
            .failed(.closing),
            [.finWait1, .finWait1Orphan, .finWait2, .finWait2Orphan, .closing, .lastAck] + timeWait
        ),
    ])

    @Test("SEND queues, or says why not (3.10.2)", arguments: sends)
    func send(row: Row<SendOutcome>) throws {
        let (one, _, connection) = try Self.reach(row.way)
        let queued = connection.sendQueued
        let send = { try pattern(10).withUnsafeBytes { try one.host.send(connection, $0, at: one.now) } }
        switch row.outcome {
        case .queued:
            #expect(try send() == 10)
            #expect(connection.sendQueued == queued + 10)
        case .failed(let error):
            #expect(throws: error) { try send() }
            #expect(one.sent().isEmpty)
        }
    }

    @Test(
        "what was queued before the connection was up leaves with ESTABLISHED (3.10.2)",
        arguments: [Way.synSent, .synReceivedSimultaneous])
    func sendEarly(way: Way) throws {
        let (one, _, _) = try Self.reach(way)
        try one.send(10)
        #expect(one.sent().isEmpty, "RFC 9293 3.10.2: queue the data for transmission after ESTABLISHED")
        let segments = one.inject([.syn, .ack], seq: 0, ack: 1)
        #expect(segments.map(\.payload) == [pattern(10)])
        #expect(segments.first?.bits == [.ack, .psh])
    }

    // MARK: RECEIVE (3.10.3)

    enum ReceiveOutcome: Sendable {
        /// Text that arrives now is received.
        case text
        /// Nothing yet: text may come.
        case nothingYet
        /// "connection closing": nothing will come any more.
        case endOfStream
        /// There is no connection: `.closed` has told so.
        case noConnection
    }

    static let receives = rows([
        (ReceiveOutcome.noConnection, [.closed]),
        (.nothingYet, [.synSent, .synReceivedSimultaneous]),
        (.text, [.finWait1, .finWait2] + established),
        (.endOfStream, [.closeWait, .closing, .lastAck] + timeWait),
    ])

    @Test("RECEIVE gives text, nothing yet, or the end (3.10.3)", arguments: receives)
    func receive(row: Row<ReceiveOutcome>) throws {
        let (one, s, connection) = try Self.reach(row.way)
        switch row.outcome {
        case .text:
            #expect(one.read().isEmpty)
            one.inject(.ack, seq: s.rcvNxt, ack: s.sndNxt, pattern(7))
            #expect(one.read() == pattern(7))
            #expect(!connection.isAtEndOfStream)
        case .nothingYet, .noConnection:
            #expect(one.read().isEmpty)
            #expect(!connection.isAtEndOfStream)
        case .endOfStream:
            #expect(one.read().isEmpty)
            #expect(connection.isAtEndOfStream)
        }
    }

    @Test("in CLOSE-WAIT the text that came before the FIN is still received (3.10.3)")
    func receiveInCloseWait() throws {
        let (one, s, connection) = try Self.reach(.established)
        one.inject([.ack, .fin], seq: s.rcvNxt, ack: s.sndNxt, pattern(9))
        #expect(connection.state == .closeWait && !connection.isAtEndOfStream)
        #expect(one.read() == pattern(9))
        #expect(connection.isAtEndOfStream)
    }

    // MARK: CLOSE (3.10.4)

    enum CloseOutcome: Sendable, Equatable {
        /// The FIN leaves, in this state.
        case fin(State)
        /// The block is deleted without a word to the peer.
        case deleted
        /// The FIN waits for ESTABLISHED.
        case queued
        /// "connection closing", or no connection: nothing happens.
        case nothing
        /// Received text is left unread: a reset (3.6.1, SHLD-3).
        case reset
    }

    static let closes = rows([
        (CloseOutcome.nothing, [.closed, .finWait1, .finWait2, .closing, .lastAck] + timeWait),
        (.deleted, [.synSent]),
        (.queued, [.synReceivedSimultaneous]),
        (.fin(.finWait1), established),
        (.fin(.lastAck), [.closeWait]),
        (.reset, [.establishedClosedWindow]),
    ])

    @Test("CLOSE sends FIN, deletes, or does nothing (3.10.4)", arguments: closes)
    func close(row: Row<CloseOutcome>) throws {
        let (one, s, connection) = try Self.reach(row.way)
        one.host.close(connection, at: one.now)
        let segments = one.sent()
        switch row.outcome {
        case .fin(let state):
            #expect(segments.map(\.bits) == [[.fin, .ack]])
            #expect(segments.first.map(one.position) == s.sndNxt)
            #expect(connection.state == state)
        case .deleted:
            #expect(segments.isEmpty)
            #expect(one.stateNow == nil)
            #expect(one.ending == .orderly)
        case .queued:
            #expect(segments.isEmpty)
            #expect(connection.state == s.state)
            #expect(one.inject(.ack, seq: 1, ack: 1).map(\.bits) == [[.fin, .ack]])
            #expect(connection.state == .finWait1)
        case .nothing:
            #expect(segments.isEmpty)
            #expect(connection.state == s.state)
        case .reset:
            #expect(segments.map(\.bits) == [[.rst, .ack]])
            #expect(segments.first.map(one.position) == s.sndNxt)
            #expect(one.stateNow == nil)
        }
    }

    @Test("CLOSE of the sending direction sends the same FIN and keeps receiving (3.6, half-close)", arguments: closes)
    func shutdown(row: Row<CloseOutcome>) throws {
        let (one, s, connection) = try Self.reach(row.way)
        one.host.shutdownSending(connection, at: one.now)
        let segments = one.sent()
        switch row.outcome {
        case .fin(let state):
            #expect(segments.map(\.bits) == [[.fin, .ack]])
            #expect(connection.state == state)
        case .deleted, .queued:
            #expect(segments.isEmpty)
            #expect(connection.state == s.state)
            _ = one.inject([.syn, .ack], seq: 0, ack: 1)
            #expect(connection.state == .finWait1)
        case .nothing:
            #expect(segments.isEmpty)
            #expect(connection.state == s.state)
        case .reset:
            #expect(segments.map(\.bits) == [[.fin, .ack]], "unread text is still to be read")
            #expect(connection.state == .finWait1)
            #expect(one.read().count == 960)
        }
    }

    @Test("the FIN waits for everything queued before it (3.10.4)", arguments: [Way.established, .closeWait])
    func closeAfterSend(way: Way) throws {
        let (one, s, connection) = try Self.reach(way)
        // 300 bytes fit into the peer's window of 400, the rest does not.
        try one.send(500)
        _ = one.sent()
        one.host.shutdownSending(connection, at: one.now)
        #expect(one.sent().allSatisfy { !$0.bits.contains(.fin) })
        #expect(connection.state == (way == .established ? .finWait1 : .lastAck), "RFC 9293 3.10.4: in any case")
        let rest = one.inject(.ack, seq: s.rcvNxt, ack: 701, window: 400)
        #expect(rest.last?.bits.contains(.fin) == true)
        #expect(rest.last.map { one.position($0) + $0.payload.count } == 901)
    }

    // MARK: ABORT (3.10.5)

    enum AbortOutcome: Sendable, Equatable {
        /// <SEQ=SND.NXT><CTL=RST>
        case reset
        /// The block is deleted without a word to the peer.
        case deleted
        /// TIME-WAIT lasts its 2 MSL; there is no connection in CLOSED.
        case nothing
    }

    static let aborts = rows([
        (
            AbortOutcome.reset,
            [
                .synReceivedSimultaneous, .finWait1, .finWait1Orphan, .finWait2, .finWait2Orphan, .closeWait,
                .establishedClosedWindow,
            ] + established
        ),
        (.deleted, [.synSent, .closing, .lastAck]),
        (.nothing, [.closed] + timeWait),
    ])

    @Test("ABORT resets where the peer knows of the connection, and ends it (3.10.5)", arguments: aborts)
    func abort(row: Row<AbortOutcome>) throws {
        let (one, s, connection) = try Self.reach(row.way)
        one.host.abort(connection, at: one.now)
        let segments = one.sent()
        switch row.outcome {
        case .reset:
            #expect(segments.count == 1 && segments[0].bits.contains(.rst))
            #expect(segments.first.map(one.position) == s.sndNxt)
            #expect(one.stateNow == nil)
            #expect(one.ending == .failed(.aborted))
        case .deleted:
            #expect(segments.isEmpty)
            #expect(one.stateNow == nil)
            #expect(one.ending == .failed(.aborted))
        case .nothing:
            #expect(segments.isEmpty)
            #expect(connection.state == s.state)
            #expect(one.stateNow == (s.state == .timeWait ? .timeWait : nil))
        }
    }

    // MARK: STATUS (3.10.6)

    @Test("STATUS tells the state and the variables (3.10.6)", arguments: receives.map(\.way))
    func status(way: Way) throws {
        let (one, s, connection) = try Self.reach(way)
        let info = connection.info
        #expect(info.state == s.state)
        guard s.state != .closed else { return }
        #expect(info.iss == one.iss)
        #expect(info.sndUna == one.iss + UInt32(s.sndUna) && info.sndNxt == one.iss + UInt32(s.sndNxt))
        guard s.state != .synSent else { return }
        #expect(info.irs == one.irs)
        #expect(info.rcvNxt == one.irs + UInt32(s.rcvNxt))
        #expect(Int(info.rcvWnd) == s.rcvWnd)
        #expect(info.sndWnd == UInt32(OneHost.peerWindow))
    }

    // MARK: CLOSE of a passive OPEN

    @Test("CLOSE in LISTEN deletes it: what comes then is reset (3.10.4)")
    func closeListener() throws {
        let (one, _) = try OneHost.reach(.listen, .zeroWrap)
        one.host.close(try #require(one.listener), at: one.now)
        #expect(one.reply(one.inject(.syn, seq: 0)) == .resetAcknowledging(1))
    }

    @Test("after CLOSE of the listener a connection in SYN-RECEIVED is reset by the next segment")
    func closeListenerHalfOpen() throws {
        let (one, _) = try OneHost.reach(.synReceivedPassive, .zeroWrap)
        one.host.close(try #require(one.listener), at: one.now)
        #expect(one.sent().isEmpty)
        #expect(one.reply(one.inject(.ack, seq: 1, ack: 1)) == .reset(seq: 1))
        #expect(one.stateNow == nil)
    }
}
