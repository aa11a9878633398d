// The work that a daemon does while it is attacked: checked transfers through the echo server.
import Chisocket
import Glibc
import Synchronization
import TCPSegments
import TestSupport

/// Bytes that differ at every position modulo a prime, so that a shift or a repetition shows.
func pattern(_ count: Int, salt: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 &+ salt) % 251 &+ ($0 / 251) % 13) }
}

extension Chisocket {
    /// What would hang fails with EAGAIN after 30 s instead.
    func limitWaiting() throws {
        try withDescriptor { descriptor throws(ChisocketError) in
            var limit = timeval(tv_sec: 30, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
        }
    }

    /// Exactly `count` bytes, or fewer at the end of the stream.
    func receive(exactly count: Int) throws -> [UInt8] {
        var all: [UInt8] = []
        while all.count < count {
            let piece = try receive(maximum: count - all.count)
            if piece.isEmpty { break }
            all += piece
        }
        return all
    }
}

/// A chisocket of `daemon`, connected to a port of an address.
func connected(_ daemon: DaemonPath, to address: String, port: UInt16 = EchoServer.port) throws -> Chisocket {
    guard let remote = ChisocketAddress(address, port: port) else { throw Failure("\(address) is no address") }
    let socket = try Chisocket(.ipv4, daemon: daemon)
    try socket.limitWaiting()
    try socket.connect(to: remote)
    return socket
}

/// There and back through the echo server of `address`, every byte checked, and the orderly end.
func checkedTransfer(_ daemon: DaemonPath, to address: String, count: Int = 64 * 1024) throws {
    let socket = try connected(daemon, to: address)
    let bytes = pattern(count)
    try socket.send(bytes)
    try socket.shutdown(.sending)
    let echoed = try socket.receive(exactly: count)
    guard echoed == bytes else { throw Failure("\(echoed.count) of \(count) bytes came back, not all of them right") }
    guard try socket.receive().isEmpty else { throw Failure("more came back than was sent") }
}

/// A connection that sends a block, waits for its echo, compares, and so on until it is stopped.
final class Traffic: Sendable {
    private struct Progress {
        var blocks = 0
        var stop = false
    }

    private let progress: Progresses
    private let thread: Background

    private final class Progresses: Sendable {
        let value = Mutex(Progress())
    }

    init(_ daemon: DaemonPath, to address: String) throws {
        let socket = try connected(daemon, to: address)
        let progress = Progresses()
        self.progress = progress
        thread = Background {
            while !progress.value.withLock({ $0.stop }) {
                let number = progress.value.withLock { $0.blocks }
                let bytes = pattern(1 + number * 977 % 4000, salt: number)
                try socket.send(bytes)
                guard try socket.receive(exactly: bytes.count) == bytes else {
                    throw Failure("block \(number) differs")
                }
                progress.value.withLock { $0.blocks += 1 }
                // A pace, so that the attack and not the traffic has the processor.
                usleep(5_000)
            }
            socket.close()
        }
    }

    /// Blocks that came back so far.
    var blocks: Int { progress.value.withLock { $0.blocks } }

    /// Ends it; throws what went wrong, if anything did.
    func stop() throws {
        progress.value.withLock { $0.stop = true }
        if let error = thread.join() { throw error }
    }
}

/// A chisocket of the victim that begins to connect, and is given up later.
final class Attempt {
    private var descriptor: Int32
    private let daemon: DaemonPath

    init(_ daemon: DaemonPath, to address: String) throws {
        self.daemon = daemon
        descriptor = try DescriptorCalls.socket(domain: AF_INET, type: nonblockingStreamSocket, daemon: daemon)
        guard let remote = ChisocketAddress(address, port: EchoServer.port) else { throw Failure(address) }
        do throws(ChisocketError) { try DescriptorCalls.connect(descriptor, to: remote, daemon: daemon) } catch {
            guard error.errno == EINPROGRESS else { throw error }
        }
    }

    /// Gives it up, whatever has become of it.
    func abandon() throws { _ = try? DescriptorCalls.abort(descriptor, daemon: daemon) }

    /// Gives the descriptor away.
    func release() -> Int32 {
        defer { descriptor = -1 }
        return descriptor
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}
