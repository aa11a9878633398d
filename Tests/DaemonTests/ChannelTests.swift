// NIO's channels over chitcpd's TCP, between two daemons.
import Chisocket
import Glibc
import NIOChisocket
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// Event loops of these tests, which all of them share.
private let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)

/// Sends back what comes.
private final class Echo: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { context.write(data, promise: nil) }
    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }
    // The peer's end of the stream is answered with ours.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
    }
}

/// Remembers everything that came up a pipeline.
private final class Notes: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    struct Seen {
        var bytes: [UInt8] = []
        var error: (any Error)?
        var isActive = false
        var inputClosed = false
        var writability: [Bool] = []
        var hasEnded = false
    }
    let seen = Mutex(Seen())

    func channelActive(context: ChannelHandlerContext) {
        seen.withLock { $0.isActive = true }
        context.fireChannelActive()
    }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(buffer: unwrapInboundIn(data))
        seen.withLock { $0.bytes += bytes }
    }
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        let isWritable = context.channel.isWritable
        seen.withLock { $0.writability.append(isWritable) }
    }
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { seen.withLock { $0.inputClosed = true } }
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        seen.withLock { $0.error = error }
        context.close(promise: nil)
    }
    func channelInactive(context: ChannelHandlerContext) { seen.withLock { $0.hasEnded = true } }
}

private struct Pair: Sendable {
    let hosts: TwoHosts
    let address: SocketAddress

    init() throws {
        hosts = try TwoHosts()
        address = try SocketAddress(ipAddress: hosts.b.address, port: 7)
    }

    var server: ChisocketServerBootstrap { ChisocketServerBootstrap(group: loops, daemon: hosts.b.path) }
    var client: ChisocketClientBootstrap { ChisocketClientBootstrap(group: loops, daemon: hosts.a.path) }

    /// A server of `handler`s.
    func serve(_ handler: @escaping @Sendable () -> any ChannelHandler & Sendable) async throws -> any Channel {
        try await server
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { $0.pipeline.addHandler(handler()) }
            .bind(to: address).get()
    }

    func connect(_ notes: Notes) async throws -> any Channel {
        try await client.channelInitializer { $0.pipeline.addHandler(notes) }.connect(to: address).get()
    }

    /// A connected pair: the client's channel with its notes, and the server's.
    func connected() async throws -> (server: any Channel, client: any Channel, Notes, accepted: any Channel, Notes) {
        let theirs = Notes()
        let accepted = loops.any().makePromise(of: (any Channel).self)
        let server =
            try await server
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                accepted.succeed(channel)
                return channel.pipeline.addHandler(theirs)
            }
            .bind(to: address).get()
        let ours = Notes()
        let client =
            try await client
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { $0.pipeline.addHandler(ours) }
            .connect(to: address).get()
        return (server, client, ours, try await accepted.futureResult.get(), theirs)
    }
}

