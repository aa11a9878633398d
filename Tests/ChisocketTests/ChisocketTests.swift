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
        // What a program does that closes every number it does not know.
        close(first.socket.descriptor)
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
