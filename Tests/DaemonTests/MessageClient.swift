// A client of chiTCP's protocol, one message at a time.
import Daemon
import DaemonProtocol
import FoundationEssentials
import Glibc
import NetworkLayer
import TCPSegments
import Testing

/// A call that failed, with its errno.
struct CallError: Error, Equatable, CustomStringConvertible {
    let errno: Int32
    var description: String { String(cString: strerror(errno)) }
}

/// The daemon does not take or give bytes.
struct BrokenConnection: Error {
    let attempt: String
    let errno: Int32
}

/// A connection to the daemon's UNIX stream socket.
final class MessageClient: @unchecked Sendable {
    // @unchecked Sendable: a test hands it from thread to thread and never uses it on two at once.

    private let descriptor: Int32
    private var frames = MessageFrames()

    /// Connects, and says INIT as an application's thread does unless `greets` is false.
    init(_ daemon: TestDaemon, greets: Bool = true) throws {
        descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        limitWaiting()
        try connectUnix(descriptor, daemon.path.path)
        if greets { try greet() }
    }

    /// Takes over a stream socket that leads to the daemon, and says INIT.
    init(over descriptor: Int32) throws {
        self.descriptor = descriptor
        limitWaiting()
        try greet()
    }

    /// A test that would hang fails after 60 s instead.
    private func limitWaiting() {
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    private func greet() throws {
        let answer = try call(.init_) { $0.initArgs.connectionType = .commandConnection }
        try #require(answer.ret == 0 && answer.errorCode == 0)
    }

    deinit { hangUp() }

    private var isOpen = true

    /// Ends the connection without a word.
    func hangUp() {
        if isOpen { Glibc.close(descriptor) }
        isOpen = false
    }

    // MARK: Messages

    func write(_ bytes: [UInt8]) throws {
        var written = 0
        while written < bytes.count {
            let n = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + written, bytes.count - written, Int32(MSG_NOSIGNAL))
            }
            guard n > 0 else { throw BrokenConnection(attempt: "write", errno: errno) }
            written += n
        }
    }

    func send(_ message: ChitcpdMsg) throws { try write(MessageFrames.encode(message)) }

    func send(_ code: ChitcpdMsgCode, _ fill: (inout ChitcpdMsg) -> Void) throws {
        var message = ChitcpdMsg()
        message.code = code
        fill(&message)
        try send(message)
    }

    /// The next message, or nil at the end of the stream.
    func receive() throws -> ChitcpdMsg? {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            if let message = try frames.next() { return message }
            let n = recv(descriptor, &buffer, buffer.count, 0)
            if n == 0 || (n < 0 && errno == ECONNRESET) { return nil }
            guard n > 0 else { throw BrokenConnection(attempt: "read", errno: errno) }
            buffer.withUnsafeBytes { frames.append(UnsafeRawBufferPointer(rebasing: $0[..<n])) }
        }
    }

    /// Whether bytes of an answer are there already.
    var hasAnswer: Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) > 0
    }

    /// The next message, which must be an answer.
    func answer() throws -> ChitcpdResp {
        guard let message = try receive() else { throw BrokenConnection(attempt: "end of the stream", errno: 0) }
        guard message.code == .resp else { throw BrokenConnection(attempt: "an answer, not \(message.code)", errno: 0) }
        return message.resp
    }

    /// A call and its answer, as they are.
    func call(_ code: ChitcpdMsgCode, _ fill: (inout ChitcpdMsg) -> Void = { _ in }) throws -> ChitcpdResp {
        try send(code, fill)
        return try answer()
    }

    /// A call that must succeed.
    @discardableResult
    private func succeed(_ code: ChitcpdMsgCode, _ fill: (inout ChitcpdMsg) -> Void) throws -> ChitcpdResp {
        let answer = try call(code, fill)
        guard answer.ret >= 0 else { throw CallError(errno: answer.errorCode) }
        #expect(answer.errorCode == 0)
        return answer
    }

    // MARK: Calls

    func socket(domain: Int32 = AF_INET, type: Int32 = Int32(SOCK_STREAM.rawValue), protocol number: Int32 = 0) throws
        -> Int32
    {
        try succeed(.socket) {
            $0.socketArgs.domain = domain
            $0.socketArgs.type = type
            $0.socketArgs.protocol = number
        }.ret
    }

    func bind(_ socket: Int32, _ address: Data) throws {
        try succeed(.bind) {
            $0.bindArgs.sockfd = socket
            $0.bindArgs.addr = address
        }
    }

    func listen(_ socket: Int32, backlog: Int32 = 8) throws {
        try succeed(.listen) {
            $0.listenArgs.sockfd = socket
            $0.listenArgs.backlog = backlog
        }
    }

    func connect(_ socket: Int32, _ address: Data) throws {
        try succeed(.connect) {
            $0.connectArgs.sockfd = socket
            $0.connectArgs.addr = address
        }
    }

    func accept(_ socket: Int32) throws -> (socket: Int32, peer: Data) {
        let answer = try succeed(.accept) { $0.acceptArgs.sockfd = socket }
        return (answer.ret, answer.addr)
    }

    @discardableResult
    func send(_ socket: Int32, _ bytes: [UInt8]) throws -> Int32 {
        try succeed(.send) {
            $0.sendArgs.sockfd = socket
            $0.sendArgs.flags = 0
            $0.sendArgs.buf = Data(bytes)
        }.ret
    }

    /// Bytes, or nothing at the end of the stream.
    func receive(_ socket: Int32, atMost length: Int32 = 65_536) throws -> [UInt8] {
        let answer = try succeed(.recv) {
            $0.recvArgs.sockfd = socket
            $0.recvArgs.flags = 0
            $0.recvArgs.len = length
        }
        #expect(Int(answer.ret) == answer.buf.count)
        #expect(answer.hasBuf == (answer.ret > 0), "an empty answer has no buf")
        return [UInt8](answer.buf)
    }

    /// Exactly `count` bytes, or fewer at the end of the stream.
    func receive(_ socket: Int32, exactly count: Int, pieces: Int32 = 65_536) throws -> [UInt8] {
        var all: [UInt8] = []
        while all.count < count {
            let piece = try receive(socket, atMost: min(pieces, Int32(count - all.count)))
            if piece.isEmpty { break }
            all += piece
        }
        return all
    }

    /// Everything up to the end of the stream.
    func receiveAll(_ socket: Int32) throws -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let piece = try receive(socket)
            if piece.isEmpty { return all }
            all += piece
        }
    }

    func close(_ socket: Int32) throws { try succeed(.close) { $0.closeArgs.sockfd = socket } }

    func state(_ socket: Int32) throws -> ChitcpdSocketState {
        try succeed(.getSocketState) { $0.getSocketStateArgs.sockfd = socket }.socketState
    }

    func buffers(_ socket: Int32) throws -> ChitcpdSocketBufferContents {
        try succeed(.getSocketBufferContents) { $0.getSocketBufferContentsArgs.sockfd = socket }.socketBufferContents
    }

    func wait(_ socket: Int32, for state: TCPState) throws {
        try succeed(.waitForState) {
            $0.waitForStateArgs.sockfd = socket
            $0.waitForStateArgs.tcpState = state.rawValue
        }
    }

    /// A socket that listens at the daemon's address.
    func listener(_ daemon: TestDaemon, port: UInt16, backlog: Int32 = 8) throws -> Int32 {
        let new = try socket()
        try bind(new, daemon.sockaddr(port))
        try listen(new, backlog: backlog)
        return new
    }
}

