// How servers get channels.
import Chisocket
import NIOCore
import NIOPosix

/// Listens on chitcpd's TCP, as NIO's `ServerBootstrap` does on the kernel's. A value: each call that sets something gives a
/// changed copy.
///
/// The server channel takes connections from the daemon as fast as its pipeline reads them; each becomes a channel on the
/// next event loop of the child group.
public struct ChisocketServerBootstrap: Sendable {
    private let group: any EventLoopGroup
    private let childGroup: any EventLoopGroup
    private let daemon: DaemonPath
    private var serverOptions = ChannelOptions.Storage()
    private var childOptions = ChannelOptions.Storage()
    private var serverInitializer: @Sendable (any Channel) -> EventLoopFuture<Void> = {
        $0.eventLoop.makeSucceededVoidFuture()
    }
    private var childInitializer: @Sendable (any Channel) -> EventLoopFuture<Void> = {
        $0.eventLoop.makeSucceededVoidFuture()
    }

    /// - Parameters:
    ///   - group: where the server channel runs: an event loop of `MultiThreadedEventLoopGroup`.
    ///   - childGroup: where connections run; nil: `group`.
    ///   - daemon: whose TCP it is.
    public init(group: any EventLoopGroup, childGroup: (any EventLoopGroup)? = nil, daemon: DaemonPath = .standard) {
        self.group = group
        self.childGroup = childGroup ?? group
        self.daemon = daemon
    }

    private func with(_ change: (inout Self) -> Void) -> Self {
        var copy = self
        change(&copy)
        return copy
    }

    /// What is done with the server channel before it listens. Its handlers read channels.
    public func serverChannelInitializer(
        _ initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
    ) -> Self {
        with { $0.serverInitializer = initializer }
    }

    /// What is done with each connection before it becomes active.
    public func childChannelInitializer(
        _ initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
    ) -> Self {
        with { $0.childInitializer = initializer }
    }

    /// An option of the server channel: socket options, `.backlog`, `.autoRead`, `.maxMessagesPerRead` (16).
    public func serverChannelOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> Self {
        with { $0.serverOptions.append(key: option, value: value) }
    }

    /// An option of each connection.
    public func childChannelOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> Self {
        with { $0.childOptions.append(key: option, value: value) }
    }

    // MARK: Futures

    /// Listens on the first address of a host; port 0 lets the daemon choose one (see the channel's `localAddress`).
    public func bind(host: String, port: Int) -> EventLoopFuture<any Channel> {
        listen(prepare: startChildren) { try await address(of: host, port: port) }.map { $0.0 }
    }

    /// Listens on an address of IPv4 or IPv6.
    public func bind(to address: SocketAddress) -> EventLoopFuture<any Channel> {
        listen(prepare: startChildren) { try ChisocketAddress(address, call: "bind") }.map { $0.0 }
    }

    private var startChildren: @Sendable (ChisocketServerChannel) throws -> Void {
        let (initialize, options) = (childInitializer, childOptions)
        return { try $0.pipeline.syncOperations.addHandler(ChildStarter(options, handsOn: false, initialize)) }
    }

    // MARK: Tasks

    /// Listens on the first address of a host, and gives the connections as a sequence.
    /// - Parameters:
    ///   - serverBackPressureStrategy: how many connections may wait in the sequence until the daemon keeps them.
    ///   - childChannelInitializer: what is done with each connection before it becomes active; gives the sequence's elements.
    public func bind<Output: Sendable>(
        host: String, port: Int,
        serverBackPressureStrategy: NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark? = nil,
        childChannelInitializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) async throws -> NIOAsyncChannel<Output, Never> {
        try await sequence(serverBackPressureStrategy, childChannelInitializer) {
            try await address(of: host, port: port)
        }
    }

    /// Listens on an address of IPv4 or IPv6, and gives the connections as a sequence; see the other `bind`.
    public func bind<Output: Sendable>(
        to address: SocketAddress,
        serverBackPressureStrategy: NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark? = nil,
        childChannelInitializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) async throws -> NIOAsyncChannel<Output, Never> {
        try await sequence(serverBackPressureStrategy, childChannelInitializer) {
            try ChisocketAddress(address, call: "bind")
        }
    }

