// Sends the lines of standard input to an echo server over chiTCP and prints what comes back.
// usage: echo-client HOST PORT
import Chisocket
import Foundation

guard CommandLine.arguments.count == 3, let port = UInt16(CommandLine.arguments[2]), port > 0 else {
    FileHandle.standardError.write(Data("usage: echo-client HOST PORT\n".utf8))
    exit(64)
}

do {
    let connection = try Chisocket.connect(to: CommandLine.arguments[1], port: port)
    while let line = readLine(strippingNewline: false) {
        try connection.send(Array(line.utf8))
        var left = line.utf8.count
        while left > 0 {
            let back = try connection.receive(maximum: left)
            if back.isEmpty {
                FileHandle.standardError.write(Data("echo-client: the server closed the connection\n".utf8))
                exit(1)
            }
            FileHandle.standardOutput.write(Data(back))
            left -= back.count
        }
    }
    connection.close()
} catch {
    FileHandle.standardError.write(Data("echo-client: \(error)\n".utf8))
    exit(1)
}