/// chiTCP's numbers of the states.
enum TCPState: Int32 {
    case closed, listen, synReceived, synSent, established, finWait1, finWait2, closeWait, closing, timeWait, lastAck
}

extension TestDaemon {
    /// The daemon's address as a struct sockaddr_in.
    func sockaddr(_ port: UInt16) throws -> Data {
        sockaddrBytes(Endpoint(try #require(IPAddress(address)), port))
    }
}

/// A struct sockaddr_in or sockaddr_in6 as it lies in memory.
func sockaddrBytes(_ endpoint: Endpoint) -> Data {
    SocketAddress(endpoint).withPointer { Data(bytes: UnsafeRawPointer($0), count: Int($1)) }
}

/// The errno with which a call fails, nil if it does not.
func callError(_ body: () throws -> Void) throws -> Int32? {
    do {
        try body()
        return nil
    } catch let error as CallError { return error.errno }
}

/// Two daemons, a listener of one of them, and a connection between a client and a server.
struct ConnectedMessages {
    let folder: TemporaryFolder
    let a: TestDaemon, b: TestDaemon
    let client: MessageClient, server: MessageClient
    let clientSocket: Int32, serverSocket: Int32, listener: Int32

    init(_ change: (inout DaemonConfiguration) -> Void = { _ in }) throws {
        folder = try TemporaryFolder()
        let net = freshNet()
        a = try TestDaemon(net + ".1", in: folder, change)
        b = try TestDaemon(net + ".2", in: folder, change)
        client = try MessageClient(a)
        server = try MessageClient(b)
        listener = try server.listener(b, port: 7)
        clientSocket = try client.socket()
        try client.connect(clientSocket, b.sockaddr(7))
        serverSocket = try server.accept(listener).socket
    }
}
