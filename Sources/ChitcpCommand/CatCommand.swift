// `chitcp cat`: standard input and output over a connection, like netcat.
import ArgumentParser
import Glibc
import TCPSegments

/// netcat over chitcpd: connects, or accepts one connection, and copies both directions at once.
struct CatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat", abstract: "Copy standard input to a connection and the connection to standard output.",
        discussion: """
            The end of standard input closes that direction. The command ends when both directions have ended, or when the \
            other side closes and standard input is a terminal.
            """)

    @Option(name: .shortAndLong, help: "Listen on this port and serve one connection.")
    var listen: UInt16?

    @Argument(help: "The host to connect to (with --listen: the address to listen on).")
    var host: String?

    @Argument(help: "The port to connect to.")
    var port: UInt16?

    func validate() throws {
        if listen == nil && (host == nil || port == nil) {
            throw ValidationError("say HOST and PORT to connect to, or -l PORT to listen on")
        }
        if listen != nil && port != nil { throw ValidationError("-l PORT takes the place of the argument PORT") }
    }

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        let stream = try openStream()
        // The thread's end shows as the end of this pipe.
        var sending: [Int32] = [-1, -1]
        guard pipe(&sending) == 0 else { throw CommandError("cannot make a pipe", errno: errno) }
        let sendingEnds = sending[1]
        try inThread {
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
            defer { buffer.deallocate() }
            _ = copyAll(from: 0, to: stream, buffer: buffer)
            shutdown(stream, Int32(SHUT_WR))
            close(sendingEnds)
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        defer { buffer.deallocate() }
        guard copyAll(from: stream, to: 1, buffer: buffer) != nil else {
            throw CommandError("the connection or standard output failed", errno: errno)
        }
        // The other side may close its direction first and still want what is to come.
        if isatty(0) != 1 { _ = readSome(sending[0], buffer) }
    }

    private func openStream() throws -> Int32 {
        let sockets = Chisockets()
        guard let listen else {
            guard let host, let port else { preconditionFailure("validate() has checked them") }
            return try sockets.connect(to: try resolve(host, port: port))
        }
        let listener = try sockets.listen(on: try resolve(host ?? "0.0.0.0", port: listen), backlog: 1)
        defer { close(listener) }
        return try sockets.accept(listener)
    }
}
