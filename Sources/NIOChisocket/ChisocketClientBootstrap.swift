// How clients get channels.
import Chisocket
import NIOCore
import NIOPosix

/// Makes connections over chitcpd's TCP, as NIO's `ClientBootstrap` does over the kernel's. A value: each call that sets
/// something gives a changed copy.
///
///     let channel = try await ChisocketClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
///         .connect(host: "127.0.0.1", port: 7) { channel in
///             channel.eventLoop.makeCompletedFuture {
///                 try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
///             }
///         }
public struct ChisocketClientBootstrap: NIOClientTCPBootstrapProtocol, Sendable {
    private let group: any EventLoopGroup
    private let daemon: DaemonPath
    private var options = ChannelOptions.Storage()
    private var initializer: @Sendable (any Channel) -> EventLoopFuture<Void> = {
        $0.eventLoop.makeSucceededVoidFuture()
    }
    private var frontHandlers: (@Sendable () -> [any ChannelHandler])?
    private var timeout = TimeAmount.seconds(10)
    private var local: SocketAddress?

    /// - Parameters:
    ///   - group: event loops of `MultiThreadedEventLoopGroup`; others are refused when a channel is made.
    ///   - daemon: whose TCP it is.
    public init(group: any EventLoopGroup, daemon: DaemonPath = .standard) {
        self.group = group
        self.daemon = daemon
    }

    private func with(_ change: (inout Self) -> Void) -> Self {
        var copy = self
        change(&copy)
        return copy
    }

    /// What is done with each channel before it becomes active.
    public func channelInitializer(
        _ handler: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
    ) -> Self {
        with { $0.initializer = handler }
    }

    /// Handlers for the front of each pipeline, after the initializer.
    public func protocolHandlers(_ handlers: @escaping @Sendable () -> [any ChannelHandler]) -> Self {
        with { $0.frontHandlers = handlers }
    }

    /// An option of each channel. Socket options are set before it connects.
    public func channelOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> Self {
        with { $0.options.append(key: option, value: value) }
    }

    /// Understands the options that all TCP bootstraps share.
    public func _applyChannelConvenienceOptions(_ options: inout ChannelOptions.TCPConvenienceOptions) -> Self {
        var copy = self
        if options.consumeAllowLocalEndpointReuse().isSet {
            copy = copy.channelOption(.socketOption(.so_reuseaddr), value: 1)
        }
        if options.consumeDisableAutoRead().isSet { copy = copy.channelOption(.autoRead, value: false) }
        if options.consumeAllowRemoteHalfClosure().isSet {
            copy = copy.channelOption(.allowRemoteHalfClosure, value: true)
        }
        return copy
    }

    /// How long connecting may take, over all addresses of a host (10 s). Then the future fails with
    /// `ChannelError.connectTimeout`.
    public func connectTimeout(_ timeout: TimeAmount) -> Self { with { $0.timeout = timeout } }

    /// The local address to connect from; with port 0 the daemon chooses one.
    public func bind(to address: SocketAddress) -> Self { with { $0.local = address } }

    // MARK: Futures

    /// Connects to a host; its addresses are tried in turn.
    public func connect(host: String, port: Int) -> EventLoopFuture<any Channel> {
        future { try await establish(host: host, port: port, on: $0) }
    }

    /// Connects to an address of IPv4 or IPv6.
    public func connect(to address: SocketAddress) -> EventLoopFuture<any Channel> {
        future { try await establish([try ChisocketAddress(address, call: "connect")], on: $0) }
    }

    /// Fails: there is no TCP over UNIX sockets.
    public func connect(unixDomainSocketPath: String) -> EventLoopFuture<any Channel> {
        group.next().makeFailedFuture(ChannelError.operationUnsupported)
    }

    /// A channel over a chisocket that is connected, which belongs to the channel from now on.
    public func withConnectedChisocket(_ chisocket: Chisocket) -> EventLoopFuture<any Channel> {
        future { loop in
            let channel = try ChisocketChannel(chisocket, on: loop)
            try await options.applyAllChannelOptions(to: channel).get()
            return channel
        }
    }

