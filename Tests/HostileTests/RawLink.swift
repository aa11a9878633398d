// The attacker's real TCP connection to a daemon: bytes, frames and segments as it pleases.
import CLinux
import Glibc
import NetworkLayer
import TCPSegments

/// A real connection to a daemon's port, from an address of the attacker's choice.
final class RawLink {
    let local: IPAddress
    let remote: IPAddress
    private(set) var descriptor: Int32
    private var received: [UInt8] = []

    init(from local: String, to remote: String, port: UInt16 = 23300) throws {
        guard let here = IPAddress(local), let there = IPAddress(remote) else { throw Failure("no address") }
        self.local = here
        self.remote = there
        descriptor = socket(AF_INET, streamSocket, 0)
        guard descriptor >= 0 else { throw Failure("socket: errno \(errno)") }
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard SocketAddress(Endpoint(here, 0)).withPointer({ bind(descriptor, $0, $1) }) == 0,
            SocketAddress(Endpoint(there, port)).withPointer({ connect(descriptor, $0, $1) }) == 0
        else {
            let error = errno
            // All is initialised, so the descriptor is closed by `deinit`.
            throw Failure("cannot reach \(remote):\(port): \(String(cString: strerror(error)))")
        }
    }

    deinit { close() }

    /// Ends it in order, or with a reset.
    func close(resetting: Bool = false) {
        guard descriptor >= 0 else { return }
        if resetting {
            var off = linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &off, socklen_t(MemoryLayout<linger>.size))
        }
        Glibc.close(descriptor)
        descriptor = -1
    }

    func shutdownSending() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    // MARK: Out

    /// Sends bytes; false if the daemon has closed the connection, or takes no more.
    @discardableResult
    func send(_ bytes: [UInt8], flags: Int32 = 0) -> Bool {
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count, let base = buffer.baseAddress {
                let n = Glibc.send(descriptor, base + done, buffer.count - done, Int32(MSG_NOSIGNAL) | flags)
                if n < 0, errno == EINTR { continue }
                guard n > 0 else { return false }
                done += n
            }
            return true
        }
    }

    /// Sends a frame with any bytes as its segment.
    @discardableResult
    func send(frame segment: [UInt8]) -> Bool { send(frameBytes(segment)) }

    @discardableResult
    func send(_ header: SegmentHeader, _ payload: [UInt8] = []) -> Bool { send(frame: segmentBytes(header, payload)) }

    // MARK: In

    /// The next segment, or nil if none comes in time or the connection has ended.
    func receive(within limit: TimeInterval = .seconds(20)) -> (header: SegmentHeader, payload: [UInt8])? {
        let end = monotonicNow() + limit
        while true {
            if let segment = takeSegment() { return segment }
            guard fill(until: end) else { return nil }
        }
    }

    /// The first segment that `matches`; others are dropped.
    func receive(
        within limit: TimeInterval = .seconds(20), _ matches: (SegmentHeader, [UInt8]) -> Bool
    ) -> (header: SegmentHeader, payload: [UInt8])? {
        let end = monotonicNow() + limit
        while let segment = receive(within: end - monotonicNow()) {
            if matches(segment.header, segment.payload) { return segment }
        }
        return nil
    }

    private func takeSegment() -> (header: SegmentHeader, payload: [UInt8])? {
        while received.count >= 16 {
            let length = Int(received[0]) << 8 | Int(received[1])
            guard received.count >= 16 + length else { return nil }
            let segment = Array(received[16..<(16 + length)])
            received.removeFirst(16 + length)
            let decoded = segment.withUnsafeBytes { try? SegmentDecoder.decode($0) }
            if let (header, offset) = decoded { return (header, Array(segment[offset...])) }
        }
        return nil
    }

    private func fill(until end: Instant) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        let left = max(0, (end - monotonicNow()).nanoseconds / 1_000_000)
        guard poll(&entry, 1, Int32(clamping: left)) > 0 else { return false }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return false }
        received += buffer[..<count]
        return true
    }

    /// True if the daemon closes this connection in time.
    func isClosed(within limit: TimeInterval = .seconds(20)) -> Bool {
        let end = monotonicNow() + limit
        while monotonicNow() < end {
            if !fill(until: end) { return monotonicNow() < end }
            received = []
        }
        return false
    }

    func requireClosed() throws {
        guard isClosed() else { throw Failure("the daemon did not close the connection") }
    }

    /// Returns when the daemon has seen to everything sent so far: its reset of a stray ACK answers last.
    func settle() throws {
        let mark = SequenceNumber(0x5E77_1E00 &+ UInt32(truncatingIfNeeded: monotonicNow().nanoseconds / 1000))
        send(
            SegmentHeader(
                sourcePort: 1, destinationPort: 1, sequenceNumber: SequenceNumber(0), acknowledgmentNumber: mark,
                controlBits: .ack))
        guard receive({ header, _ in header.controlBits.contains(.rst) && header.sequenceNumber == mark }) != nil
        else { throw Failure("the daemon does not answer this connection any more") }
    }
}

/// A frame with these bytes as its segment.
func frameBytes(_ segment: [UInt8]) -> [UInt8] {
    frameHeader(length: segment.count) + segment
}

/// A frame's header, with any of its fields wrong.
func frameHeader(length: Int, protocol number: UInt8 = 1, flags: UInt8 = 0, reserved: UInt8 = 0) -> [UInt8] {
    [UInt8(length >> 8 & 0xFF), UInt8(length & 0xFF), number, flags] + [UInt8](repeating: reserved, count: 12)
}

/// A segment's bytes.
func segmentBytes(_ header: SegmentHeader, _ payload: [UInt8] = []) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 60)
    let length = bytes.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map { header.encode(into: $0) } ?? 0
    }
    return bytes[..<length] + payload
}

/// A segment whose options are these bytes, right or wrong, padded with zeros to a multiple of four.
func segmentBytes(_ header: SegmentHeader, options: [UInt8], _ payload: [UInt8] = []) -> [UInt8] {
    var plain = header
    plain.options = TCPOptions()
    var bytes = segmentBytes(plain)
    bytes += options
    while bytes.count % 4 != 0 { bytes.append(0) }
    bytes[12] = UInt8(bytes.count / 4) << 4 | bytes[12] & 0x0F
    return bytes + payload
}
