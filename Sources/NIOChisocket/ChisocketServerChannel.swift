// A listening chisocket as NIO's server channel.
import Chisocket
import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// Reads connections, as many as are asked for: who waits in between waits in the daemon, at most the backlog.
final class ChisocketServerChannel: ChisocketOptionChannel, ChannelCore, @unchecked Sendable {
    // Unchecked: what is neither constant nor in `shared` belongs to the event loop's thread.

    private struct Shared {
        var isActive = false
        var local: SocketAddress?
    }

    let eventLoop: any EventLoop
    let parent: (any Channel)? = nil
    let closeFuture: EventLoopFuture<Void>
    private let closePromise: EventLoopPromise<Void>
    private let childGroup: any EventLoopGroup
    private let listener: Chisocket
    /// Where the server channel belongs to the event loop: NIO closes this one when the loop ends, and when the daemon has
    /// gone. It reads nothing.
    private var anchor: (any Channel)?
    private let shared = Mutex(Shared())
    private var ownPipeline: ChannelPipeline?

    private var listening: Chisocket.Listening?
    private var wait: Poller.Wait?
    private var isClosed = false
    private var readPending = false
    private var isReading = false
    private var readsItself = true
    private var maximumReads: UInt = 16
    private var backlog: Int32 = 128

    init(_ listener: Chisocket, on eventLoop: any EventLoop, childGroup: any EventLoopGroup) {
        self.listener = listener
        self.eventLoop = eventLoop
        self.childGroup = childGroup
        closePromise = eventLoop.makePromise()
        closeFuture = closePromise.futureResult
        ownPipeline = ChannelPipeline(channel: self)
    }

    /// Binds, listens, and begins to read connections.
    func listen(on address: ChisocketAddress) -> EventLoopFuture<Void> {
        eventLoop.assertInEventLoop()
        let backlog = self.backlog
        let listener = self.listener
        return eventLoop.makeFuture {
            try await listener.bind(to: address)
            try await listener.listen(backlog: backlog)
            let listening = try await listener.requireListening()
            return (listening, try await listener.names().local, dup(listening.descriptor))
        }.flatMap { listening, local, copy in
            self.listening = listening
            guard !self.isClosed, copy >= 0 else {
                if copy >= 0 { Glibc.close(copy) }
                self.listening = nil
                listener.leave()
                return self.eventLoop.makeFailedFuture(
                    copy >= 0 ? ChannelError.ioOnClosedChannel : IOError(errnoCode: EMFILE, reason: "dup"))
            }
            self.shared.withLock { $0.local = local.map { SocketAddress($0) } }
            return self.fasten(copy)
        }.map {
            self.shared.withLock { $0.isActive = true }
            self.pipeline.syncOperations.fireChannelRegistered()
            self.pipeline.syncOperations.fireChannelActive()
            if self.readsItself { self.pipeline.syncOperations.read() }
        }
    }

    private func fasten(_ copy: Int32) -> EventLoopFuture<Void> {
        ClientBootstrap(group: eventLoop)
            .channelOption(.autoRead, value: false)
            .withConnectedSocket(copy)
            .map { anchor in
                self.anchor = anchor
                anchor.closeFuture.whenComplete { _ in
                    self.anchor = nil
                    self.close0(error: ChannelError.ioOnClosedChannel, mode: .all, promise: nil)
                }
            }
    }

    // MARK: Channel

    var pipeline: ChannelPipeline {
        guard let ownPipeline else { preconditionFailure("made by the initializer") }
        return ownPipeline
    }

    var _channelCore: any ChannelCore { self }
    var allocator: ByteBufferAllocator { ByteBufferAllocator() }
    var localAddress: SocketAddress? { shared.withLock { $0.local } }
    var remoteAddress: SocketAddress? { nil }
    /// Nothing is written to a server channel.
    var isWritable: Bool { false }
    var isActive: Bool { shared.withLock { $0.isActive } }

    func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<Void> {
        if let option = option as? ChannelOptions.Types.SocketOption, let value = value as? SocketOptionValue {
            return set(option, to: value)
        }
        return eventLoop.submit { try self.apply(option, value) }
    }

    private func apply<Option: ChannelOption>(_ option: Option, _ value: Option.Value) throws {
        guard !isClosed else { throw ChannelError.ioOnClosedChannel }
        switch option {
        case is ChannelOptions.Types.BacklogOption: if let value = value as? Int32 { backlog = value }
        case is ChannelOptions.Types.MaxMessagesPerReadOption:
            if let value = value as? UInt { maximumReads = max(1, value) }
        case is ChannelOptions.Types.AutoReadOption:
            guard let value = value as? Bool else { return }
            readsItself = value
            if value {
                if isActive { pipeline.syncOperations.read() }
            } else {
                readPending = false
                stopWaiting()
            }
        default: throw ChannelError.operationUnsupported
        }
    }

