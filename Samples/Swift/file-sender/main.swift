// Sends a file over chiTCP, or receives one.
// usage: file-sender FILE HOST PORT      (sends)
//        file-sender --receive PORT      (writes what the first client sends to standard output)
import Chisocket
import Foundation

func say(_ sentence: String) { FileHandle.standardError.write(Data("\(sentence)\n".utf8)) }

func send(_ path: String, to host: String, port: UInt16) throws {
    guard let file = FileHandle(forReadingAtPath: path) else {
        say("file-sender: cannot read \(path)")
        exit(1)
    }
    let connection = try Chisocket.connect(to: host, port: port)
    var total = 0
    while let piece = try file.read(upToCount: 65_536), !piece.isEmpty {
        try connection.send([UInt8](piece))
        total += piece.count
    }
    // Closing sends what is queued, and then the end of the stream.
    connection.close()
    say("sent \(total) bytes")
}

func receive(port: UInt16) throws {
    let listener = try Chisocket.listening(on: .any(port: port), backlog: 1)
    let connection = try listener.accept()
    var total = 0
    while true {
        let piece = try connection.receive()
        if piece.isEmpty { break }
        try FileHandle.standardOutput.write(contentsOf: Data(piece))
        total += piece.count
    }
    say("received \(total) bytes")
}

let arguments = Array(CommandLine.arguments.dropFirst())
do {
    if arguments.count == 2, arguments[0] == "--receive", let port = UInt16(arguments[1]), port > 0 {
        try receive(port: port)
    } else if arguments.count == 3, let port = UInt16(arguments[2]), port > 0 {
        try send(arguments[0], to: arguments[1], port: port)
    } else {
        say("usage: file-sender FILE HOST PORT\n       file-sender --receive PORT")
        exit(64)
    }
} catch {
    say("file-sender: \(error)")
    exit(1)
}
