// Watching a daemon's segments.
import CLinux
import ControlRecords
import Glibc

/// A capture at a daemon: pcapng comes out of `descriptor` from the daemon's answer on, until `stop` or the daemon's end. Then
/// the stream's last blocks say what was captured and what was missed.
public final class DaemonCapture: Sendable {
    /// Which segments: those of which one end is this host (nil: any) and port (0: any).
    public struct Filter: Sendable {
        /// The host; its port says nothing.
        public let host: ChisocketAddress?
        /// The port in host order.
        public let port: UInt16

        /// One with these values.
        public init(host: ChisocketAddress?, port: UInt16) {
            self.host = host
            self.port = port
        }
    }

    /// Filters at once.
    public static let maximumFilters = Int(CHITCP_FILTERS_MAX)

    /// Where pcapng comes out; closed with this object.
    public let descriptor: Int32
    /// Ending this ends the capture.
    private let control: Int32

    /// Begins a capture. Only root and the daemon's user may (EPERM).
    /// - Parameters:
    ///   - filters: at most `maximumFilters`, one of which a segment has to pass; none: all segments.
    ///   - limit: bytes of each packet that are kept, IP header included; 0: all.
    public init(
        _ filters: [Filter] = [], limit: Int32 = 0, of daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        guard filters.count <= Self.maximumFilters else {
            throw ChisocketError(errno: EINVAL, call: "capture", context: "with \(filters.count) filters")
        }
        let connection = try ControlConnection(daemon)
        var ends: [Int32] = [-1, -1]
        guard clinux_pipe(&ends) == 0 else { throw ChisocketError(errno: errno, call: "capture") }
        _ = fcntl(ends[0], F_SETFL, O_RDONLY)
        defer { close(ends[1]) }
        do throws(ChisocketError) {
            var request = chitcp_request(CHITCP_OP_CAPTURE, (limit, 0, 0, 0))
            let size = MemoryLayout<chitcp_address>.stride
            withUnsafeMutableBytes(of: &request.data) { data in
                for (index, filter) in filters.enumerated() {
                    var record = filter.host?.record ?? chitcp_address()
                    record.port = filter.port.bigEndian
                    // Bounds: the filters that there may be fit into data.
                    data.storeBytes(of: record, toByteOffset: index * size, as: chitcp_address.self)
                }
            }
            request.data_length = UInt32(filters.count * size)
            let (response, received) = try connection.exchange(
                &request, attached: ends[1], name: "capture", isInterruptible: false)
            if received >= 0 { close(received) }
            try response.check("capture", "at \(daemon)")
            // The connection is the capture's: it ends with this object.
            control = dup(connection.socket.descriptor)
            guard control >= 0 else { throw ChisocketError(errno: errno, call: "capture") }
        } catch {
            close(ends[0])
            throw error
        }
        descriptor = ends[0]
    }

    /// Has the daemon end the capture; what is on its way still comes. Safe in a signal handler.
    public func stop() { Self.stop(control) }

    /// The descriptor for `stop(_:)`.
    public var stopDescriptor: Int32 { control }

    /// What `stop` does, for signal handlers, which must not touch objects.
    public static func stop(_ descriptor: Int32) { shutdown(descriptor, Int32(SHUT_RDWR)) }

    deinit {
        stop()
        close(control)
        close(descriptor)
    }
}