    private func future(
        _ make: @escaping @Sendable (any EventLoop) async throws -> ChisocketChannel
    ) -> EventLoopFuture<any Channel> {
        let loop = group.next()
        let initialize = complete { $0.eventLoop.makeSucceededFuture($0) }
        return loop.makeFuture { try await make(loop) }.flatMap { channel in channel.start(initialize) }
    }

    // MARK: Tasks

    /// Connects to a host; its addresses are tried in turn. A cancelled task gives up.
    /// - Parameter channelInitializer: what is done with the channel before it becomes active; gives what this returns.
    public func connect<Output: Sendable>(
        host: String, port: Int,
        channelInitializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) async throws -> Output {
        try await started(channelInitializer) { try await establish(host: host, port: port, on: $0) }
    }

    /// Connects to an address of IPv4 or IPv6. A cancelled task gives up.
    /// - Parameter channelInitializer: what is done with the channel before it becomes active; gives what this returns.
    public func connect<Output: Sendable>(
        to address: SocketAddress,
        channelInitializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) async throws -> Output {
        try await started(channelInitializer) {
            try await establish([try ChisocketAddress(address, call: "connect")], on: $0)
        }
    }

    private func started<Output: Sendable>(
        _ channelInitializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>,
        _ make: (any EventLoop) async throws -> ChisocketChannel
    ) async throws -> Output {
        let loop = group.next()
        let initialize = complete(channelInitializer)
        let channel = try await withIOErrors { try await make(loop) }
        return try await loop.flatSubmit { channel.start(initialize) }.get()
    }

    // MARK: What they share

    /// The bootstrap's initializer, then `last`, then the handlers in front.
    private func complete<Output: Sendable>(
        _ last: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) -> @Sendable (any Channel) -> EventLoopFuture<Output> {
        let first = initializer
        let front = frontHandlers
        return { channel in
            first(channel).flatMap { last(channel) }.flatMapThrowing { output in
                if let front { try channel.pipeline.syncOperations.addHandlers(front(), position: .first) }
                return output
            }
        }
    }

    private func establish(host: String, port: Int, on loop: any EventLoop) async throws -> ChisocketChannel {
        guard let number = UInt16(exactly: port) else {
            throw IOError(errnoCode: EINVAL, reason: "connect to port \(port): ports are 1 to 65535")
        }
        return try await limited(on: loop) {
            try await attempts(try await ChisocketAddress.resolve(host, port: number), on: loop)
        }
    }

    private func establish(_ addresses: [ChisocketAddress], on loop: any EventLoop) async throws -> ChisocketChannel {
        try await limited(on: loop) { try await attempts(addresses, on: loop) }
    }

    private func attempts(_ addresses: [ChisocketAddress], on loop: any EventLoop) async throws -> ChisocketChannel {
        var failure: any Error = ChannelError.operationUnsupported
        for address in addresses {
            let channel = try ChisocketChannel(try await Chisocket(address.family, daemon: daemon), on: loop)
            do {
                try await options.applyAllChannelOptions(to: channel).get()
                if let local { try await channel.bind(to: try ChisocketAddress(local, call: "bind")) }
                try await channel.connect(to: address)
                return channel
            } catch {
                channel.discard()
                if error is CancellationError { throw error }
                failure = error
            }
        }
        throw failure
    }

    /// Gives `body` as long as the timeout says.
    private func limited<R: Sendable>(
        on loop: any EventLoop, _ body: @escaping @Sendable () async throws -> R
    ) async throws -> R {
        let task = Task { try await body() }
        let alarm = loop.scheduleTask(in: timeout) { task.cancel() }
        defer { alarm.cancel() }
        return try await withTaskCancellationHandler {
            do { return try await task.value } catch is CancellationError where !Task.isCancelled {
                throw ChannelError.connectTimeout(timeout)
            }
        } onCancel: {
            task.cancel()
        }
    }
}