    private func sequence<Output: Sendable>(
        _ strategy: NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark?,
        _ childChannelInitializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>,
        _ address: @escaping @Sendable () async throws -> ChisocketAddress
    ) async throws -> NIOAsyncChannel<Output, Never> {
        let first = childInitializer
        let options = childOptions
        var configuration = NIOAsyncChannel<Output, Never>.Configuration()
        if let strategy { configuration.backPressureStrategy = strategy }
        return try await listen(
            prepare: { [configuration] channel in
                try channel.pipeline.syncOperations.addHandler(
                    ChildStarter(options, handsOn: true) { child in
                        first(child).flatMap { childChannelInitializer(child) }
                    })
                return try NIOAsyncChannel<Output, Never>(
                    wrappingChannelSynchronously: channel, configuration: configuration)
            }, address
        ).get().1
    }

    // MARK: What they share

    private func address(of host: String, port: Int) async throws -> ChisocketAddress {
        guard let number = UInt16(exactly: port) else {
            throw IOError(errnoCode: EINVAL, reason: "bind to port \(port): ports are 0 to 65535")
        }
        return try await ChisocketAddress.resolve(host, port: number)[0]
    }

    /// Makes the server channel, has `prepare` put the last handlers into its pipeline, and listens.
    private func listen<R: Sendable>(
        prepare: @escaping @Sendable (ChisocketServerChannel) throws -> R,
        _ address: @escaping @Sendable () async throws -> ChisocketAddress
    ) -> EventLoopFuture<(any Channel, R)> {
        let loop = group.next()
        let options = serverOptions
        let initialize = serverInitializer
        return loop.makeFuture {
            let address = try await address()
            let listener = try await Chisocket(address.family, daemon: daemon)
            return (address, ChisocketServerChannel(listener, on: loop, childGroup: childGroup))
        }.flatMap { (address: ChisocketAddress, channel: ChisocketServerChannel) in
            options.applyAllChannelOptions(to: channel).flatMap { initialize(channel) }
                .flatMapThrowing {
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                    return try prepare(channel)
                }
                .flatMap { prepared in
                    channel.listen(on: address).map { (channel as any Channel, prepared) }
                }
                .flatMapErrorThrowing { error in
                    channel.close0(error: error, mode: .all, promise: nil)
                    throw error
                }
        }
    }
}

/// Begins a connection on its own event loop.
private func start<Output: Sendable>(
    _ child: ChisocketChannel, _ options: ChannelOptions.Storage,
    _ initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
) -> EventLoopFuture<Output> {
    child.eventLoop.flatSubmit {
        options.applyAllChannelOptions(to: child).flatMap { child.start(initializer) }
            .flatMapErrorThrowing { error in
                child.close0(error: error, mode: .all, promise: nil)
                throw error
            }
    }
}

/// The last of a server channel's handlers but those of its bootstrap: begins the connections that are read, and hands on what
/// their initializer makes of them. What fails concerns a connection, which is closed, and not the server: handlers in front,
/// among them the one that pauses after errors of accept, do not hear of it.
private final class ChildStarter<Output: Sendable>: ChannelInboundHandler {
    typealias InboundIn = any Channel
    typealias InboundOut = Output

    private let options: ChannelOptions.Storage
    /// True if somebody takes what initializers make; otherwise connections belong to their own handlers.
    private let handsOn: Bool
    private let initializer: @Sendable (any Channel) -> EventLoopFuture<Output>

    init(
        _ options: ChannelOptions.Storage, handsOn: Bool,
        _ initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) {
        self.options = options
        self.handsOn = handsOn
        self.initializer = initializer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let child = unwrapInboundIn(data) as? ChisocketChannel else { return }
        let server = NIOLoopBound(context, eventLoop: context.eventLoop)
        start(child, options, initializer).hop(to: context.eventLoop).whenComplete { [handsOn] result in
            let context = server.value
            let output: Output
            switch result {
            case .success(let value): output = value
            case .failure(let error):
                context.fireErrorCaught(error)
                return
            }
            guard handsOn else { return }
            guard context.channel.isActive else {
                // The server has ended meanwhile, and nobody would take it.
                child.close(promise: nil)
                return
            }
            context.fireChannelRead(NIOAny(output))
            context.fireChannelReadComplete()
        }
    }
}
