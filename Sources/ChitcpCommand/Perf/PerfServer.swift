// The server of `chitcp perf`: one client after another, each connection's first byte says what it is for.
import Glibc
import TCPSegments

/// What a connection is for: its first byte.
enum PerfMode: UInt8 {
    /// Everything comes back, this byte included.
    case echo = 0x45
    /// Everything is counted; after the end of the stream the count comes back, 8 bytes, little-endian.
    case sink = 0x53
    /// A 4-byte little-endian count follows. The server takes that many further connections, sends the byte that each brings
    /// back, and keeps them until this connection ends.
    case idle = 0x49
}

/// Serves measurements of one client at a time.
struct PerfServer {
    let sockets: any StreamSockets
    let listener: Int32
    /// A client that says nothing for so long loses its connection, and the next one is served.
    private static let patience = 30
    private static let maximumIdle = 1_000_000
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)

    init(sockets: any StreamSockets, listener: Int32) {
        self.sockets = sockets
        self.listener = listener
    }

    /// Serves until accepting fails.
    func run() throws {
        while true {
            let stream = try sockets.accept(listener)
            serve(stream)
            close(stream)
        }
    }

    private func serve(_ stream: Int32) {
        limitWaiting(on: stream, seconds: Self.patience)
        let n = readSome(stream, buffer)
        guard n > 0, let mode = PerfMode(rawValue: buffer[0]) else { return }
        switch mode {
        case .echo: echo(stream, first: n)
        case .sink: sink(stream, first: n - 1)
        case .idle: hold(stream, first: n)
        }
    }

    private func echo(_ stream: Int32, first: Int) {
        var n = first
        while n > 0 {
            guard writeAll(stream, UnsafeRawBufferPointer(rebasing: buffer[..<n])) else { return }
            n = readSome(stream, buffer)
        }
    }

    private func sink(_ stream: Int32, first: Int) {
        var total = UInt64(first)
        while true {
            let n = readSome(stream, buffer)
            if n < 0 { return }
            if n == 0 { break }
            total += UInt64(n)
        }
        var answer = total.littleEndian
        _ = withUnsafeBytes(of: &answer) { writeAll(stream, $0) }
    }

    private func hold(_ stream: Int32, first: Int) {
        var have = first
        while have < 5 {
            let n = readSome(stream, UnsafeMutableRawBufferPointer(rebasing: buffer[have...]))
            guard n > 0 else { return }
            have += n
        }
        let wanted = Int(UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
        guard wanted <= Self.maximumIdle else { return }
        var held: [Int32] = []
        defer { for descriptor in held { close(descriptor) } }
        while held.count < wanted {
            guard let next = try? sockets.accept(listener) else { return }
            held.append(next)
            limitWaiting(on: next, seconds: Self.patience)
            let byte = UnsafeMutableRawBufferPointer(rebasing: buffer[..<1])
            guard readAll(next, byte), writeAll(next, UnsafeRawBufferPointer(byte)) else { return }
        }
        limitWaiting(on: stream, seconds: 0)
        while readSome(stream, buffer) > 0 {}
    }
}

/// Reads and writes that wait longer than `seconds` fail with EAGAIN; 0: they wait for ever.
func limitWaiting(on stream: Int32, seconds: Int) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
        setsockopt(stream, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
}

/// As many descriptors as the system allows this process.
func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}
