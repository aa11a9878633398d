// The client library against a daemon that only answers records.
import CLinux
import ControlRecords
import Glibc
import Testing

@testable import Chisocket

@Suite struct ChisocketTests {
    let daemon: FakeDaemon
    var path: DaemonPath { DaemonPath(daemon.path) }
    let peer: ChisocketAddress

    init() throws {
        daemon = try #require(FakeDaemon())
        peer = try #require(ChisocketAddress("127.0.0.2", port: 7))
    }

    @Test("a connected chisocket carries bytes both ways and sees the end of the stream")
    func dataBothWays() throws {
        defer { daemon.stop() }
        let socket = try Chisocket(daemon: path)
        try socket.connect(to: peer)
        let end = daemon.onlyEnd
        try socket.send([1, 2, 3])
        var bytes = [UInt8](repeating: 0, count: 8)
        #expect(read(end, &bytes, 8) == 3)
        #expect(write(end, [9, 8] as [UInt8], 2) == 2)
        #expect(try socket.receive() == [9, 8])
        shutdown(end, Int32(SHUT_WR))
        #expect(try socket.receive() == [])
    }

    @Test("data calls before connect throw ENOTCONN")
    func notConnected() throws {
        defer { daemon.stop() }
        let socket = try Chisocket(daemon: path)
        let sending = #expect(throws: ChisocketError.self) { try socket.send([1]) }
        #expect(sending?.errno == ENOTCONN)
        let receiving = #expect(throws: ChisocketError.self) { try socket.receive() }
        #expect(receiving?.errno == ENOTCONN)
    }

    @Test("accept takes the descriptor that comes through the listening one")
    func accepting() throws {
        defer { daemon.stop() }
        let listener = try DescriptorCalls.socket(
            domain: AF_INET, type: Int32(SOCK_STREAM.rawValue), daemon: path)
        let early = #expect(throws: ChisocketError.self) { try DescriptorCalls.accept(listener, daemon: path) }
        #expect(early?.errno == EINVAL)
        try DescriptorCalls.listen(listener, backlog: 1, daemon: path)
        let accepted = try DescriptorCalls.accept(listener, daemon: path)
        #expect(accepted.remote?.port == 4711)
        try DescriptorCalls.close(accepted.descriptor)
        try DescriptorCalls.close(listener)
    }

    @Test("descriptors that are no chisockets are refused as POSIX does")
    func wrongDescriptors() throws {
        daemon.stop()
        let file = open("/dev/null", O_RDONLY)
        defer { close(file) }
        let plain = #expect(throws: ChisocketError.self) { try DescriptorCalls.close(file) }
        #expect(plain?.errno == ENOTSOCK)
        let none = #expect(throws: ChisocketError.self) { try DescriptorCalls.close(-1) }
        #expect(none?.errno == EBADF)
    }

    @Test("a control descriptor the program closed is opened again")
    func reopened() throws {
        defer { daemon.stop() }
        _ = try DaemonControl.sockets(of: path)
        #expect(daemon.greetings == 1)
        let first = try ThreadConnections.connection(to: path)
        first.closeBehindItsBack()
        #expect(try DaemonControl.sockets(of: path).isEmpty)
        #expect(daemon.greetings == 2)
    }

    @Test("close twice is fine, and calls after it throw EBADF")
    func closing() throws {
        defer { daemon.stop() }
        let socket = try Chisocket(daemon: path)
        socket.close()
        socket.close()
        let after = #expect(throws: ChisocketError.self) { try socket.connect(to: peer) }
        #expect(after?.errno == EBADF)
    }
}

extension ControlConnection {
    /// What a program does that closes every number it does not know.
    fileprivate func closeBehindItsBack() {
        for case let number as Int32 in Mirror(reflecting: self).children.filter({ $0.label == "descriptor" }).map(
            \.value)
        {
            close(number)
        }
    }
}

@Suite struct AnswersWithoutSuccess {
    @Test("a refused connect throws the daemon's errno and names the peer", arguments: [ECONNREFUSED, ETIMEDOUT])
    func refused(code: Int32) throws {
        let daemon = try #require(FakeDaemon(connectError: code))
        defer { daemon.stop() }
        let socket = try Chisocket(daemon: DaemonPath(daemon.path))
        let peer = try #require(ChisocketAddress("127.0.0.2", port: 7))
        let error = #expect(throws: ChisocketError.self) { try socket.connect(to: peer) }
        #expect(error?.errno == code)
        #expect(error?.message.contains("127.0.0.2:7") == true)
    }

    @Test("without a daemon the error has connect's errno and names the path")
    func noDaemon() {
        let error = #expect(throws: ChisocketError.self) { try Chisocket(daemon: DaemonPath("/nonexistent/daemon")) }
        #expect(error?.errno == ENOENT)
        #expect(error?.isDaemonMissing == true)
        #expect(error?.message.contains("/nonexistent/daemon") == true)
    }
}

@Suite struct AddressesAndNames {
    @Test(
        "addresses survive text, sockaddr and record",
        arguments: [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("2001:db8::7", "[2001:db8::7]:80")])
    func roundTrips(text: String, description: String) throws {
        let address = try #require(ChisocketAddress(text, port: 80))
        #expect(address.description == description)
        #expect(ChisocketAddress(address.record) == address)
        #expect(address.withSockaddr { ChisocketAddress($0, length: $1) } == address)
        #expect(address.withSockaddr { ChisocketAddress($0, length: $1 - 1) } == nil)
    }

    @Test(
        "only a whole name in lower-case hexadecimal is a chisocket's",
        arguments: [
            ("\0chitcp/ab/1f", true), ("chitcp/ab/1f", false), ("\0chitcp/ab", false), ("\0chitcp/ab/", false),
            ("\0chitcp/AB/1", false), ("\0chitcp/ab/1/2", false), ("\0chitcp/0/11111111111111111", false),
        ])
    func names(name: String, isOne: Bool) {
        let identity = DescriptorIdentity(name: Array(name.utf8))
        #expect((identity != nil) == isOne)
        if isOne { #expect(identity == DescriptorIdentity(daemonID: 0xab, socketID: 0x1f)) }
    }
}
