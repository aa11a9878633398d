// The measurements of `chitcp perf`: what the client does over streams of either kind.
import Glibc
import TCPSegments

/// Who is measured: streams of one kind to one server.
struct PerfTarget {
    let sockets: any StreamSockets
    let server: Endpoint
    /// Processes to place together with this one: server and daemons, where they are ours.
    var processes: [pid_t] = []
}

/// Round-trip times of one run, in nanoseconds.
struct RoundTrips: Sendable {
    private let sorted: [Int64]

    init(_ times: [Int64]) { sorted = times.sorted() }

    var count: Int { sorted.count }

    /// The time below which `share` of the round trips lie.
    func percentile(_ share: Double) -> Double {
        guard let last = sorted.indices.last else { return .nan }
        return Double(sorted[min(last, Int(Double(sorted.count) * share))])
    }
}

/// Connections per second: over the whole run, and in its slowest full second.
struct ConnectionRate: Sendable {
    let average: Double
    let slowestSecond: Double
}

/// The client's side of each measurement. Waiting longer than 20 s for anything is an error.
struct PerfClient {
    let target: PerfTarget
    let seconds: Double
    private static let patience = 20

    private var nanoseconds: Int64 { Int64(seconds * 1e9) }

    /// Bytes per second of application data, from the first write until the server has read the last byte.
    func bulk(writeSize: Int, progress: inout Progress) throws -> Double {
        let stream = try open(.sink)
        defer { close(stream) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: writeSize, alignment: 4096)
        buffer.initializeMemory(as: UInt8.self, repeating: 0x5A)
        defer { buffer.deallocate() }
        let start = monotonicNow()
        var sent: UInt64 = 0
        while monotonicNow() - start < nanoseconds {
            guard writeAll(stream, UnsafeRawBufferPointer(buffer)) else { throw stopped("sending", after: sent) }
            sent += UInt64(writeSize)
            let so = Double(sent) / Double(max(1, monotonicNow() - start))
            progress.show("bulk, \(target.sockets.name): \(fixed(so, 2)) GB/s")
        }
        guard shutdown(stream, Int32(SHUT_WR)) == 0 else { throw stopped("sending", after: sent) }
        var answer: UInt64 = 0
        guard withUnsafeMutableBytes(of: &answer, { readAll(stream, $0) }) else {
            throw stopped("receiving", after: sent)
        }
        let elapsed = max(1, monotonicNow() - start)
        guard UInt64(littleEndian: answer) == sent else {
            throw CommandError("the server counted \(UInt64(littleEndian: answer)) of \(sent) bytes")
        }
        return Double(sent) / Double(elapsed) * 1e9
    }

    /// Messages of `size` bytes there and back, one at a time.
    func pingPong(size: Int, placement: Placement, progress: inout Progress) throws -> RoundTrips {
        try placement.apply(to: target.processes) {
            let stream = try open(.echo)
            defer { close(stream) }
            let message = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
            message.initializeMemory(as: UInt8.self, repeating: 0x5A)
            defer { message.deallocate() }
            guard readAll(stream, UnsafeMutableRawBufferPointer(rebasing: message[..<1])) else {
                throw stopped("receiving", after: 0)
            }
            var times: [Int64] = []
            times.reserveCapacity(1 << 17)
            let start = monotonicNow()
            var before = start
            while before - start < nanoseconds {
                guard writeAll(stream, UnsafeRawBufferPointer(message)), readAll(stream, message) else {
                    throw stopped("a round trip", after: UInt64(times.count * size))
                }
                let now = monotonicNow()
                times.append(now - before)
                before = now
                progress.show(
                    "ping-pong, \(placement.rawValue), \(target.sockets.name): \(grouped(UInt64(times.count))) round trips"
                )
            }
            return RoundTrips(times)
        }
    }

    /// Connect, one byte there and back, close; one connection after another.
    func connectionRate(placement: Placement, progress: inout Progress) throws -> ConnectionRate {
        try placement.apply(to: target.processes) { try connectionRate(progress: &progress) }
    }

    private func connectionRate(progress: inout Progress) throws -> ConnectionRate {
        var count: UInt64 = 0
        var countBefore: UInt64 = 0
        var perSecond: [UInt64] = []
        let start = monotonicNow()
        var now = start
        while now - start < nanoseconds {
            let stream = try open(.echo, noDelay: false)
            defer { close(stream) }
            var byte: UInt8 = 0
            guard withUnsafeMutableBytes(of: &byte, { readAll(stream, $0) }), byte == PerfMode.echo.rawValue else {
                throw CommandError("connection \(count + 1) brought its byte not back", errno: errno)
            }
            count += 1
            now = monotonicNow()
            if (now - start) / 1_000_000_000 > perSecond.count {
                perSecond.append(count - countBefore)
                countBefore = count
            }
            progress.show("connections, \(target.sockets.name): \(grouped(count))")
        }
        let average = Double(count) / Double(max(1, now - start)) * 1e9
        return ConnectionRate(average: average, slowestSecond: perSecond.min().map { Double($0) } ?? average)
    }

    /// Opens `count` connections, each of which carries a byte there and back; calls `body` while all are idle, and closes
    /// them.
    func whileIdle<R>(_ count: Int, progress: inout Progress, _ body: () throws -> R) throws -> R {
        let control = try open(.idle)
        defer { close(control) }
        var wanted = UInt32(count).littleEndian
        guard withUnsafeBytes(of: &wanted, { writeAll(control, $0) }) else { throw stopped("sending", after: 1) }
        var streams: [Int32] = []
        defer { for stream in streams { close(stream) } }
        while streams.count < count {
            let stream = try target.sockets.connect(to: target.server, noDelay: false)
            streams.append(stream)
            limitWaiting(on: stream, seconds: Self.patience)
            var byte = PerfMode.idle.rawValue
            let came = withUnsafeMutableBytes(of: &byte) {
                writeAll(stream, UnsafeRawBufferPointer($0)) && readAll(stream, $0)
            }
            guard came else {
                throw CommandError("idle connection \(streams.count) did not bring its byte back", errno: errno)
            }
            progress.show(
                "idle, \(target.sockets.name): \(grouped(UInt64(streams.count))) of \(grouped(UInt64(count)))")
        }
        return try body()
    }

    /// A stream to the server, which has been told what it is for.
    private func open(_ mode: PerfMode, noDelay: Bool = true) throws -> Int32 {
        let stream = try target.sockets.connect(to: target.server, noDelay: noDelay)
        limitWaiting(on: stream, seconds: Self.patience)
        var byte = mode.rawValue
        guard withUnsafeBytes(of: &byte, { writeAll(stream, $0) }) else {
            let code = errno
            close(stream)
            throw CommandError("cannot write to \(text(of: target.server))", errno: code)
        }
        return stream
    }

    private func stopped(_ what: String, after bytes: UInt64) -> CommandError {
        errno == EAGAIN
            ? CommandError("\(what) stood still for \(Self.patience) s after \(bytes) bytes")
            : CommandError("\(what) failed after \(bytes) bytes", errno: errno)
    }
}
