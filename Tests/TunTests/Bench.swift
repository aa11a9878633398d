// A namespace with a TUN device, the kernel's TCP at one end and a daemon at the other.
import Chisocket
import Daemon
import Glibc
import NetworkLayer
import TCPSegments
import TestSupport
import Testing

/// A namespace with a TUN device: the kernel's end and a daemon at the other.
final class Bench {
    let namespace: NetworkNamespace
    let path: DaemonPath
    private let signal: Daemon.StopSignal
    private var thread = pthread_t()
    private var nextPort: UInt16 = 7
    private var isRunning = true
    let folder: String

    static let kernel4 = IPAddress(10, 77, 0, 1), daemon4 = IPAddress(10, 77, 0, 2)
    static let kernel6 = IPAddress(high: 0xfd77 << 48, low: 1), daemon6 = IPAddress(high: 0xfd77 << 48, low: 2)

    private struct Hand: @unchecked Sendable {
        // @unchecked Sendable: it is handed on, never used on two threads at once.
        let daemon: Daemon
    }

    /// `commands` are the shell's, in the namespace.
    init(
        mtu: Int = 1500, capture: Bool = false, commands: String = "",
        _ configure: @escaping @Sendable (inout DaemonConfiguration) -> Void = { _ in }
    ) throws {
        namespace = try NetworkNamespace()
        var template = Array("/tmp/chitcpd-tun-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let folder = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.folder = folder
        path = DaemonPath(folder + "/daemon")
        let networks = [IPPrefix(Self.daemon4, length: 24), IPPrefix(Self.daemon6, length: 64)].compactMap { $0 }
        let socketPath = path.path
        let hand = try namespace.run {
            var configuration = DaemonConfiguration()
            configuration.socketPath = socketPath
            configuration.usesFrames = false
            var tun = TunConfiguration(name: "tun0", addresses: networks)
            tun.mtu = mtu
            tun.routes = [IPPrefix("0.0.0.0/0")].compactMap { $0 }
            configuration.tun = tun
            if capture { configuration.capturePath = folder + "/capture.pcap" }
            configure(&configuration)
            let daemon = try Daemon(configuration)
            try command(
                """
                ip link set lo up
                ip addr add 10.77.0.1/24 dev tun0
                ip addr add fd77::1/64 dev tun0 nodad
                echo 1 > /proc/sys/net/ipv4/ip_forward
                """ + "\n" + commands)
            return Hand(daemon: daemon)
        }
        signal = hand.daemon.stopSignal
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Daemon>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, Unmanaged.passRetained(hand.daemon).toOpaque())
        try #require(result == 0)
    }

    /// Ends the daemon, and with it what it captures.
    func stop() {
        guard isRunning else { return }
        isRunning = false
        signal.stop()
        pthread_join(thread, nil)
    }

    deinit {
        stop()
        for name in ["daemon", "daemon.control", "capture.pcap"] { unlink(folder + "/" + name) }
        rmdir(folder)
    }

    func chisocket(isIPv4: Bool) throws -> Chisocket {
        let new = try Chisocket(isIPv4 ? .ipv4 : .ipv6, daemon: path)
        try limit(new)
        return new
    }

    /// Calls that would hang fail after 30 s.
    func limit(_ socket: Chisocket) throws {
        try socket.withDescriptor { descriptor throws(ChisocketError) in
            var limit = timeval(tv_sec: 30, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
        }
    }

    func address(_ address: IPAddress, _ port: UInt16) throws -> ChisocketAddress {
        try #require(ChisocketAddress("\(address)", port: port))
    }

    /// A connection between the kernel and a program on our TCP; the kernel connects, or is connected to.
    func connected(kernelConnects: Bool, isIPv4: Bool) throws -> (kernel: KernelSocket, ours: Chisocket) {
        // A program that another test is just starting may hold a copy of a closed listener: each has a port of its own.
        let port = nextPort
        nextPort += 1
        let kernel = isIPv4 ? Self.kernel4 : Self.kernel6
        let daemon = isIPv4 ? Self.daemon4 : Self.daemon6
        if kernelConnects {
            let listener = try Chisocket.listening(on: address(daemon, port), backlog: 16, daemon: path)
            try limit(listener)
            let peer = try namespace.run {
                let socket = try KernelSocket(isIPv4: isIPv4)
                try socket.connect(to: Endpoint(daemon, port))
                return socket
            }
            let ours = try listener.accept()
            try limit(ours)
            return (peer, ours)
        }
        let listener = try namespace.run { try KernelSocket.listening(on: Endpoint(kernel, port)) }
        let ours = try chisocket(isIPv4: isIPv4)
        try ours.connect(to: address(kernel, port))
        return (try listener.accept(), ours)
    }
}

/// Bytes that differ from place to place.
func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

extension Chisocket {
    /// Everything up to the end of the stream.
    func receiveAll() throws -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let piece = try receive()
            if piece.isEmpty { return all }
            all += piece
        }
    }
}

/// `there` from the kernel's program to ours and `back` the other way, at once; each end closes its side, and every byte is right.
func exchange(_ there: [UInt8], _ back: [UInt8], _ kernel: KernelSocket, _ ours: Chisocket) throws {
    let threads = [
        Background {
            try kernel.send(there)
            kernel.shutdownSending()
        },
        Background {
            try ours.send(back)
            try ours.shutdown(.sending)
        },
        Background {
            let all = try kernel.receiveAll()
            #expect(all == back)
        },
    ]
    #expect(try ours.receiveAll() == there)
    for thread in threads { #expect(thread.join() == nil) }
}

/// The errno with which `body` fails, nil if it does not.
func errnoOf(_ body: () throws -> Void) -> Int32? {
    do {
        try body()
        return nil
    } catch { return (error as? ChisocketError)?.errno ?? (error as? KernelSocket.Failure)?.errno ?? -1 }
}
