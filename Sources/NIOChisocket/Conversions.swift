// NIO's addresses and errors, and this project's.
import Chisocket
import Glibc
import NIOCore

extension SocketAddress {
    init(_ address: ChisocketAddress) {
        self = address.withSockaddr { raw, _ in
            // Bounds: what `withSockaddr` gives is a struct of the family that it names.
            switch address.family {
            case .ipv4: SocketAddress(UnsafeRawPointer(raw).loadUnaligned(as: sockaddr_in.self))
            case .ipv6: SocketAddress(UnsafeRawPointer(raw).loadUnaligned(as: sockaddr_in6.self))
            }
        }
    }
}

extension ChisocketAddress {
    /// The address in `address`.
    /// - Throws: EAFNOSUPPORT if it is neither IPv4 nor IPv6.
    init(_ address: SocketAddress, call: String) throws {
        guard let made = address.withSockAddr({ ChisocketAddress($0, length: socklen_t($1)) }) else {
            throw IOError(
                errnoCode: EAFNOSUPPORT, reason: "\(call) with \(address): TCP has addresses of IPv4 and IPv6")
        }
        self = made
    }
}

extension IOError {
    init(_ error: ChisocketError) { self.init(errnoCode: error.errno, reason: error.message) }
}

/// Calls `body`, and throws NIO's error where it throws this project's.
func withIOErrors<R>(_ body: () async throws -> R) async throws -> R {
    do { return try await body() } catch let error as ChisocketError { throw IOError(error) }
}

extension EventLoop {
    /// A future for what a task does, with NIO's errors.
    func makeFuture<R: Sendable>(of body: @escaping @Sendable () async throws -> R) -> EventLoopFuture<R> {
        makeFutureWithTask { try await withIOErrors(body) }
    }
}
