// The application behind the daemons under test: an echo server on one thread, for any number of daemons.
import CLinux
import Chisocket
import Glibc
import Synchronization
import TCPSegments
import TestSupport

/// Echoes on port 7 of each daemon. What it has not echoed is bounded, so a client that does not read is not read from.
final class EchoServer: Sendable {
    static let port: UInt16 = 7

    private struct Client {
        let descriptor: Int32
        let remote: String
        var waiting: [UInt8] = []
        var isAtEnd = false
    }

    private struct Orders {
        var stop = false
        var keepOnly: Set<String>?
    }

    /// What the thread is to do, shared with it.
    private final class Board: Sendable {
        let orders = Mutex(Orders())
    }

    private let board = Board()
    private let wakeWrite: Int32
    private let thread: Background

    init(_ daemons: [DaemonProcess]) throws {
        var ends: [Int32] = [-1, -1]
        guard clinux_pipe(&ends) == 0 else { throw Failure("no pipe") }
        let wakeRead = ends[0]
        wakeWrite = ends[1]
        var listeners: [Int32] = []
        for daemon in daemons {
            let descriptor = try DescriptorCalls.socket(
                domain: AF_INET, type: nonblockingStreamSocket, daemon: daemon.path)
            guard let here = ChisocketAddress(daemon.address, port: Self.port) else { throw Failure(daemon.address) }
            try DescriptorCalls.bind(descriptor, to: here, daemon: daemon.path)
            try DescriptorCalls.listen(descriptor, backlog: 64, daemon: daemon.path)
            listeners.append(descriptor)
        }
        let paths = daemons.map(\.path)
        thread = Background { [board, listeners] in
            Self.serve(listeners, paths, wakeRead, board)
            close(wakeRead)
        }
    }

    private static func serve(_ listeners: [Int32], _ paths: [DaemonPath], _ wake: Int32, _ board: Board) {
        var clients: [Client] = []
        defer { for descriptor in listeners + clients.map(\.descriptor) { close(descriptor) } }
        while true {
            let now = board.orders.withLock { $0 }
            if now.stop { return }
            if let kept = now.keepOnly {
                for client in clients where !kept.contains(client.remote) { close(client.descriptor) }
                clients.removeAll { !kept.contains($0.remote) }
            }
            var entries = [pollfd(fd: wake, events: Int16(POLLIN), revents: 0)]
            entries += listeners.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            entries += clients.map {
                pollfd(fd: $0.descriptor, events: Int16($0.waiting.isEmpty ? POLLIN : POLLOUT), revents: 0)
            }
            guard poll(&entries, nfds_t(entries.count), -1) > 0 else { continue }
            var drain = [UInt8](repeating: 0, count: 64)
            while read(wake, &drain, 64) > 0 {}
            for i in clients.indices.reversed() where entries[1 + listeners.count + i].revents != 0 {
                if !serve(&clients[i]) {
                    close(clients[i].descriptor)
                    clients.remove(at: i)
                }
            }
            for (i, listener) in listeners.enumerated() where entries[1 + i].revents != 0 {
                while let accepted = try? DescriptorCalls.accept(listener, closeOnExec: true, daemon: paths[i]) {
                    _ = fcntl(accepted.descriptor, F_SETFL, O_RDWR | O_NONBLOCK)
                    let remote = accepted.remote?.description.split(separator: ":").first.map { String($0) } ?? ""
                    clients.append(Client(descriptor: accepted.descriptor, remote: remote))
                }
            }
        }
    }

    /// Echoes what is there; false if the client is done with.
    private static func serve(_ client: inout Client) -> Bool {
        if client.waiting.isEmpty {
            var buffer = [UInt8](repeating: 0, count: 16_384)
            let count = recv(client.descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            client.isAtEnd = count == 0
            client.waiting = Array(buffer[..<count])
        }
        if !client.waiting.isEmpty {
            let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
            let count = send(client.descriptor, client.waiting, client.waiting.count, flags)
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            client.waiting.removeFirst(count)
        }
        return !client.isAtEnd
    }

    private func poke() {
        var byte: UInt8 = 0
        _ = write(wakeWrite, &byte, 1)
    }

    /// From now on closes every connection that does not come from one of these addresses.
    func keepOnly(_ addresses: Set<String>) {
        board.orders.withLock { $0.keepOnly = addresses }
        poke()
    }

    /// Ends it and closes everything it has.
    func stop() {
        board.orders.withLock { $0.stop = true }
        poke()
        _ = thread.join()
        close(wakeWrite)
    }
}
