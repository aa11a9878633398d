// Socket options of channels: TCP's are the daemon's.
import Chisocket
import Glibc
import NIOCore

/// A channel whose socket options the daemon knows.
protocol ChisocketOptionChannel: Channel, SocketOptionProvider {
    /// Sets an option by its numbers.
    func setSocketOption(level: Int32, name: Int32, _ bytes: [UInt8]) async throws
    /// An option's bytes by its numbers.
    func socketOption(level: Int32, name: Int32) async throws -> [UInt8]
}

extension ChisocketOptionChannel {
    /// Sets a socket option of one number.
    func set(_ option: ChannelOptions.Types.SocketOption, to value: SocketOptionValue) -> EventLoopFuture<Void> {
        unsafeSetSocketOption(level: option.optionLevel, name: option.optionName, value: Int32(value))
    }

    /// A socket option of one number.
    func get(_ option: ChannelOptions.Types.SocketOption) -> EventLoopFuture<SocketOptionValue> {
        let value: EventLoopFuture<Int32> = unsafeGetSocketOption(level: option.optionLevel, name: option.optionName)
        return value.map { SocketOptionValue($0) }
    }

    func unsafeSetSocketOption<Value: Sendable>(
        level: NIOBSDSocket.OptionLevel, name: NIOBSDSocket.Option, value: Value
    ) -> EventLoopFuture<Void> {
        let bytes = withUnsafeBytes(of: value) { Array($0) }
        return eventLoop.makeFuture {
            try await self.setSocketOption(level: level.rawValue, name: name.rawValue, bytes)
        }
    }

    func unsafeGetSocketOption<Value: Sendable>(
        level: NIOBSDSocket.OptionLevel, name: NIOBSDSocket.Option
    ) -> EventLoopFuture<Value> {
        eventLoop.makeFuture {
            let bytes = try await self.socketOption(level: level.rawValue, name: name.rawValue)
            guard bytes.count >= MemoryLayout<Value>.size else {
                throw IOError(errnoCode: EPROTO, reason: "getsockopt gave \(bytes.count) bytes")
            }
            // Bounds: just compared. What `Value` is, the caller answers for.
            return withUnsafeTemporaryAllocation(
                byteCount: MemoryLayout<Value>.size, alignment: MemoryLayout<Value>.alignment
            ) { room in
                room.copyBytes(from: bytes.prefix(room.count))
                return room.load(as: Value.self)
            }
        }
    }

    func unsafeSetSocketOption<Value: Sendable>(
        level: SocketOptionLevel, name: SocketOptionName, value: Value
    ) -> EventLoopFuture<Void> {
        unsafeSetSocketOption(
            level: NIOBSDSocket.OptionLevel(rawValue: CInt(level)), name: NIOBSDSocket.Option(rawValue: CInt(name)),
            value: value)
    }

    func unsafeGetSocketOption<Value: Sendable>(
        level: SocketOptionLevel, name: SocketOptionName
    ) -> EventLoopFuture<Value> {
        unsafeGetSocketOption(
            level: NIOBSDSocket.OptionLevel(rawValue: CInt(level)), name: NIOBSDSocket.Option(rawValue: CInt(name)))
    }
}
