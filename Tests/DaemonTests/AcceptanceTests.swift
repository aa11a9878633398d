// What chiTCP's own tests ask of a TCP, over its protocol and its debug events, of usual and of classic daemons.
import Daemon
import DaemonProtocol
import FoundationEssentials
import Glibc
import Impairments
import NetworkLayer
import TCPSegments
import TestSupport
import Testing

@Suite("Acceptance over chiTCP's protocol", .timeLimit(.minutes(15)))
struct AcceptanceTests {
    // MARK: Set-up and termination

    @Test("set-up: states and variables of both sides", arguments: DaemonStyle.allCases)
    func setUp(_ style: DaemonStyle) throws {
        let seen = try EchoRun(style: style, client: EchoRun.watch, server: EchoRun.watch)()
        let client = seen.client.filter { $0.flag == DebugEvent.stateChange }
        #expect(client.prefix(2).map(\.tcpState) == [.synSent, .established])
        #expect(client[0].una == 0 && client[0].next == 1)
        #expect(client[1].una == 1 && client[1].next == 1 && client[1].receiveNext == 1)
        let server = seen.server.filter { $0.flag == DebugEvent.stateChange }
        #expect(seen.server.prefix(2).map(\.flag) == [DebugEvent.incoming, DebugEvent.pending])
        #expect(server.prefix(2).map(\.tcpState) == [.synReceived, .established])
        #expect(server[0].una == 0 && server[0].next == 1 && server[0].receiveNext == 1)
        #expect(server[1].una == 0 && server[1].next == 1 && server[1].receiveNext == 1)
        #expect(server[0].state.irs == client[0].state.iss && client[1].state.irs == server[0].state.iss)
        if style == .classic {
            for event in [client[1], server[1]] { #expect(event.state.sndWnd == 4096 && event.state.rcvWnd == 4096) }
        }
    }

    @Test("termination: one side first, with every state of both", arguments: DaemonStyle.allCases, [false, true])
    func oneFirst(_ style: DaemonStyle, _ serverFirst: Bool) throws {
        let seen = try EchoRun(
            style: style, events: DebugEvent.stateChange | DebugEvent.pending, client: EchoRun.watch,
            server: EchoRun.watch,
            configure: { $0.links.maximumSegmentLifetime = .milliseconds(style == .classic ? 0 : 50) },
            serverClosesFirst: serverFirst)()
        let active: [TCPState] = [.established, .finWait1, .finWait2, .timeWait, .closed]
        let passive: [TCPState] = [.established, .closeWait, .lastAck, .closed]
        #expect(seen.client.map(\.tcpState) == [.synSent] + (serverFirst ? passive : active))
        #expect(seen.server.dropFirst().map(\.tcpState) == [.synReceived] + (serverFirst ? active : passive))
    }

    @Test("termination: both at once", arguments: DaemonStyle.allCases)
    func bothAtOnce(_ style: DaemonStyle) throws {
        let pair = try ConnectedMessages { style.apply(&$0) }
        // Each FIN stands at its breakpoint until the other does.
        let mine = try DebugClient(pair.a, pair.clientSocket, DebugEvent.outgoing | DebugEvent.stateChange)
        let theirs = try DebugClient(pair.b, pair.serverSocket, DebugEvent.outgoing | DebugEvent.stateChange)
        try pair.client.send(.close) { $0.closeArgs.sockfd = pair.clientSocket }
        try pair.server.send(.close) { $0.closeArgs.sockfd = pair.serverSocket }
        let watchers = [
            (mine, try MessageClient(pair.a), pair.clientSocket),
            (theirs, try MessageClient(pair.b), pair.serverSocket),
        ]
        for (debug, watcher, socket) in watchers {
            #expect(try debug.event()?.eventFlag == DebugEvent.stateChange)
            #expect(try watcher.state(socket).tcpState == TCPState.finWait1.rawValue)
            try debug.answer(DebugResponse.none)
            #expect(try debug.event()?.eventFlag == DebugEvent.outgoing)
        }
        for (debug, _, _) in watchers { try debug.answer(DebugResponse.none) }
        let threads = watchers.map { debug, watcher, socket in
            Background {
                var states: [TCPState?] = []
                while let event = try debug.event() {
                    if event.eventFlag == DebugEvent.stateChange {
                        states.append(TCPState(rawValue: try watcher.state(socket).tcpState))
                    }
                    try debug.answer(DebugResponse.none)
                }
                #expect(states == [.closing, .timeWait, .closed])
            }
        }
        for thread in threads { #expect(thread.join() == nil) }
        #expect(try pair.client.answer().ret == 0)
        #expect(try pair.server.answer().ret == 0)
    }

    @Test("a classic daemon's SYN and SYN-ACK carry no options and a window of 4096, its segments 536 bytes at most")
    func classicSegments() throws {
        let folder = try TemporaryFolder()
        let net = freshNet()
        let daemon = try TestDaemon(net + ".1", in: folder) { $0.imitateOriginal() }
        let program = try MessageClient(daemon)
        let listener = try program.listener(daemon, port: 7)
        let peer = try RawPeer(net + ".9", port: 4000, to: daemon, port: 7)
        try peer.send(.syn)
        let synAck = try peer.receive().header
        #expect(synAck.controlBits == [.syn, .ack] && synAck.encodedLength == 20 && synAck.window.value == 4096)
        peer.expected = synAck.sequenceNumber + 1
        try peer.send(.ack)
        let accepted = try program.accept(listener).socket
        try program.send(accepted, pattern(2000))
        #expect(try (0..<4).map { _ in try peer.receive().payloadCount } == [536, 536, 536, 392])
        // The real connection serves both directions.
        let socket = try program.socket()
        try program.send(.connect) {
            $0.connectArgs.sockfd = socket
            $0.connectArgs.addr = IPAddress(net + ".9").map { sockaddrBytes(Endpoint($0, 99)) } ?? Data()
        }
        var syn = try peer.receive().header
        while !syn.controlBits.contains(.syn) { syn = try peer.receive().header }
        #expect(syn.controlBits == .syn && syn.encodedLength == 20 && syn.window.value == 4096)
    }

    // MARK: Data

    private static let sizes = [1, 10, 535, 536, 537, 1072, 4096, 4097, 32_768]

    @Test("transfers of all sizes, each way and there and back", arguments: DaemonStyle.allCases, Flow.allCases)
    func transfers(_ style: DaemonStyle, _ flow: Flow) throws {
        for count in Self.sizes { _ = try EchoRun(style: style, count: count, flow: flow)() }
    }

    @Test("transfers under the eyes of debuggers of every event", arguments: DaemonStyle.allCases)
    func watchedTransfers(_ style: DaemonStyle) throws {
        let seen = try EchoRun(style: style, count: 32_768, client: EchoRun.watch, server: EchoRun.watch)()
        if style == .classic {
            // 32,768 bytes in segments of 536 at most.
            let segments = seen.client.filter { $0.flag == DebugEvent.outgoing && $0.tcpState == .established }
            #expect(segments.count >= 62)
        }
    }

    @Test(
        "readers slower than their buffer", arguments: DaemonStyle.allCases,
        [4095, 4096, 4097, 8191, 8192, 8193, 20_000])
    func slowReaders(_ style: DaemonStyle, _ count: Int) throws {
        let pair = try ConnectedMessages {
            style.apply(&$0)
            $0.host.connection.receiveBufferSize = 4096
            $0.host.connection.sendBufferSize = 4096
        }
        let bytes = pattern(count)
        let sender = Background { [client = pair.client, socket = pair.clientSocket] in try client.send(socket, bytes) }
        // The reader begins when the sender has filled what there is.
        try waitUntil { try pair.server.buffers(pair.serverSocket).rcv.count == min(count, 4096) }
        #expect(try pair.server.receive(pair.serverSocket, exactly: count, pieces: 100) == bytes)
        #expect(sender.join() == nil)
        try pair.client.close(pair.clientSocket)
        #expect(try pair.server.receive(pair.serverSocket) == [])
    }

    // MARK: Losses

    /// Which segment is lost: the side that sends it, and how its debugger knows it.
    enum LostSegment: String, CaseIterable, Sendable {
        case syn, synAtListener, synAck, finalAck, data, severalData, acks, fin, finAck, secondFin, lastAck

        var client: EchoRun.Handler {
            switch self {
            case .syn: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.tcpState == .synSent }
            case .finalAck: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.tcpState == .established }
            case .data: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.next > 2000 }
            case .severalData: return EchoRun.drop(4) { $0.flag == DebugEvent.outgoing && $0.next > 2000 }
            case .fin: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.tcpState == .finWait1 }
            case .lastAck: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.tcpState == .timeWait }
            case .synAtListener, .synAck, .acks, .finAck, .secondFin: return EchoRun.watch
            }
        }

        var server: EchoRun.Handler {
            switch self {
            case .synAtListener: return EchoRun.drop { $0.flag == DebugEvent.incoming && $0.tcpState == .listen }
            case .synAck: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.tcpState == .synReceived }
            case .acks: return EchoRun.drop(3) { $0.flag == DebugEvent.outgoing && $0.tcpState == .established }
            case .finAck: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.tcpState == .closeWait }
            case .secondFin: return EchoRun.drop { $0.flag == DebugEvent.outgoing && $0.tcpState == .lastAck }
            case .syn, .finalAck, .data, .severalData, .fin, .lastAck: return EchoRun.watch
            }
        }
    }

    @Test("a lost segment of each kind", arguments: DaemonStyle.allCases, LostSegment.allCases)
    func lost(_ style: DaemonStyle, _ segment: LostSegment) throws {
        let seen = try EchoRun(
            style: style, count: 8192, client: segment.client, server: segment.server,
            configure: { if style == .usual { $0.links.maximumSegmentLifetime = .milliseconds(300) } })()
        #expect(seen.client.last?.tcpState == .closed)
        #expect(seen.server.last?.tcpState == .closed)
    }

    @Test("random losses of segments both ways", arguments: DaemonStyle.allCases, [0.025, 0.05, 0.1, 0.25])
    func randomLosses(_ style: DaemonStyle, _ share: Double) throws {
        _ = try EchoRun(
            style: style, count: share > 0.1 ? 8192 : 32_768, events: DebugEvent.outgoing | DebugEvent.pending,
            client: EchoRun.lose(share, seed: 1), server: EchoRun.lose(share, seed: 2),
            configure: { $0.host.connection.maximumRTO = .seconds(1) })()
    }

    // MARK: Order

    @Test(
        "segments out of order and twice",
        arguments: DaemonStyle.allCases,
        [
            [DebugResponse.withhold, DebugResponse.drawWithheld],
            [DebugResponse.duplicate, DebugResponse.drawWithheld],
            [DebugResponse.duplicate, DebugResponse.none, DebugResponse.none, DebugResponse.drawWithheld],
            [
                DebugResponse.withhold, DebugResponse.withhold, DebugResponse.withhold, DebugResponse.drawWithheld,
                DebugResponse.drawWithheld, DebugResponse.drawWithheld,
            ],
            [
                DebugResponse.withhold, DebugResponse.duplicate, DebugResponse.drop, DebugResponse.drawWithheld,
                DebugResponse.drawWithheld, DebugResponse.none,
            ],
        ])
    func order(_ style: DaemonStyle, _ responses: [Int32]) throws {
        _ = try EchoRun(
            style: style, count: 16_384, flow: .toServer, events: DebugEvent.incoming | DebugEvent.pending,
            server: EchoRun.cycle(responses),
            configure: {
                // The usual daemon's segments would carry all at once.
                $0.host.connection.maximumSegmentSize = 536
                $0.host.connection.maximumRTO = .seconds(1)
            })()
    }

    // MARK: Latency

    @Test("a few bytes over long round trips")
    func latency() throws {
        let runs = DaemonStyle.allCases.flatMap { style in [375, 750, 1500].map { (style, $0) } }
        let threads = runs.map { style, oneWay in
            Background {
                var impairment = ImpairmentConfiguration()
                impairment.delay = .milliseconds(Int64(oneWay))
                let rule = ImpairmentRule(.out, impairment)
                _ = try EchoRun(style: style, count: 10, configure: { $0.impairments = [rule] })()
            }
        }
        for (run, thread) in zip(runs, threads) {
            let error = thread.join()
            #expect(error == nil, "\(run)")
        }
    }
}
