// A connection as NIO's channel: its own pipeline over a channel of NIO's that moves the descriptor's bytes.
import CLinux
import Chisocket
import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// A connection of chitcpd's TCP. NIO's own channel over the descriptor (the transport) does the reading and writing, with
/// NIO's rules for flushing, writability and half-closure; this one has TCP's names, TCP's options and the pipeline that
/// programs see. The transport's pipeline has one handler, which hands everything on.
final class ChisocketChannel: ChisocketOptionChannel, ChannelCore, @unchecked Sendable {
    // Unchecked: what is not in `shared` belongs to the event loop's thread.

    private struct Shared {
        var transport: (any Channel)?
        var local: SocketAddress?
        var remote: SocketAddress?
    }

    let eventLoop: any EventLoop
    let parent: (any Channel)?
    let closeFuture: EventLoopFuture<Void>
    private let closePromise: EventLoopPromise<Void>
    private let chisocket: Chisocket
    private let reference: ChisocketReference
    private let shared = Mutex(Shared())
    /// The transport's core, for the event loop's thread.
    private var core: (any ChannelCore)?
    private var isClosed = false
    /// Options for the transport, kept until there is one.
    private var options = ChannelOptions.Storage()
    private var ownPipeline: ChannelPipeline?

    /// A channel for a chisocket that is or will be connected, and belongs to the channel from now on.
    init(_ chisocket: Chisocket, on eventLoop: any EventLoop, parent: (any Channel)? = nil) throws {
        self.chisocket = chisocket
        self.eventLoop = eventLoop
        self.parent = parent
        reference = try chisocket.reference("channel")
        closePromise = eventLoop.makePromise()
        closeFuture = closePromise.futureResult
        ownPipeline = ChannelPipeline(channel: self)
    }

    /// Connects the chisocket. A cancelled task gives up the attempt.
    func connect(to address: ChisocketAddress) async throws { try await chisocket.connect(to: address) }

    /// Binds the chisocket.
    func bind(to address: ChisocketAddress) async throws { try await chisocket.bind(to: address) }

    /// Closes what never started.
    func discard() {
        eventLoop.execute { self.close0(error: ChannelError.ioOnClosedChannel, mode: .all, promise: nil) }
    }

    // MARK: Start

