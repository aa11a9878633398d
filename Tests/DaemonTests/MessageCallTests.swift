// chiTCP's protocol call by call: results, errnos, and the bytes they travel in.
import DaemonProtocol
import FoundationEssentials
import Glibc
import NetworkLayer
import TCPSegments
import TestSupport
import Testing

@Suite("Calls of chiTCP's protocol", .timeLimit(.minutes(15)))
struct MessageCallTests {
    @Test("messages have chiTCP's bytes: a length in host order, field numbers and types")
    func bytes() throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon(freshNet() + ".1", in: folder)
        let client = try MessageClient(daemon, greets: false)
        func frame(_ body: [UInt8]) -> [UInt8] { withUnsafeBytes(of: UInt64(body.count)) { Array($0) } + body }
        // INIT 0 { connection_type 0 }, then SOCKET 1 { AF_INET, SOCK_STREAM, 6 }.
        try client.write(frame([0x08, 0x00, 0x12, 0x02, 0x08, 0x00]))
        #expect(try client.answer().ret == 0)
        try client.write(frame([0x08, 0x01, 0x1A, 0x06, 0x08, 0x02, 0x10, 0x01, 0x18, 0x06]))
        #expect(try client.answer().ret == 0)
        // BIND 2, LISTEN 3, GET_SOCKET_STATE 9, WAIT_FOR_STATE 14, CLOSE 8: arguments are fields 4, 5, 11, 15, 10.
        let address: [UInt8] = [2, 0, 0, 7] + octets(daemon.address) + [0, 0, 0, 0, 0, 0, 0, 0]
        try client.write(frame([0x08, 0x02, 0x22, 0x14, 0x08, 0x00, 0x12, 0x10] + address))
        #expect(try client.answer().ret == 0)
        try client.write(frame([0x08, 0x03, 0x2A, 0x04, 0x08, 0x00, 0x10, 0x05]))
        #expect(try client.answer().ret == 0)
        try client.write(frame([0x08, 0x09, 0x5A, 0x02, 0x08, 0x00]))
        #expect(try client.answer().socketState.tcpState == TCPState.listen.rawValue)
        try client.write(frame([0x08, 0x0E, 0x7A, 0x04, 0x08, 0x00, 0x10, 0x01]))
        #expect(try client.answer().ret == 0)
        try client.write(frame([0x08, 0x08, 0x52, 0x02, 0x08, 0x00]))
        #expect(try client.answer().ret == 0)
    }

    @Test("the answer's bytes are chiTCP's")
    func answerBytes() throws {
        var answer = ChitcpdMsg()
        answer.code = .resp
        answer.resp.ret = -1
        answer.resp.errorCode = 9
        let minusOne = [UInt8](repeating: 0xFF, count: 9) + [0x01]
        #expect(
            MessageFrames.encode(answer)
                == [17, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x0B, 0x6A, 0x0D, 0x08] + minusOne + [0x10, 0x09])
    }

    @Test("bytes go both ways, the end of the stream is an empty answer, and accept tells the peer's address")
    func exchange() throws {
        let folder = try TemporaryFolder()
        let net = freshNet()
        let a = try TestDaemon(net + ".1", in: folder)
        let b = try TestDaemon(net + ".2", in: folder)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let listener = try server.listener(b, port: 7)
        let socket = try client.socket()
        try client.bind(socket, a.sockaddr(1234))
        try client.connect(socket, b.sockaddr(7))
        let (accepted, peer) = try server.accept(listener)
        #expect(peer.count == 128)
        #expect(peer.prefix(8) == Data([2, 0, 0x04, 0xD2] + octets(a.address)))
        #expect(peer.dropFirst(8).allSatisfy { $0 == 0 })
        let sent = pattern(100_000)
        let sender = Background { [client] in try #require(try client.send(socket, sent) == 100_000) }
        #expect(try server.receive(accepted, exactly: sent.count) == sent)
        #expect(sender.join() == nil)
        #expect(try server.send(accepted, [1, 2, 3]) == 3)
        #expect(try client.receive(socket, atMost: 2) == [1, 2])
        #expect(try client.receive(socket) == [3])
        try client.close(socket)
        #expect(try server.receive(accepted) == [])
        #expect(try server.receive(accepted) == [])
        #expect(try server.send(accepted, [4]) == 1)
    }

    @Test("an IPv6 socket sees an IPv4 peer by its mapped address")
    func mapped() throws {
        let folder = try TemporaryFolder()
        let net = freshNet()
        let a = try TestDaemon(net + ".1", in: folder)
        let client = try MessageClient(a)
        let listener = try client.socket(domain: AF_INET6)
        try client.bind(listener, sockaddrBytes(Endpoint(.anyIPv6, 7)))
        try client.listen(listener)
        let socket = try client.socket()
        try client.connect(socket, a.sockaddr(7))
        let peer = try client.accept(listener).peer
        #expect(peer.count == 128)
        #expect(peer.prefix(2) == Data([UInt8(AF_INET6), 0]))
        #expect(peer.dropFirst(8).prefix(16) == Data([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF] + octets(a.address)))
    }

    @Test("socket numbers are one sequence for all clients of either kind, lowest free first")
    func numbers() throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon(freshNet() + ".1", in: folder)
        let one = try MessageClient(daemon)
        let other = try MessageClient(daemon)
        #expect(try one.socket() == 0)
        #expect(try other.socket() == 1)
        let listener = try daemon.listener(port: 7)
        #expect(try one.state(2).tcpState == TCPState.listen.rawValue)
        #expect(try one.socket() == 3)
        try one.close(0)
        try other.close(1)
        #expect(try other.socket() == 0)
        #expect(try one.socket() == 1)
        _ = listener
    }

    // MARK: errno

    /// A client with an idle socket 0, a listening one 1 and a connected pair 2 and 3, all of one daemon.
    private static func fixture() throws -> (TemporaryFolder, TestDaemon, MessageClient) {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon(freshNet() + ".1", in: folder)
        let client = try MessageClient(daemon)
        try #require(try client.socket() == 0)
        try #require(try client.listener(daemon, port: 7) == 1)
        try #require(try client.socket() == 2)
        try client.connect(2, daemon.sockaddr(7))
        try #require(try client.accept(1).socket == 3)
        return (folder, daemon, client)
    }

    @Test("an unknown socket is EBADF for every call", arguments: [4, 1000, -1, Int32.max, Int32.min])
    func unknown(_ number: Int32) throws {
        let (folder, daemon, client) = try Self.fixture()
        let address = try daemon.sockaddr(9)
        #expect(try callError { try client.bind(number, address) } == EBADF)
        #expect(try callError { try client.listen(number) } == EBADF)
        #expect(try callError { _ = try client.accept(number) } == EBADF)
        #expect(try callError { try client.connect(number, address) } == EBADF)
        #expect(try callError { try client.send(number, [1]) } == EBADF)
        #expect(try callError { _ = try client.receive(number) } == EBADF)
        #expect(try callError { try client.close(number) } == EBADF)
        #expect(try callError { _ = try client.state(number) } == EBADF)
        #expect(try callError { _ = try client.buffers(number) } == EBADF)
        #expect(try callError { try client.wait(number, for: .established) } == EBADF)
        #expect(try callError { try client.wait(number, for: .closed) } == EBADF)
        _ = folder
    }

    @Test("calls that do not fit the socket's state have their errno")
    func outOfState() throws {
        let (folder, daemon, client) = try Self.fixture()
        let address = try daemon.sockaddr(9)
        for number: Int32 in [1, 2, 3] {
            #expect(try callError { try client.bind(number, address) } == EINVAL)
            #expect(try callError { try client.listen(number) } == EINVAL)
            #expect(try callError { try client.connect(number, address) } == EALREADY)
        }
        for number: Int32 in [0, 2, 3] { #expect(try callError { _ = try client.accept(number) } == EINVAL) }
        #expect(try callError { try client.send(0, [1]) } == ENOTCONN)
        #expect(try callError { _ = try client.receive(0) } == ENOTCONN)
        #expect(try callError { try client.send(1, [1]) } == EOPNOTSUPP)
        #expect(try callError { _ = try client.receive(1) } == ENOTCONN)
        for number: Int32 in [2, 3] {
            #expect(try callError { try client.send(number, []) } == EINVAL)
            #expect(try callError { _ = try client.receive(number, atMost: 0) } == EINVAL)
            #expect(try callError { _ = try client.receive(number, atMost: -1) } == EINVAL)
        }
        #expect(try callError { try client.close(0) } == nil)
        #expect(try callError { try client.close(0) } == EBADF)
        _ = folder
    }

    @Test("a port that is taken is EADDRINUSE, a foreign address EADDRNOTAVAIL")
    func taken() throws {
        let (folder, daemon, client) = try Self.fixture()
        #expect(try callError { try client.bind(0, try daemon.sockaddr(7)) } == EADDRINUSE)
        let foreign = sockaddrBytes(Endpoint(try #require(IPAddress(freshNet() + ".1")), 8))
        #expect(try callError { try client.bind(0, foreign) } == EADDRNOTAVAIL)
        #expect(try callError { try client.bind(0, try daemon.sockaddr(8)) } == nil)
        _ = folder
    }

    @Test("kinds of sockets that are none of TCP's have their errno")
    func kinds() throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon(freshNet() + ".1", in: folder)
        let client = try MessageClient(daemon)
        #expect(try callError { _ = try client.socket(domain: AF_UNIX) } == EAFNOSUPPORT)
        #expect(try callError { _ = try client.socket(domain: -1) } == EAFNOSUPPORT)
        #expect(try callError { _ = try client.socket(type: Int32(SOCK_DGRAM.rawValue)) } == ESOCKTNOSUPPORT)
        #expect(try callError { _ = try client.socket(protocol: 17) } == EPROTONOSUPPORT)
        #expect(try client.socket(protocol: 6) == 0)
    }

    @Test(
        "an address of another family is EAFNOSUPPORT, one too short or too long EINVAL",
        arguments: [
            (Data(), EINVAL), (Data([2]), EINVAL), (Data([2, 0]), EINVAL), (Data([2, 0, 0, 9, 127, 0, 0]), EINVAL),
            (Data([2, 0] + [UInt8](repeating: 1, count: 13)), EINVAL),
            (Data([10, 0] + [UInt8](repeating: 1, count: 25)), EINVAL),
            (Data([1, 0] + [UInt8](repeating: 1, count: 14)), EAFNOSUPPORT), (Data([0, 0]), EAFNOSUPPORT),
            (Data([0xFF, 0xFF] + [UInt8](repeating: 1, count: 26)), EAFNOSUPPORT),
            (Data([2, 0] + [UInt8](repeating: 1, count: 127)), EINVAL),
            (Data(count: 100_000), EINVAL),
        ])
    func addresses(_ address: Data, _ expected: Int32) throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon(freshNet() + ".1", in: folder)
        let client = try MessageClient(daemon)
        let socket = try client.socket()
        #expect(try callError { try client.bind(socket, address) } == expected)
        #expect(try callError { try client.connect(socket, address) } == expected)
        #expect(try client.state(socket).tcpState == TCPState.closed.rawValue)
    }

    @Test("nobody there is ECONNREFUSED, be it no listener or no daemon, and another attempt may follow")
    func refused() throws {
        let folder = try TemporaryFolder()
        let net = freshNet()
        let a = try TestDaemon(net + ".1", in: folder)
        let b = try TestDaemon(net + ".2", in: folder)
        let client = try MessageClient(a)
        let server = try MessageClient(b)
        let socket = try client.socket()
        #expect(try callError { try client.connect(socket, try b.sockaddr(9)) } == ECONNREFUSED)
        let nobody = sockaddrBytes(Endpoint(try #require(IPAddress(net + ".3")), 9))
        #expect(try callError { try client.connect(socket, nobody) } == ECONNREFUSED)
        #expect(try callError { try client.send(socket, [1]) } == ENOTCONN)
        let listener = try server.listener(b, port: 7)
        try client.connect(socket, b.sockaddr(7))
        #expect(try client.state(socket).tcpState == TCPState.established.rawValue)
        _ = listener
    }

    @Test("no ephemeral port left is EAGAIN, no socket left ENOMEM")
    func usedUp() throws {
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon(freshNet() + ".1", in: folder) {
            $0.host.ephemeralPorts = 50_000...50_000
            $0.maximumSockets = 4
        }
        let client = try MessageClient(daemon)
        _ = try client.listener(daemon, port: 7)
        let first = try client.socket()
        let second = try client.socket()
        try client.connect(first, daemon.sockaddr(7))
        #expect(try callError { try client.connect(second, try daemon.sockaddr(7)) } == EAGAIN)
        _ = try client.socket()
        #expect(try callError { _ = try client.socket() } == ENOMEM)
    }

    @Test("a reset shows once as ECONNRESET after the bytes before it, then as ENOTCONN and EPIPE")
    func reset() throws {
        let pair = try ConnectedMessages()
        try pair.server.send(pair.serverSocket, [1, 2, 3])
        try waitUntil { try pair.client.buffers(pair.clientSocket).rcv.count == 3 }
        try pair.client.send(pair.clientSocket, [9])
        try waitUntil { try pair.server.buffers(pair.serverSocket).rcv.count == 1 }
        // Closed with a received byte unread.
        try pair.server.close(pair.serverSocket)
        try pair.client.wait(pair.clientSocket, for: .closed)
        #expect(try pair.client.receive(pair.clientSocket) == [1, 2, 3])
        #expect(try callError { _ = try pair.client.receive(pair.clientSocket) } == ECONNRESET)
        #expect(try callError { _ = try pair.client.receive(pair.clientSocket) } == ENOTCONN)
        #expect(try callError { try pair.client.send(pair.clientSocket, [1]) } == EPIPE)
        #expect(try callError { try pair.client.close(pair.clientSocket) } == nil)
    }

    @Test("state and buffers can be asked for at any time")
    func stateAndBuffers() throws {
        let pair = try ConnectedMessages()
        let listening = try pair.server.state(pair.listener)
        #expect(listening.tcpState == TCPState.listen.rawValue)
        #expect([listening.iss, listening.irs, listening.sndUna, listening.sndNxt] == [0, 0, 0, 0])
        #expect([listening.rcvNxt, listening.sndWnd, listening.rcvWnd] == [0, 0, 0])
        #expect(try pair.server.buffers(pair.listener).rcv == Data())
        let mine = try pair.client.state(pair.clientSocket)
        let theirs = try pair.server.state(pair.serverSocket)
        #expect(mine.tcpState == TCPState.established.rawValue)
        #expect(mine.iss == theirs.irs && mine.irs == theirs.iss)
        #expect(mine.sndNxt == mine.iss &+ 1 && mine.rcvNxt == mine.irs &+ 1)
        #expect(mine.sndWnd > 0 && mine.rcvWnd > 0)
        try pair.client.send(pair.clientSocket, [5, 6, 7])
        try waitUntil { try pair.server.buffers(pair.serverSocket).rcv == Data([5, 6, 7]) }
        #expect(try pair.server.state(pair.serverSocket).rcvNxt == theirs.rcvNxt &+ 3)
        try waitUntil { try pair.client.state(pair.clientSocket).sndUna == mine.sndUna &+ 3 }
        #expect(try pair.client.buffers(pair.clientSocket).snd == Data())
    }

    @Test("large buffers come as far as a message holds them")
    func largeBuffers() throws {
        let pair = try ConnectedMessages()
        for _ in 0..<3 { try pair.client.send(pair.clientSocket, pattern(600_000)) }
        try waitUntil { try pair.server.buffers(pair.serverSocket).rcv.count == 508 * 1024 }
        #expect(try pair.server.buffers(pair.serverSocket).rcv.elementsEqual(pattern(508 * 1024)))
        #expect(try pair.client.buffers(pair.clientSocket).snd.count == 508 * 1024)
        #expect(try pair.server.receive(pair.serverSocket, atMost: Int32.max).count <= MessageFrames.maximumSize)
    }
}

/// The four bytes of an IPv4 address.
private func octets(_ address: String) -> [UInt8] { address.split(separator: ".").compactMap { UInt8($0) } }
