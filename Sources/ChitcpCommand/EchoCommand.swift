// `chitcp echo`: sends back what it receives.
import ArgumentParser
import Glibc
import TCPSegments

/// An echo server over chitcpd; each connection has a thread.
struct EchoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "echo", abstract: "Serve echo: send back every byte of every connection.")

    @Option(name: .shortAndLong, help: "The TCP port to listen on.")
    var port: UInt16 = 7

    @Option(help: "The address to listen on.")
    var address = "0.0.0.0"

    @Flag(help: "End after the first connection.")
    var once = false

    func run() throws {
        let sockets = Chisockets()
        let listener = try sockets.listen(on: try resolve(address, port: port), backlog: 128)
        defer { close(listener) }
        repeat {
            let stream = try sockets.accept(listener)
            if once {
                serve(stream)
            } else {
                try inThread { serve(stream) }
            }
        } while !once
    }
}

private func serve(_ stream: Int32) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    defer { buffer.deallocate() }
    _ = copyAll(from: stream, to: stream, buffer: buffer)
    close(stream)
}
