// UNIX sockets by path, and waiting for conditions.
import Glibc
import Testing

private func unixAddress(_ path: String) throws -> sockaddr_un {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    try #require(path.utf8.count < MemoryLayout.size(ofValue: address.sun_path))
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    return address
}

func bindUnix(_ descriptor: Int32, _ path: String) throws {
    var address = try unixAddress(path)
    let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, 110) }
    }
    try #require(result == 0)
}

func connectUnix(_ descriptor: Int32, _ path: String) throws {
    var address = try unixAddress(path)
    let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, 110) }
    }
    try #require(result == 0, "cannot connect to \(path): \(String(cString: strerror(errno)))")
}

/// Asks again until it holds; each question should be a round trip to a daemon.
func waitUntil(_ condition: () throws -> Bool) throws {
    for _ in 0..<100_000 { if try condition() { return } }
    Issue.record("the condition never held")
}
