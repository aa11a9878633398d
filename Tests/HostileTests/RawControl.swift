// A client of the control socket that sends what it pleases.
import CLinux
import ControlRecords
import Glibc
import TCPSegments

/// A connection to a daemon's control socket.
final class RawControl {
    private(set) var descriptor: Int32
    private var lastCall: UInt64 = 0

    convenience init(_ daemon: DaemonProcess) throws { try self.init(path: daemon.path.controlPath) }

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array(path.utf8)
        guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { throw Failure("a long path") }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        for option in [SO_SNDTIMEO, SO_RCVTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let error = errno
            // All is initialised, so the descriptor is closed by `deinit`.
            throw Failure("cannot reach the control socket: \(String(cString: strerror(error)))")
        }
    }

    deinit { close() }

    func close() {
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        descriptor = -1
    }

    /// Sends bytes as one packet, with descriptors attached; false if the daemon takes no more.
    @discardableResult
    func send(_ bytes: [UInt8], passing descriptors: [Int32] = []) -> Bool {
        var bytes = bytes
        // struct cmsghdr: the length with the header's 16 bytes, the level, and the type.
        let words = 4 + (descriptors.count + 1) / 2 * 2
        var control = [Int32](repeating: 0, count: words)
        control[0] = Int32(16 + 4 * descriptors.count)
        control[2] = SOL_SOCKET
        control[3] = 1
        for (i, descriptor) in descriptors.enumerated() { control[4 + i] = descriptor }
        let sent = bytes.withUnsafeMutableBytes { buffer in
            control.withUnsafeMutableBytes { control in
                var vector = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
                return withUnsafeMutablePointer(to: &vector) { vector in
                    var message = msghdr()
                    message.msg_iov = vector
                    message.msg_iovlen = 1
                    if !descriptors.isEmpty {
                        message.msg_control = control.baseAddress
                        message.msg_controllen = control.count
                    }
                    return sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
                }
            }
        }
        return sent == bytes.count
    }

    @discardableResult
    func send(_ request: chitcp_request, passing descriptors: [Int32] = []) -> Bool {
        send(withUnsafeBytes(of: request) { Array($0) }, passing: descriptors)
    }

    /// The next answer and the descriptor that came with it; nil if the daemon has closed the connection.
    func receive() -> (response: chitcp_response, descriptor: Int32)? {
        var response = chitcp_response()
        var received: Int32 = -1
        let count = clinux_receive_descriptor(
            descriptor, &response, MemoryLayout<chitcp_response>.size, &received, 0)
        return count == MemoryLayout<chitcp_response>.size ? (response, received) : nil
    }

    /// A request with this operation.
    func request(
        _ operation: chitcp_operation, socket: UInt64 = 0, _ a: Int32 = 0, _ b: Int32 = 0, _ c: Int32 = 0,
        address: chitcp_address = chitcp_address(), data: [UInt8] = []
    ) -> chitcp_request {
        lastCall += 1
        var request = chitcp_request()
        request.magic = CHITCP_CONTROL_MAGIC
        request.operation = operation.rawValue
        request.call = lastCall
        request.socket_id = socket
        request.argument = (a, b, c, 0)
        request.address = address
        request.data_length = UInt32(data.count)
        withUnsafeMutableBytes(of: &request.data) { $0.copyBytes(from: data.prefix($0.count)) }
        return request
    }

    /// Sends a request and returns the errno of its answer, 0 for success; a descriptor that comes along is closed.
    func error(of request: chitcp_request, passing descriptors: [Int32] = []) throws -> Int32 {
        send(request, passing: descriptors)
        guard let (response, descriptor) = receive() else { throw Failure("no answer to \(request.operation)") }
        if descriptor >= 0 { Glibc.close(descriptor) }
        return response.error
    }

    /// Makes a chisocket: its id and its descriptor, which the caller closes.
    func makeSocket() throws -> (id: UInt64, descriptor: Int32) {
        send(request(CHITCP_OP_SOCKET, AF_INET, Int32(SOCK_STREAM.rawValue)))
        guard let (response, descriptor) = receive(), response.result >= 0, descriptor >= 0 else {
            throw Failure("no socket")
        }
        return (response.socket_id, descriptor)
    }

    func requireClosed() throws {
        for _ in 0..<1000 { if receive() == nil { return } }
        throw Failure("the daemon did not close the control connection")
    }
}

/// An address as records carry it.
func controlAddress(_ text: String, port: UInt16, family: Int32 = AF_INET) -> chitcp_address {
    var record = chitcp_address()
    record.family = UInt16(truncatingIfNeeded: family)
    record.port = port.bigEndian
    guard let address = IPAddress(text) else { return record }
    withUnsafeMutableBytes(of: &record.bytes) {
        $0.storeBytes(of: address.high.bigEndian, as: UInt64.self)
        $0.storeBytes(of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    return record
}
