// One conversation over chiTCP's protocol from set-up to CLOSED on both sides, under the eyes of debuggers.
import Daemon
import Glibc
import NetworkLayer
import TCPSegments
import TestSupport
import Testing

/// How the daemons of a run are set up.
enum DaemonStyle: String, CaseIterable, Sendable {
    case usual, classic

    func apply(_ configuration: inout DaemonConfiguration) {
        if self == .classic { configuration.imitateOriginal() }
        configuration.host.connection.initialRTO = .milliseconds(200)
    }
}

/// What goes where.
enum Flow: String, CaseIterable, Sendable {
    case toServer, toClient, echo
}

/// Two daemons, a client and a server. Sends bytes, compares them, closes, and waits until both sides are CLOSED.
struct EchoRun: Sendable {
    typealias Handler = @Sendable (SeenEvent) throws -> Int32

    var style = DaemonStyle.usual
    var count = 100
    var flow = Flow.echo
    /// Bytes a RECV asks for at most.
    var pieces: Int32 = 65_536
    /// Which events the debuggers want; the server's handler is asked about its listener and its connection.
    var events = DebugEvent.all
    var client: Handler?
    var server: Handler?
    var configure: @Sendable (inout DaemonConfiguration) -> Void = { _ in }
    var serverClosesFirst = false

    /// What the two debuggers saw; empty without a handler.
    struct Seen {
        var client: [SeenEvent] = []
        var server: [SeenEvent] = []
    }

    func callAsFunction() throws -> Seen {
        let folder = try TemporaryFolder()
        let net = freshNet()
        func daemon(_ host: Int) throws -> TestDaemon {
            try TestDaemon("\(net).\(host)", in: folder) {
                style.apply(&$0)
                configure(&$0)
            }
        }
        let a = try daemon(1)
        let b = try daemon(2)
        let bytes = pattern(count)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let serverDebugger = try self.server.map { try Debugger(b, listener, events, $0) }
        let serverThread = Background { try serve(server, listener, bytes) }
        let client = try MessageClient(a)
        let socket = try client.socket()
        let clientDebugger = try self.client.map { try Debugger(a, socket, events, $0) }
        try client.connect(socket, b.sockaddr(7))
        var sender: Background?
        if flow != .toClient {
            let second = try MessageClient(a)
            sender = Background { try second.send(socket, bytes) }
        }
        if flow != .toServer {
            #expect(
                try client.receive(socket, exactly: bytes.count, pieces: pieces) == bytes, "\(self.style) \(self.count)"
            )
        }
        if let error = sender?.join() { throw error }
        if serverClosesFirst { #expect(try client.receive(socket) == []) }
        try client.close(socket)
        try client.wait(socket, for: .closed)
        if let error = serverThread.join() { throw error }
        // The listener's debugger ends with the listener.
        try server.close(listener)
        return Seen(client: try clientDebugger?.finish() ?? [], server: try serverDebugger?.finish() ?? [])
    }

    private func serve(_ server: MessageClient, _ listener: Int32, _ bytes: [UInt8]) throws {
        let socket = try server.accept(listener).socket
        switch flow {
        case .toServer:
            let received = try server.receive(socket, exactly: bytes.count, pieces: pieces)
            #expect(received == bytes, "\(self.style) \(self.count)")
        case .toClient: try server.send(socket, bytes)
        case .echo:
            var echoed = 0
            while echoed < bytes.count {
                let piece = try server.receive(socket, atMost: pieces)
                guard !piece.isEmpty else { break }
                try server.send(socket, piece)
                echoed += piece.count
            }
        }
        if !serverClosesFirst { #expect(try server.receive(socket) == []) }
        try server.close(socket)
        try server.wait(socket, for: .closed)
    }

    /// Lets everything pass, and watches the connections of the listener.
    static let watch: Handler = {
        $0.flag == DebugEvent.pending ? DebugResponse.acceptMonitor : DebugResponse.none
    }

    /// Drops the first `times` segments for which `wanted` holds.
    static func drop(_ times: Int = 1, where wanted: @escaping @Sendable (SeenEvent) -> Bool) -> Handler {
        let counter = Counter()
        return { event in
            guard event.flag != DebugEvent.pending else { return DebugResponse.acceptMonitor }
            return wanted(event) && counter.next() < times ? DebugResponse.drop : DebugResponse.none
        }
    }

    /// Answers incoming segments that may carry data with these responses in turn.
    static func cycle(_ responses: [Int32]) -> Handler {
        let counter = Counter()
        return { event in
            guard event.flag != DebugEvent.pending else { return DebugResponse.acceptMonitor }
            guard event.flag == DebugEvent.incoming, event.tcpState == .established else { return DebugResponse.none }
            return responses[counter.next() % responses.count]
        }
    }

    /// Drops this share of the outgoing segments, the same ones with the same seed.
    static func lose(_ share: Double, seed: UInt64) -> Handler {
        let random = SeededChoice(seed)
        return { event in
            guard event.flag != DebugEvent.pending else { return DebugResponse.acceptMonitor }
            return event.flag == DebugEvent.outgoing && random.next() < share ? DebugResponse.drop : DebugResponse.none
        }
    }
}
