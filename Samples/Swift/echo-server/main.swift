// An echo server over chiTCP: sends back what each client sends; each connection has a thread.
// usage: echo-server PORT
import Chisocket
import Foundation

guard CommandLine.arguments.count == 2, let port = UInt16(CommandLine.arguments[1]), port > 0 else {
    FileHandle.standardError.write(Data("usage: echo-server PORT\n".utf8))
    exit(64)
}

do {
    let listener = try Chisocket.listening(on: .any(port: port))
    print("listening on port \(port)")
    while true {
        let connection = try listener.accept()
        Thread.detachNewThread {
            do {
                while true {
                    let bytes = try connection.receive()
                    if bytes.isEmpty { break }
                    try connection.send(bytes)
                }
            } catch {
                print("a connection failed: \(error)")
            }
            connection.close()
        }
    }
} catch {
    FileHandle.standardError.write(Data("echo-server: \(error)\n".utf8))
    exit(1)
}
