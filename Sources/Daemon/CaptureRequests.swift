// Requests of those who want to see the segments.
import ControlRecords
import Glibc
import NetworkLayer
import TCPSegments

extension ControlSession {
    /// From now on, until the connection ends, segments go into the pipe that came along.
    func beginCapture(_ request: chitcp_request, passed: inout Int32) {
        guard credentials.mayCapture else {
            fail(request, EPERM)
            return
        }
        guard capture == nil, passed >= 0, isWritingEndOfPipe(passed), request.argument.0 >= 0,
            let filters = filters(in: request)
        else {
            fail(request, EINVAL)
            return
        }
        let keep = request.argument.0
        // The writer waits with poll(2) for a reader that is behind, and not in write(2).
        _ = fcntl(passed, F_SETFL, O_WRONLY | O_NONBLOCK)
        let begun = LiveCapture(
            descriptor: passed, filters: filters, limit: keep == 0 ? nil : Int(keep), time: wallClock())
        passed = -1
        guard daemon.begin(begun) else {
            begun.finish()
            fail(request, EBUSY)
            return
        }
        capture = begun
        daemon.log.info("process \(credentials.pid) captures segments")
        respond(to: request)
    }

    private func isWritingEndOfPipe(_ descriptor: Int32) -> Bool {
        var status = stat()
        let flags = fcntl(descriptor, F_GETFL)
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO && flags >= 0
            && flags & O_ACCMODE != O_RDONLY
    }

    /// Nil if they are none.
    private func filters(in request: chitcp_request) -> [LiveCapture.Filter]? {
        let size = MemoryLayout<chitcp_address>.stride
        let length = Int(request.data_length)
        guard length.isMultiple(of: size), length / size <= Int(CHITCP_FILTERS_MAX) else { return nil }
        var filters: [LiveCapture.Filter] = []
        for index in 0..<length / size {
            // Bounds: data_length is at most the size of data, as every request's.
            let record = withUnsafeBytes(of: request.data) {
                $0.loadUnaligned(fromByteOffset: index * size, as: chitcp_address.self)
            }
            let port = UInt16(bigEndian: record.port)
            if record.family == 0 {
                filters.append(LiveCapture.Filter(address: nil, port: port))
            } else {
                guard let endpoint = endpoint(of: record) else { return nil }
                filters.append(LiveCapture.Filter(address: endpoint.address, port: port))
            }
        }
        return filters
    }
}
