// What the suites about breakpoints have in common: their daemons, and a connection of a peer without a TCP.
import Daemon
import Testing

/// A suite with a folder and a network of its own.
protocol BreakpointTests {
    var folder: TemporaryFolder { get }
    var net: String { get }
}

/// A daemon's connection whose other end writes its segments itself, with a debugger asked about what arrives.
struct WatchedPeer {
    let daemon: TestDaemon
    let server: MessageClient
    let peer: RawPeer
    let socket: Int32
    let debug: DebugClient
}

extension BreakpointTests {
    /// A daemon whose connections send small segments and ACKs at once.
    func daemon(_ host: Int, _ change: (inout DaemonConfiguration) -> Void = { _ in }) throws -> TestDaemon {
        try TestDaemon("\(net).\(host)", in: folder) {
            $0.host.connection.noDelay = true
            $0.host.connection.answerDelay = .zero
            change(&$0)
        }
    }

    func watchedPeer() throws -> WatchedPeer {
        let daemon = try daemon(2)
        let server = try MessageClient(daemon)
        let listener = try server.listener(daemon, port: 7)
        let peer = try RawPeer(net + ".9", port: 4000, to: daemon, port: 7)
        try peer.synchronize()
        try peer.send(.ack)
        let socket = try server.accept(listener).socket
        return WatchedPeer(
            daemon: daemon, server: server, peer: peer, socket: socket,
            debug: try DebugClient(daemon, socket, DebugEvent.incoming))
    }
}