@Suite("NIO channels", .timeLimit(.minutes(15)))
struct ChannelTests {
    @Test("a hundred channels get back what they send, under TCP's names")
    func echo() async throws {
        let pair = try Pair()
        let server = try await pair.server
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                #expect(channel.localAddress == pair.address)
                #expect(channel.parent?.localAddress == pair.address)
                return channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Echo()) }
            }
            .bind(host: pair.hosts.b.address, port: 7).get()
        #expect(server.localAddress == pair.address)
        try await withThrowingTaskGroup { group in
            for number in 0..<100 {
                group.addTask {
                    let notes = Notes()
                    let client = try await pair.connect(notes)
                    #expect(client.remoteAddress == pair.address)
                    #expect(client.localAddress?.ipAddress == pair.hosts.a.address)
                    let sent = pattern(20_000 + number)
                    try await client.writeAndFlush(ByteBuffer(bytes: sent))
                    try await eventually { notes.seen.withLock { $0.bytes.count } >= sent.count }
                    #expect(notes.seen.withLock { $0.bytes.elementsEqual(sent) && $0.isActive && $0.error == nil })
                    try await client.close()
                    try await client.closeFuture.get()
                    #expect(notes.seen.withLock { $0.hasEnded })
                }
            }
            try await group.waitForAll()
        }
        try await server.close()
    }

    @Test("after its FIN a channel still receives, up to the peer's FIN")
    func halfClose() async throws {
        let pair = try Pair()
        let (server, client, ours, accepted, theirs) = try await pair.connected()
        try await client.writeAndFlush(ByteBuffer(string: "question"))
        try await client.close(mode: .output)
        try await eventually { theirs.seen.withLock { $0.inputClosed } }
        #expect(theirs.seen.withLock { $0.bytes } == Array("question".utf8))
        #expect(accepted.isActive)
        try await accepted.writeAndFlush(ByteBuffer(string: "answer"))
        try await accepted.close()
        try await eventually { ours.seen.withLock { $0.inputClosed || $0.hasEnded } }
        #expect(ours.seen.withLock { $0.bytes } == Array("answer".utf8))
        #expect(ours.seen.withLock { $0.error == nil })
        try? await client.close()
        try await server.close()
    }

    @Test("after the receiving side is shut down, the peer's bytes go nowhere and the connection stands")
    func closeInput() async throws {
        let pair = try Pair()
        let (server, client, ours, accepted, theirs) = try await pair.connected()
        try await client.close(mode: .input)
        try await accepted.writeAndFlush(ByteBuffer(bytes: pattern(100_000)))
        try await client.writeAndFlush(ByteBuffer(string: "still here"))
        try await eventually { theirs.seen.withLock { $0.bytes.count } == 10 }
        #expect(ours.seen.withLock { $0.bytes.isEmpty && $0.error == nil })
        #expect(theirs.seen.withLock { $0.error == nil })
        for channel in [client, accepted, server] { try await channel.close() }
    }

    @Test("a slow reader makes the writer's channel unwritable, and every byte arrives in the end")
    func backpressure() async throws {
        let pair = try Pair()
        let (server, client, ours, accepted, theirs) = try await pair.connected()
        try await accepted.setOption(.autoRead, value: false).get()
        let total = 32 << 20
        let piece = ByteBuffer(bytes: pattern(1 << 20))
        for _ in 0..<32 { client.writeAndFlush(piece, promise: nil) }
        try await eventually { !client.isWritable }
        // The daemons, the windows and the descriptors are full: nothing moves any more.
        var waiting = -1
        try await eventually {
            let now = try await client.getOption(.bufferedWritableBytes).get()
            defer { waiting = now }
            try await Task.sleep(for: .milliseconds(50))
            return now == waiting
        }
        #expect(waiting > 0)
        #expect(theirs.seen.withLock { $0.bytes.count } < total)
        try await accepted.setOption(.autoRead, value: true).get()
        try await eventually { theirs.seen.withLock { $0.bytes.count } == total }
        #expect(client.isWritable)
        #expect(ours.seen.withLock { $0.writability.first == false && $0.writability.last == true })
        #expect(theirs.seen.withLock { $0.bytes[(total - 1 << 20)...].elementsEqual(pattern(1 << 20)) })
        for channel in [client, accepted, server] { try await channel.close() }
    }

    @Test("what goes wrong while connecting has NIO's errors")
    func connectErrors() async throws {
        let pair = try Pair()
        #expect(await errnoOf(pair.client.connect(to: pair.address)) == ECONNREFUSED)
        #expect(await errnoOf(pair.client.connect(host: pair.hosts.b.address, port: 7)) == ECONNREFUSED)
        #expect(await errnoOf(pair.client.connect(host: pair.hosts.b.address, port: 70_000)) == EINVAL)
        let nowhere = ChisocketClientBootstrap(group: loops, daemon: DaemonPath("/tmp/no-such-daemon"))
        #expect(await errnoOf(nowhere.connect(to: pair.address)) == ENOENT)
        let unix = try SocketAddress(unixDomainSocketPath: "/tmp/x")
        #expect(await errnoOf(pair.client.connect(to: unix)) == EAFNOSUPPORT)
        let server = try await pair.serve { Notes() }
        #expect(await errnoOf(pair.server.bind(to: pair.address)) == EADDRINUSE)
        try await server.close()

        let silent = try SilentListener(pair.hosts.b.address + "9")
        do {
            _ = try await pair.client.connectTimeout(.milliseconds(20)).connect(host: silent.address, port: 7).get()
            Issue.record("nobody was to answer")
        } catch ChannelError.connectTimeout(let time) { #expect(time == .milliseconds(20)) }
    }

    @Test("a failing initializer closes its connection")
    func failingInitializer() async throws {
        struct Refusal: Error {}
        let pair = try Pair()
        let theirs = Notes()
        let server = try await pair.serve { theirs }
        await #expect(throws: Refusal.self) {
            _ = try await pair.client.channelInitializer { $0.eventLoop.makeFailedFuture(Refusal()) }
                .connect(to: pair.address).get()
        }
        try await eventually { theirs.seen.withLock { $0.inputClosed || $0.hasEnded } }
        try await server.close()
    }

    @Test("a reset is an IOError with ECONNRESET, then the end of the channel")
    func reset() async throws {
        let pair = try Pair()
        let (server, client, ours, accepted, _) = try await pair.connected()
        guard let options = accepted as? any SocketOptionProvider else {
            Issue.record("a channel of TCP has socket options")
            return
        }
        try await options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        try await accepted.close()
        try await client.closeFuture.get()
        let error = ours.seen.withLock { $0.error }
        #expect((error as? IOError)?.errnoCode == ECONNRESET, "\(String(describing: error))")
        #expect(!client.isActive)
        try await server.close()
    }

    @Test("socket options are TCP's, before and after connecting")
    func options() async throws {
        let pair = try Pair()
        let server = try await pair.server
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.backlog, value: 5)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.getOption(.tcpOption(.tcp_nodelay)).map { #expect($0 == 1) }
            }
            .bind(to: pair.address).get()
        #expect(try await server.getOption(.backlog).get() == 5)
        #expect(try await server.getOption(.socketOption(.so_reuseaddr)).get() == 1)
        let client = try await pair.client.channelOption(.socketOption(.so_rcvbuf), value: 100_000)
            .connect(to: pair.address).get()
        #expect(try await client.getOption(.socketOption(.so_rcvbuf)).get() == 200_000)
        #expect(try await client.getOption(.tcpOption(.tcp_nodelay)).get() == 0)
        try await client.setOption(.tcpOption(.tcp_nodelay), value: 1).get()
        #expect(try await client.getOption(.tcpOption(.tcp_nodelay)).get() == 1)
        let unknown = ChannelOptions.Types.SocketOption(
            level: .tcp, name: NIOBSDSocket.Option(rawValue: 9999))
        await #expect(throws: IOError.self) { try await client.setOption(unknown, value: 1).get() }
        #expect(throws: ChannelError.self) { try client.syncOptions?.setOption(unknown, value: 1) }
        let information = try await (client as? any SocketOptionProvider)?.getTCPInfo().get()
        #expect(information?.tcpi_state == 1)
        for channel in [client, server] { try await channel.close() }
    }

    @Test("NIOAsyncChannels on both ends: an echo server of tasks, which ends when it is cancelled")
    func asyncChannels() async throws {
        let pair = try Pair()
        let listening = try await pair.server.bind(to: pair.address) { channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                    wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
            }
        }
        let server = Task {
            try await withThrowingDiscardingTaskGroup { group in
                try await listening.executeThenClose { connections in
                    for try await connection in connections {
                        group.addTask {
                            try await connection.executeThenClose { inbound, outbound in
                                for try await piece in inbound { try await outbound.write(piece) }
                            }
                        }
                    }
                }
            }
        }
        try await withThrowingTaskGroup { group in
            for number in 0..<20 {
                group.addTask {
                    let client = try await pair.client.connect(host: pair.hosts.b.address, port: 7) { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                        }
                    }
                    let sent = pattern(100_000 + number)
                    try await client.executeThenClose { inbound, outbound in
                        async let writing: Void = outbound.write(ByteBuffer(bytes: sent))
                        var back: [UInt8] = []
                        for try await piece in inbound {
                            back += Array(buffer: piece)
                            if back.count >= sent.count { break }
                        }
                        try await writing
                        #expect(back.elementsEqual(sent))
                    }
                }
            }
            try await group.waitForAll()
        }
        server.cancel()
        _ = try? await server.value
        try await eventually { await errnoOf(pair.client.connect(to: pair.address)) == ECONNREFUSED }
    }

    @Test("a server channel takes as many connections as it is asked for, and its handlers see each")
    func serverBackpressure() async throws {
        final class Count: ChannelInboundHandler, Sendable {
            typealias InboundIn = any Channel
            let value = Atomic<Int>(0)
            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                value.add(1, ordering: .relaxed)
                context.fireChannelRead(data)
            }
        }
        let pair = try Pair()
        let count = Count()
        let server = try await pair.server
            .serverChannelOption(.autoRead, value: false)
            .serverChannelOption(.maxMessagesPerRead, value: 1)
            .serverChannelInitializer { $0.pipeline.addHandler(count) }
            .bind(to: pair.address).get()
        var clients: [any Channel] = []
        for _ in 0..<3 { clients.append(try await pair.client.connect(to: pair.address).get()) }
        #expect(count.value.load(ordering: .relaxed) == 0)
        for expected in 1...3 {
            server.read()
            try await eventually { count.value.load(ordering: .relaxed) >= expected }
            #expect(count.value.load(ordering: .relaxed) == expected)
        }
        for channel in clients + [server] { try await channel.close() }
    }

    @Test("a closed server refuses, and its connections go on")
    func serverClose() async throws {
        let pair = try Pair()
        let (server, client, ours, accepted, theirs) = try await pair.connected()
        try await server.close()
        try await server.closeFuture.get()
        #expect(!server.isActive)
        try await eventually { await errnoOf(pair.client.connect(to: pair.address)) == ECONNREFUSED }
        try await client.writeAndFlush(ByteBuffer(string: "there?"))
        try await eventually { theirs.seen.withLock { $0.bytes.count } == 6 }
        try await accepted.writeAndFlush(ByteBuffer(string: "here"))
        try await eventually { ours.seen.withLock { $0.bytes.count } == 4 }
        for channel in [client, accepted] { try await channel.close() }
    }

    @Test("channels are freed once they are closed")
    func freed() async throws {
        final class Remembered: Sendable {
            struct Channels {
                weak var server: (any Channel)?
                weak var client: (any Channel)?
                weak var accepted: (any Channel)?
            }
            let channels = Mutex(Channels())
        }
        let pair = try Pair()
        let remembered = Remembered()
        func use() async throws {
            let (server, client, _, accepted, _) = try await pair.connected()
            remembered.channels.withLock {
                $0.server = server
                $0.client = client
                $0.accepted = accepted
            }
            try await client.writeAndFlush(ByteBuffer(string: "last words"))
            for channel in [client, accepted, server] {
                try? await channel.close()
                try await channel.closeFuture.get()
            }
        }
        try await use()
        try await eventually {
            remembered.channels.withLock { $0.server == nil && $0.client == nil && $0.accepted == nil }
        }
    }

    @Test("what fails while a connection is begun closes the connection, and the server goes on without a pause")
    func failingChild() async throws {
        let pair = try Pair()
        let refusals = Atomic<Int>(0)
        let server = try await pair.server
            .childChannelInitializer {
                refusals.add(1, ordering: .relaxed)
                return $0.eventLoop.makeFailedFuture(IOError(errnoCode: EMFILE, reason: "as if"))
            }
            .bind(to: pair.address).get()
        // Errors of accept itself make the server pause for a second each.
        let begin = ContinuousClock.now
        for _ in 0..<100 {
            let client = try await pair.connect(Notes())
            try await client.closeFuture.get()
        }
        #expect(refusals.load(ordering: .relaxed) == 100)
        #expect(ContinuousClock.now < begin + .seconds(60))
        #expect(server.isActive)
        try await server.close()
    }

    @Test("event loops that end take their channels and server channels with them")
    func shutdown() async throws {
        let pair = try Pair()
        let own = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let server = try await ChisocketServerBootstrap(group: own, daemon: pair.hosts.b.path)
            .bind(to: pair.address).get()
        let notes = Notes()
        let client = try await pair.connect(notes)
        try await own.shutdownGracefully()
        try await client.closeFuture.get()
        #expect(!server.isActive)
        try await eventually { await errnoOf(pair.client.connect(to: pair.address)) == ECONNREFUSED }
    }

    @Test("a daemon that goes ends the channels of both kinds")
    func daemonGoes() async throws {
        let pair = try Pair()
        let (server, client, ours, accepted, _) = try await pair.connected()
        pair.hosts.b.stop()
        try await server.closeFuture.get()
        try await accepted.closeFuture.get()
        try await client.closeFuture.get()
        #expect((ours.seen.withLock { $0.error } as? IOError)?.errnoCode == ECONNRESET)
    }

    @Test("the HTTP server of the samples serves curl and a Swift client", .enabled(if: hasCurl, "curl is missing"))
    func httpServer() async throws {
        let pair = try Pair()
        let folder = try TemporaryFolder()
        let file = pattern(3_000_000)
        let descriptor = open(folder.path + "/file", O_WRONLY | O_CREAT, 0o600)
        #expect(write(descriptor, file, file.count) == file.count)
        close(descriptor)
        let server = try startProgram(
            BuildFolder.path + "/http-server", ["8080", folder.path],
            environment: ["CHITCPD_SOCK": pair.hosts.b.path.path])
        defer { kill(server.pid, SIGTERM) }
        let url = "http://\(pair.hosts.b.address):8080"
        try await eventually { try DaemonControl.sockets(of: pair.hosts.b.path).contains { $0.stateName == "LISTEN" } }
        let environment = ["LD_PRELOAD": BuildFolder.preload, "CHITCPD_SOCK": pair.hosts.a.path.path]
        let copy = folder.path + "/copy"
        let curl = try runProgram(
            "curl", ["-sSf", "-o", copy, url + "/file", "-o", copy + "2", url + "/file"], environment: environment)
        #expect(curl.code == 0, "\(curl.output)")
        #expect(try runProgram("cmp", [folder.path + "/file", copy]).code == 0)
        #expect(try runProgram("cmp", [folder.path + "/file", copy + "2"]).code == 0)
        let head = try runProgram("curl", ["-sSI", url + "/file"], environment: environment)
        #expect(head.output.contains("content-length: 3000000"), "\(head.output)")
        for missing in ["/none", "/../../etc/hosts", "/%2e%2e/%2e%2e/etc/hosts"] {
            let result = try runProgram("curl", ["--path-as-is", "-sSf", url + missing], environment: environment)
            #expect(result.code == 22, "\(missing): \(result.output)")
        }
        #expect(try pair.hosts.a.totals().connectionsOpened >= 2)

        let client = try await Chisocket.connect(to: pair.hosts.b.address, port: 8080, daemon: pair.hosts.a.path)
        try await client.send(Array("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8))
        var response: [UInt8] = []
        for try await piece in client.pieces() { response += piece }
        #expect(response.starts(with: Array("HTTP/1.1 200 OK\r\n".utf8)))
        #expect(response.suffix(file.count).elementsEqual(file))
    }
}

/// True if curl is there (it is not needed for anything else).
private let hasCurl = access("/usr/bin/curl", X_OK) == 0

/// The errno with which a future fails, nil if it does not.
private func errnoOf<R: Sendable>(_ future: EventLoopFuture<R>) async -> Int32? {
    do {
        _ = try await future.get()
        return nil
    } catch { return (error as? IOError)?.errnoCode ?? -1 }
}