    func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
        let value: EventLoopFuture<any Sendable>
        if let option = option as? ChannelOptions.Types.SocketOption {
            value = get(option).map { $0 }
        } else {
            value = eventLoop.submit {
                switch option {
                case is ChannelOptions.Types.BacklogOption: self.backlog
                case is ChannelOptions.Types.MaxMessagesPerReadOption: self.maximumReads
                case is ChannelOptions.Types.AutoReadOption: self.readsItself
                default: throw ChannelError.operationUnsupported
                }
            }
        }
        return value.flatMapThrowing { value in
            guard let value = value as? Option.Value else { throw ChannelError.operationUnsupported }
            return value
        }
    }

    func setSocketOption(level: Int32, name: Int32, _ bytes: [UInt8]) async throws {
        try await listener.setOption(level: level, name: name, bytes)
    }

    func socketOption(level: Int32, name: Int32) async throws -> [UInt8] {
        try await listener.option(level: level, name: name)
    }

    // MARK: Reading

    func read0() {
        guard !isClosed, let listening else { return }
        readPending = true
        guard !isReading, wait == nil else { return }
        let wait = Poller.shared.makeWait(for: listening.descriptor)
        self.wait = wait
        do throws(ChisocketError) {
            try Poller.shared.begin(wait, for: .reading) { [self] error in
                guard error == nil else { return }
                eventLoop.execute {
                    self.wait = nil
                    self.readable()
                }
            }
        } catch {
            self.wait = nil
            pipeline.syncOperations.fireErrorCaught(IOError(error))
            close0(error: IOError(error), mode: .all, promise: nil)
        }
    }

    private func stopWaiting() {
        guard let wait else { return }
        self.wait = nil
        Poller.shared.cancel(wait)
    }

    private func readable() {
        guard !isClosed, readPending, !isReading, let listening else { return }
        isReading = true
        readPending = false
        var count: UInt = 0
        while count < maximumReads, !isClosed {
            do throws(ChisocketError) {
                guard let connection = try listener.takeConnection(from: listening) else {
                    break
                }
                count += 1
                accepted(connection)
            } catch {
                pipeline.syncOperations.fireErrorCaught(IOError(error))
                guard error.concernsOneConnection else {
                    isReading = false
                    close0(error: IOError(error), mode: .all, promise: nil)
                    return
                }
                break
            }
        }
        isReading = false
        guard !isClosed else { return }
        if count > 0 { pipeline.syncOperations.fireChannelReadComplete() }
        if readsItself {
            pipeline.syncOperations.read()
        } else if readPending || count == 0 {
            // Asked for meanwhile, or nothing came of it: the wish stands.
            read0()
        }
    }

    private func accepted(_ connection: Chisocket) {
        do {
            let child = try ChisocketChannel(connection, on: childGroup.next(), parent: self)
            pipeline.syncOperations.fireChannelRead(NIOAny(child as any Channel))
        } catch {
            // It cannot be named: it was closed under our hands.
            pipeline.syncOperations.fireErrorCaught(error)
        }
    }

    /// What a handler has made of a connection ends here.
    func channelRead0(_ data: NIOAny) {}

    // MARK: ChannelCore

    func localAddress0() throws -> SocketAddress {
        guard let localAddress else { throw ChannelError.ioOnClosedChannel }
        return localAddress
    }

    func remoteAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }

    // A server channel is registered and bound by its bootstrap.
    func register0(promise: EventLoopPromise<Void>?) { promise?.fail(ChannelError.inappropriateOperationForState) }
    func registerAlreadyConfigured0(promise: EventLoopPromise<Void>?) { register0(promise: promise) }
    func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) { register0(promise: promise) }
    func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }
    func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) { promise?.fail(ChannelError.operationUnsupported) }
    func flush0() {}

    func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard mode == .all else {
            promise?.fail(ChannelError.operationUnsupported)
            return
        }
        guard !isClosed else {
            promise?.fail(ChannelError.alreadyClosed)
            return
        }
        isClosed = true
        stopWaiting()
        if listening != nil { listener.leave() }
        listening = nil
        listener.close()
        anchor?.close(promise: nil)
        let wasActive = shared.withLock { shared in
            defer { shared.isActive = false }
            return shared.isActive
        }
        promise?.succeed(())
        if wasActive {
            pipeline.syncOperations.fireChannelInactive()
            pipeline.syncOperations.fireChannelUnregistered()
        }
        // Handlers may still be on the stack.
        eventLoop.execute {
            self.removeHandlers(pipeline: self.pipeline)
            self.closePromise.succeed(())
        }
    }

    func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }

    func errorCaught0(error: any Error) {}
}
