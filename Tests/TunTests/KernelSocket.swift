// A TCP socket of the kernel: the peer in these tests.
import CTestSupport
import Glibc
import NetworkLayer
import TCPSegments

/// A blocking kernel socket; calls that would hang fail after 30 s.
final class KernelSocket: Sendable {
    let descriptor: Int32

    struct Failure: Error, CustomStringConvertible {
        let errno: Int32
        let call: String
        var description: String { "\(call): \(String(cString: strerror(errno)))" }
    }

    private init(descriptor: Int32) {
        self.descriptor = descriptor
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit { close(descriptor) }

    private static func check(_ result: Int, _ call: String) throws -> Int {
        guard result >= 0 else { throw Failure(errno: errno, call: call) }
        return result
    }

    /// Belongs to the namespace of the calling thread.
    convenience init(isIPv4: Bool) throws {
        let descriptor = try Self.check(
            Int(socket(isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue), 0)), "socket")
        self.init(descriptor: Int32(descriptor))
    }

    func connect(to endpoint: Endpoint) throws {
        _ = try Self.check(
            Int(SocketAddress(endpoint).withPointer { Glibc.connect(descriptor, $0, $1) }), "connect")
    }

    static func listening(on endpoint: Endpoint) throws -> KernelSocket {
        let new = try KernelSocket(isIPv4: endpoint.address.isIPv4)
        var on: Int32 = 1
        setsockopt(new.descriptor, SOL_SOCKET, SO_REUSEADDR, &on, 4)
        _ = try check(Int(SocketAddress(endpoint).withPointer { bind(new.descriptor, $0, $1) }), "bind")
        _ = try check(Int(listen(new.descriptor, 16)), "listen")
        return new
    }

    func accept() throws -> KernelSocket {
        KernelSocket(descriptor: Int32(try Self.check(Int(Glibc.accept(descriptor, nil, nil)), "accept")))
    }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            sent += try bytes.withUnsafeBytes { buffer in
                try Self.check(
                    Glibc.send(descriptor, buffer.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL)), "send")
            }
        }
    }

    /// Up to `maximum` bytes; none at the end of the stream.
    func receive(maximum: Int = 1 << 16) throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: maximum)
        let n = try Self.check(recv(descriptor, &buffer, maximum, 0), "recv")
        return Array(buffer[..<n])
    }

    func receiveAll() throws -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let piece = try receive()
            if piece.isEmpty { return all }
            all += piece
        }
    }

    func shutdownSending() { Glibc.shutdown(descriptor, Int32(SHUT_WR)) }

    /// The next close resets the connection.
    func lingerNot() {
        var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    }

    /// Options that were negotiated: 1 timestamps, 2 SACK, 4 window scale.
    func options() throws -> UInt32 {
        var options: UInt32 = 0
        guard ctest_tcp_options(descriptor, &options) == 0 else {
            throw Failure(errno: errno, call: "getsockopt TCP_INFO")
        }
        return options
    }
}
