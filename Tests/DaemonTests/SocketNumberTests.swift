// Control records carry the daemon's socket numbers, by which chiTCP's protocol names sockets.
import CLinux
import Chisocket
import ControlRecords
import Glibc
import Testing

@Suite("Socket numbers in control records", .timeLimit(.minutes(15)))
struct SocketNumberTests {
    @Test("the answers to SOCKET and NAMES carry the number")
    func answers() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let daemon = try TestDaemon("\(net).1", in: folder)
        let client = try RawControl(daemon.path.controlPath)
        var request = chitcp_request()
        request.operation = CHITCP_OP_SOCKET.rawValue
        request.argument = (AF_INET, Int32(SOCK_STREAM.rawValue), 0, 0)
        let first = try client.call(request)
        let second = try client.call(request)
        #expect([first, second].map(\.argument.1) == [0, 1])
        request = chitcp_request()
        request.operation = CHITCP_OP_NAMES.rawValue
        request.socket_id = second.socket_id
        let names = try client.call(request)
        #expect(names.result == 0)
        #expect(names.argument.1 == 1)
    }

    @Test("the record of an accepted connection carries the number under which the daemon lists it")
    func accepted() throws {
        let net = freshNet()
        let folder = try TemporaryFolder()
        let a = try TestDaemon("\(net).1", in: folder)
        let b = try TestDaemon("\(net).2", in: folder)
        let listener = try b.listener(port: 7)
        let client = try a.connect(to: b, port: 7)
        var record = chitcp_accepted()
        var received: Int32 = -1
        let count = try listener.withDescriptor { descriptor throws(ChisocketError) in
            clinux_receive_descriptor(descriptor, &record, MemoryLayout<chitcp_accepted>.size, &received, 0)
        }
        try #require(count == MemoryLayout<chitcp_accepted>.size)
        defer { Glibc.close(received) }
        let listed = try DaemonControl.sockets(of: b.path).first { $0.stateName == "ESTABLISHED" }
        #expect(listed.map { Int32($0.number) } == record.number)
        _ = client
    }
}

/// A control connection that sends records as they are.
private final class RawControl {
    private let descriptor: Int32
    private var passedOn: [Int32] = []

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try connectUnix(descriptor, path)
    }

    deinit { for open in passedOn + [descriptor] { Glibc.close(open) } }

    /// The answer; a descriptor that comes along stays open as long as this connection.
    func call(_ request: chitcp_request) throws -> chitcp_response {
        var request = request
        request.magic = CHITCP_CONTROL_MAGIC
        let size = MemoryLayout<chitcp_request>.size
        try #require(send(descriptor, &request, size, Int32(MSG_NOSIGNAL)) == size)
        var response = chitcp_response()
        var passed: Int32 = -1
        let n = clinux_receive_descriptor(descriptor, &response, MemoryLayout<chitcp_response>.size, &passed, 0)
        try #require(n == MemoryLayout<chitcp_response>.size)
        if passed >= 0 { passedOn.append(passed) }
        return response
    }

}