    /// Begins to move bytes, once `initializer` is done with the pipeline. On the event loop.
    func start<Output: Sendable>(
        _ initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) -> EventLoopFuture<Output> {
        eventLoop.assertInEventLoop()
        let descriptor: Int32
        do throws(ChisocketError) {
            let local = try chisocket.localAddress, remote = try chisocket.remoteAddress
            shared.withLock {
                $0.local = local.map { SocketAddress($0) }
                $0.remote = remote.map { SocketAddress($0) }
            }
            descriptor = try chisocket.releaseDescriptor()
        } catch {
            close0(error: IOError(error), mode: .all, promise: nil)
            return eventLoop.makeFailedFuture(isClosed ? ChannelError.ioOnClosedChannel : IOError(error))
        }
        // An urgent byte is read where it stands (RFC 6093 6).
        var on: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_OOBINLINE, &on, socklen_t(MemoryLayout<Int32>.size))
        let options = self.options
        let output = NIOLoopBoundBox<Output?>(nil, eventLoop: eventLoop)
        return ClientBootstrap(group: eventLoop)
            .channelInitializer { transport in
                do { try self.adopt(transport) } catch { return transport.eventLoop.makeFailedFuture(error) }
                return options.applyAllChannelOptions(to: transport).flatMap { initializer(self) }
                    .map { output.value = $0 }
            }
            .withConnectedSocket(descriptor)
            .flatMapThrowing { _ in
                guard let value = output.value else { throw ChannelError.inappropriateOperationForState }
                return value
            }
            .flatMapErrorThrowing { error in
                if self.core == nil {
                    // NIO has made no channel of it, so it is still ours.
                    Glibc.close(descriptor)
                    self.finishClose()
                }
                throw error
            }
    }

    private func adopt(_ transport: any Channel) throws {
        core = transport._channelCore
        shared.withLock { $0.transport = transport }
        try transport.pipeline.syncOperations.addHandler(TransportHandler(self))
        transport.closeFuture.whenComplete { _ in self.finishClose() }
    }

    private func finishClose() {
        isClosed = true
        core = nil
        shared.withLock { $0.transport = nil }
        removeHandlers(pipeline: pipeline)
        closePromise.succeed(())
    }

    // MARK: Channel

    var pipeline: ChannelPipeline {
        guard let ownPipeline else { preconditionFailure("made by the initializer") }
        return ownPipeline
    }

    var _channelCore: any ChannelCore { self }
    var allocator: ByteBufferAllocator { transport?.allocator ?? ByteBufferAllocator() }
    var localAddress: SocketAddress? { shared.withLock { $0.local } }
    var remoteAddress: SocketAddress? { shared.withLock { $0.remote } }
    var isWritable: Bool { transport?.isWritable ?? false }
    var isActive: Bool { transport?.isActive ?? false }
    private var transport: (any Channel)? { shared.withLock { $0.transport } }

    var syncOptions: (any NIOSynchronousChannelOptions)? { transport?.syncOptions.map { OptionsAtOnce(transport: $0) } }

    func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<Void> {
        if let option = option as? ChannelOptions.Types.SocketOption, let value = value as? SocketOptionValue {
            return set(option, to: value)
        }
        if let transport { return transport.setOption(option, value: value) }
        guard eventLoop.inEventLoop else { return eventLoop.flatSubmit { self.setOption(option, value: value) } }
        if let transport { return transport.setOption(option, value: value) }
        guard !isClosed else { return eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel) }
        options.append(key: option, value: value)
        return eventLoop.makeSucceededVoidFuture()
    }

    func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
        if let option = option as? ChannelOptions.Types.SocketOption {
            return get(option).flatMapThrowing { value in
                guard let value = value as? Option.Value else { throw ChannelError.operationUnsupported }
                return value
            }
        }
        if let transport { return transport.getOption(option) }
        return eventLoop.makeFailedFuture(ChannelError.inappropriateOperationForState)
    }

    func setSocketOption(level: Int32, name: Int32, _ bytes: [UInt8]) async throws {
        guard let transport else { return try await chisocket.setOption(level: level, name: name, bytes) }
        let room = try await reference.setOption(level: level, name: name, bytes)
        // The writer's bytes wait in the descriptor first.
        if room > 0 {
            try await transport.setOption(.socketOption(.so_sndbuf), value: SocketOptionValue(room)).get()
        }
    }

    func socketOption(level: Int32, name: Int32) async throws -> [UInt8] {
        guard transport != nil else { return try await chisocket.option(level: level, name: name) }
        return try await reference.option(level: level, name: name)
    }

    // MARK: ChannelCore

    func localAddress0() throws -> SocketAddress {
        guard let localAddress else { throw ChannelError.ioOnClosedChannel }
        return localAddress
    }

    func remoteAddress0() throws -> SocketAddress {
        guard let remoteAddress else { throw ChannelError.ioOnClosedChannel }
        return remoteAddress
    }

    // A connection is made, bound and registered by its bootstrap.
    func register0(promise: EventLoopPromise<Void>?) { promise?.fail(ChannelError.inappropriateOperationForState) }
    func registerAlreadyConfigured0(promise: EventLoopPromise<Void>?) { register0(promise: promise) }
    func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) { register0(promise: promise) }
    func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) { register0(promise: promise) }

    func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard let core else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        core.write0(data, promise: promise)
    }

    func flush0() { core?.flush0() }
    func read0() { core?.read0() }

    func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard let core else {
            if isClosed {
                promise?.fail(ChannelError.alreadyClosed)
            } else if mode == .all {
                chisocket.close()
                finishClose()
                promise?.succeed(())
            } else {
                promise?.fail(ChannelError.inappropriateOperationForState)
            }
            return
        }
        guard mode == .input else {
            core.close0(error: error, mode: mode, promise: promise)
            return
        }
        let reference = self.reference
        eventLoop.makeFuture { try await reference.announceReceivingShutdown() }.whenComplete { _ in
            // Where the daemon no longer knows it, nothing arrives any more.
            guard let core = self.core else {
                promise?.fail(ChannelError.alreadyClosed)
                return
            }
            core.close0(error: error, mode: .input, promise: promise)
        }
    }

    func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }

    // What no handler wanted ends here.
    func channelRead0(_ data: NIOAny) {}
    func errorCaught0(error: any Error) {}
}

/// The one handler of a transport: what comes up goes to the connection's pipeline, and so does the transport's own wish to
/// read, so that handlers there may delay it.
private final class TransportHandler: ChannelDuplexHandler {
    typealias InboundIn = NIOAny
    typealias OutboundIn = NIOAny

    private let channel: ChisocketChannel

    init(_ channel: ChisocketChannel) { self.channel = channel }

    private var outer: ChannelPipeline.SynchronousOperations { channel.pipeline.syncOperations }

    func channelRegistered(context: ChannelHandlerContext) { outer.fireChannelRegistered() }
    func channelUnregistered(context: ChannelHandlerContext) { outer.fireChannelUnregistered() }
    func channelActive(context: ChannelHandlerContext) { outer.fireChannelActive() }
    func channelInactive(context: ChannelHandlerContext) { outer.fireChannelInactive() }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) { outer.fireChannelRead(data) }
    func channelReadComplete(context: ChannelHandlerContext) { outer.fireChannelReadComplete() }
    func channelWritabilityChanged(context: ChannelHandlerContext) { outer.fireChannelWritabilityChanged() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { outer.fireErrorCaught(error) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        outer.fireUserInboundEventTriggered(event)
    }

    func read(context: ChannelHandlerContext) { outer.read() }
}

/// The options that need no answer of the daemon's.
private struct OptionsAtOnce: NIOSynchronousChannelOptions {
    let transport: any NIOSynchronousChannelOptions

    func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) throws {
        guard !(option is ChannelOptions.Types.SocketOption) else { throw ChannelError.operationUnsupported }
        try transport.setOption(option, value: value)
    }

    func getOption<Option: ChannelOption>(_ option: Option) throws -> Option.Value {
        guard !(option is ChannelOptions.Types.SocketOption) else { throw ChannelError.operationUnsupported }
        return try transport.getOption(option)
    }
}
