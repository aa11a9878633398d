// Real daemons on threads of this process, each in a folder and at an address of its own.
import CLinux
import Chisocket
import Daemon
import Glibc
import NetworkLayer
import Synchronization
import TCPSegments
import Testing

/// A folder under /tmp that is removed with everything in it.
final class TemporaryFolder {
    let path: String

    init() throws {
        var template = Array("/tmp/chitcpd-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The names of the files in it.
    var files: [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    deinit {
        for name in files { unlink(path + "/" + name) }
        rmdir(path)
    }
}

/// Three bytes of a loopback address, "127.x.y", that no other test of this process has, and no other process uses now.
func freshNet() -> String {
    while true {
        let number = netCounter.add(1, ordering: .relaxed).newValue
        precondition(number < 1000, "a test process has 1,000 nets of its own")
        // Processes that run at the same time begin at different places.
        let place = Int(getpid() % 31) * 1000 + number
        let net = "127.\(128 + place / 250).\(place % 250 + 1)"
        if isFree(net + ".1") { return net }
    }
}

private func isFree(_ address: String) -> Bool {
    guard let address = IPAddress(address) else { return false }
    let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(probe) }
    return SocketAddress(Endpoint(address, 23300)).withPointer { bind(probe, $0, $1) } == 0
}

private let netCounter = Atomic<Int>(0)

/// A daemon that turns on its own thread until `stop`, or until it goes.
final class TestDaemon {
    let address: String
    let path: DaemonPath
    private let signal: Daemon.StopSignal
    private var thread = pthread_t()
    private var isRunning = true

    private final class Hand {
        let daemon: Daemon
        init(_ daemon: Daemon) { self.daemon = daemon }
    }

    init(_ address: String, in folder: TemporaryFolder, _ change: (inout DaemonConfiguration) -> Void = { _ in }) throws
    {
        self.address = address
        path = DaemonPath(folder.path + "/" + address)
        var configuration = DaemonConfiguration()
        configuration.socketPath = path.path
        configuration.links.port = 23300
        configuration.links.addresses = [try #require(IPAddress(address))]
        configuration.links.maximumSegmentLifetime = .milliseconds(100)
        change(&configuration)
        // The daemon is made here, so that a failure is this thread's, and then belongs to its own thread alone.
        let daemon = try Daemon(configuration)
        signal = daemon.stopSignal
        let hand = Unmanaged.passRetained(Hand(daemon))
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Hand>.fromOpaque(argument).takeRetainedValue().daemon.run() }
                return nil
            }, hand.toOpaque())
        try #require(result == 0)
    }

    /// Ends it in order and waits for its end.
    func stop() {
        guard isRunning else { return }
        isRunning = false
        signal.stop()
        pthread_join(thread, nil)
    }

    deinit { stop() }

    /// What it has done so far.
    func totals() throws -> DaemonTotals { try DaemonControl.totals(of: path) }

    /// A chisocket that listens here.
    func listener(port: UInt16, backlog: Int32 = 16) throws -> Chisocket {
        let listener = try Chisocket.listening(on: endpoint(port), backlog: backlog, daemon: path)
        try listener.limitWaiting()
        return listener
    }

    /// A chisocket of this daemon, connected to a port of `other`.
    func connect(to other: TestDaemon, port: UInt16) throws -> Chisocket {
        let socket = try Chisocket(.ipv4, daemon: path)
        try socket.limitWaiting()
        try socket.connect(to: other.endpoint(port))
        return socket
    }

    func endpoint(_ port: UInt16) throws -> ChisocketAddress { try #require(ChisocketAddress(address, port: port)) }
}

extension Chisocket {
    /// A test that would hang fails with EAGAIN after 20 s instead.
    func limitWaiting() throws {
        try withDescriptor { descriptor throws(ChisocketError) in
            var limit = timeval(tv_sec: 20, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
        }
    }

    /// The next connection, with limited waiting.
    func acceptLimited() throws -> Chisocket {
        let new = try accept()
        try new.limitWaiting()
        return new
    }

    /// Everything up to the end of the stream.
    func receiveAll() throws -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let piece = try receive()
            if piece.isEmpty { return all }
            all += piece
        }
    }

    /// Exactly `count` bytes, or fewer at the end of the stream.
    func receive(exactly count: Int) throws -> [UInt8] {
        var all: [UInt8] = []
        while all.count < count {
            let piece = try receive(maximum: count - all.count)
            if piece.isEmpty { break }
            all += piece
        }
        return all
    }
}

/// The errno with which `body` fails, nil if it does not.
func errnoOf(_ body: () throws -> Void) -> Int32? {
    do {
        try body()
        return nil
    } catch { return (error as? ChisocketError)?.errno ?? -1 }
}

/// Bytes that differ from place to place.
func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

/// Two daemons at addresses of their own. Unchecked: only the test's own task stops them.
struct TwoHosts: @unchecked Sendable {
    let a: TestDaemon
    let b: TestDaemon
    let folder: TemporaryFolder

    init() throws {
        let net = freshNet()
        folder = try TemporaryFolder()
        a = try TestDaemon("\(net).1", in: folder)
        b = try TestDaemon("\(net).2", in: folder)
    }
}

/// Two daemons and a connection between them.
struct ConnectedPair {
    private let hosts: TwoHosts
    /// Listens in `b`.
    let listener: Chisocket
    /// In `a`, and what was accepted of it in `b`.
    let client, server: Chisocket

    var a: TestDaemon { hosts.a }
    var b: TestDaemon { hosts.b }

    init() throws {
        hosts = try TwoHosts()
        listener = try hosts.b.listener(port: 7)
        client = try hosts.a.connect(to: hosts.b, port: 7)
        server = try listener.acceptLimited()
    }
}
