// Programs and daemons that go without a word.
import Chisocket
import Glibc
import TestSupport
import Testing

@Suite("Lost peers", .timeLimit(.minutes(15)))
struct LostPeersTests {
    @Test("a killed program that left bytes unread resets its connection")
    func killedWithUnreadBytes() throws {
        let folder = try TemporaryFolder()
        let a = try TestDaemon("127.89.11.1", in: folder)
        let b = try TestDaemon("127.89.11.2", in: folder)
        let listener = try b.listener(port: 7)
        let client = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        try server.send(pattern(1000))
        // The program reads a part, and is killed with the rest unread.
        let program = try startShell("head -c 10 <&3 >/dev/null; kill -9 $$", giving: try client.releaseDescriptor())
        waitForEnd(of: program)
        #expect(errnoOf { while !(try server.receive()).isEmpty {} } == ECONNRESET)
    }

    @Test("a killed listening program: untaken connections are reset, new ones refused")
    func killedListener() throws {
        let folder = try TemporaryFolder()
        let a = try TestDaemon("127.89.12.1", in: folder)
        let b = try TestDaemon("127.89.12.2", in: folder)
        let listener = try b.listener(port: 7)
        let waiting = try a.connect(to: b, port: 7)
        let program = try startShell("kill -9 $$", giving: try listener.releaseDescriptor())
        waitForEnd(of: program)
        #expect(errnoOf { _ = try waiting.receive() } == ECONNRESET)
        #expect(errnoOf { _ = try a.connect(to: b, port: 7) } == ECONNREFUSED)
    }

    @Test("a killed daemon: its programs see a reset, connecting to it is refused, and once restarted it is as before")
    func killedDaemon() throws {
        let folder = try TemporaryFolder()
        let ours = try TestDaemon("127.89.13.1", in: folder)
        let theirs = try DaemonProcess("127.89.13.2", in: folder)
        let there = try theirs.endpoint(7)
        func connect() throws -> Chisocket {
            let socket = try Chisocket(.ipv4, daemon: ours.path)
            try socket.limitWaiting()
            try socket.connect(to: there)
            return socket
        }
        let listener = try Chisocket.listening(on: there, daemon: theirs.path)
        try listener.limitWaiting()
        let client = try connect()
        let server = try listener.acceptLimited()
        try client.send([1])
        #expect(try server.receive(exactly: 1) == [1])

        theirs.kill()
        // Their program has lost its daemon: its end looks like one whose peer has gone.
        #expect(errnoOf { _ = try listener.accept() } != nil)
        #expect((try? server.receive())?.isEmpty ?? true)
        #expect(errnoOf { _ = try connect() } == ECONNREFUSED)

        try theirs.start()
        let second = try Chisocket.listening(on: there, daemon: theirs.path)
        try second.limitWaiting()
        let again = try connect()
        let served = try second.acceptLimited()
        try again.send(Array("again".utf8))
        #expect(try served.receive(exactly: 5) == Array("again".utf8))
        // The restarted daemon knows nothing of the old connection, and says so as soon as it hears of it.
        try client.send([2])
        #expect(errnoOf { _ = try client.receive() } == ECONNRESET)
    }
}
