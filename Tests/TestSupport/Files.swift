// What tests read: files, and where the build has put the products.
import Glibc

/// The folder of the products of this build: the one that the code of the tests was loaded from.
public let productFolder: String = {
    for line in (textOfFile("/proc/self/maps") ?? "").split(separator: "\n") where line.hasSuffix(".xctest") {
        if let start = line.firstIndex(of: "/"), let end = line.lastIndex(of: "/") { return String(line[start..<end]) }
    }
    preconditionFailure("the tests were loaded from a file")
}()

/// What a file holds, nil if it cannot be read.
public func textOfFile(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    return readText(from: descriptor)
}

/// All that can be read from a descriptor, as text.
public func readText(from descriptor: Int32) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let n = read(descriptor, &buffer, buffer.count)
        if n < 0, errno == EINTR { continue }
        if n <= 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<n]
    }
}

/// A new file without a name, for what a program says: whoever inherits it by accident keeps nobody waiting, as with a pipe.
public func namelessFile() -> Int32 {
    guard let file = tmpfile() else { preconditionFailure("no file in /tmp") }
    defer { fclose(file) }
    return fcntl(fileno(file), F_DUPFD_CLOEXEC, 0)
}
