// The samples: they build with their Makefile against the built library, and do what they say.
import Glibc
import Testing

@Suite("C samples", .serialized, .timeLimit(.minutes(15)))
struct SampleTests {
    let folder: ScratchFolder

    init() throws {
        folder = try ScratchFolder()
        let result = try run(
            "make",
            [
                "-s", "-C", Toolbox.samples, "BUILD=\(Toolbox.products)", "OUT=\(folder.path)",
                "CFLAGS=-O1 -Wall -Wextra -Werror",
            ], seconds: 300)
        try #require(result.status == 0, "\(result.text)")
    }

    /// A file with this text, for a program's standard input.
    private func input(_ text: String) throws -> String {
        let path = folder.path + "/input"
        let file = try #require(fopen(path, "w"))
        fputs(text, file)
        fclose(file)
        return path
    }

    @Test("the echo client gets back from the echo server what it sends")
    func echo() throws {
        let daemon = try DaemonProcess("127.91.3.1", in: folder, options: [])
        let server = try RunningProgram(
            folder.path + "/echo-server", ["-v", "-p", "1234"], environment: daemon.environment)
        #expect(server.read(seconds: 60) { $0.contains("listening on port 1234") })
        let client = try run(
            folder.path + "/echo-client", ["-h", "127.91.3.1", "-p", "1234"], environment: daemon.environment,
            input: try input("one\ntwo\n"))
        #expect(client.text == "one\ntwo\n")
        #expect(client.status == 0)
        #expect(server.read(seconds: 60) { $0.contains("the client has finished") || $0.contains("connected") })
        server.send(SIGTERM)
        #expect(server.awaitEnd() == 128 + SIGTERM)
        #expect(daemon.stop() == "")
    }

    @Test("in step mode each call waits for Enter")
    func stepMode() throws {
        let daemon = try DaemonProcess("127.91.3.2", in: folder, options: [])
        // One Enter a step: create, bind, listen, accept, close, close the listening socket, end.
        let server = try RunningProgram(
            folder.path + "/echo-server", ["-s"], environment: daemon.environment,
            input: try input(String(repeating: "\n", count: 7)))
        #expect(server.read(seconds: 60) { $0.contains("listening on port 7") })
        let client = try run(
            folder.path + "/echo-client", ["-s", "-h", "127.91.3.2"], environment: daemon.environment,
            input: try input("\n\nhello\n"))
        for step in ["create the socket", "connect", "close the connection", "end"] {
            #expect(client.text.contains("press Enter to \(step) "))
        }
        #expect(client.text.contains("hello\n"))
        #expect(client.status == 0)
        #expect(server.read(seconds: 60))
        #expect(server.awaitEnd() == 0)
        for step in ["create the socket", "bind it", "listen", "accept a connection", "close the connection", "end"] {
            #expect(server.text.contains("press Enter to \(step) "))
        }
        #expect(daemon.stop() == "")
    }

    @Test("a file arrives as it was sent")
    func file() throws {
        let daemon = try DaemonProcess("127.91.3.3", in: folder, options: [])
        let text = (0..<20_000).map { "line \($0)\n" }.joined()
        let path = try input(text)
        let receiver = try RunningProgram(
            folder.path + "/file-sender", ["--receive", "1234"], environment: daemon.environment)
        // The receiver says nothing before a client has come: the sender tries until somebody listens.
        var sent = try run(
            folder.path + "/file-sender", [path, "127.91.3.3", "1234"], environment: daemon.environment)
        for _ in 0..<1000 where sent.text.contains("refused") {
            sent = try run(
                folder.path + "/file-sender", [path, "127.91.3.3", "1234"], environment: daemon.environment)
        }
        #expect(sent.text == "sent \(text.utf8.count) bytes\n")
        #expect(receiver.read(seconds: 60))
        #expect(receiver.awaitEnd() == 0)
        #expect(receiver.text == text + "received \(text.utf8.count) bytes\n")
        #expect(daemon.stop() == "")
    }

    @Test("the simple tester prints every change of state")
    func simpleTester() throws {
        let daemon = try DaemonProcess("127.91.3.4", in: folder, options: [])
        let result = try run(folder.path + "/simple-tester", environment: daemon.environment)
        #expect(result.status == 0, "\(result.text)")
        let changes = [
            "CLOSED -> SYN_SENT", "CLOSED -> SYN_RCVD", "SYN_SENT -> ESTABLISHED", "SYN_RCVD -> ESTABLISHED",
            "TIME_WAIT -> CLOSED", "LAST_ACK -> CLOSED", "sent 'Hello, chiTCP!'", "received 'Hello, chiTCP!'",
        ]
        for change in changes { #expect(result.text.contains(change), "\(result.text)") }
        #expect(daemon.stop() == "")
    }

    @Test("the multitimer sample logs its timeouts in order")
    func multitimer() throws {
        let result = try run(folder.path + "/multitimer")
        #expect(result.status == 0)
        let expired = result.text.split(separator: "\n").filter { $0.contains(" expired, ") }
        #expect(expired.count == 4, "\(result.text)")
        #expect(expired.first?.contains("delayed ACK expired") == true)
        #expect(result.text.contains("the persist timer is cancelled"))
    }

    @Test("without daemon a sample says so, in one line that names the socket")
    func noDaemon() throws {
        let result = try run(
            folder.path + "/echo-server", ["-p", "1234"], environment: ["CHITCPD_SOCK": folder.path + "/nobody"])
        #expect(result.status == 1)
        let lines = result.text.split(separator: "\n")
        #expect(lines.count == 2, "\(result.text)")
        #expect(lines.first?.contains(folder.path + "/nobody") == true)
        #expect(lines.last == "socket: No such file or directory")
    }
}
