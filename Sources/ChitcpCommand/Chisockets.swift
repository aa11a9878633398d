// Streams of chitcpd's TCP as descriptors.
import Chisocket
import Glibc
import TCPSegments

/// The TCP of the daemon that CHITCPD_SOCK names.
struct Chisockets: StreamSockets {
    let name = "chitcp"
    private let daemon: DaemonPath

    /// The daemon at `path`, or where CHITCPD_SOCK says.
    init(daemon path: String? = nil) { daemon = path.map { DaemonPath($0) } ?? .standard }

    func connect(to endpoint: Endpoint, noDelay: Bool) throws -> Int32 {
        let made = try Chisocket(endpoint.address.isIPv4 ? .ipv4 : .ipv6, daemon: daemon)
        if noDelay { try made.set(.noDelay, to: true) }
        try made.connect(to: try address(of: endpoint))
        return try made.releaseDescriptor()
    }

    func listen(on endpoint: Endpoint, backlog: Int32) throws -> Int32 {
        try Chisocket.listening(on: try address(of: endpoint), backlog: backlog, daemon: daemon).releaseDescriptor()
    }

    func accept(_ listener: Int32) throws -> Int32 {
        while true {
            do throws(ChisocketError) {
                return try DescriptorCalls.accept(listener, closeOnExec: true, daemon: daemon).descriptor
            } catch {
                if error.errno != EINTR { throw error }
            }
        }
    }

    private func address(of endpoint: Endpoint) throws -> ChisocketAddress {
        guard let address = endpoint.withSocketAddress({ ChisocketAddress($0, length: $1) }) else {
            preconditionFailure("an endpoint is an IPv4 or IPv6 address")
        }
        return address
    }
}
