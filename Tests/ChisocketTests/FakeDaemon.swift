// A daemon that only answers records: enough to see what the library sends and how it takes each answer.
import CLinux
import ControlRecords
import Glibc
import Synchronization

/// Listens in a folder of its own; a thread per connection. Every chisocket echoes into `sockets`.
final class FakeDaemon: Sendable {
    static let identity: UInt64 = 0xfeed
    let folder: String
    var path: String { folder + "/daemon" }
    private let listener: Int32
    private struct Contents {
        var ends: [UInt64: Int32] = [:]
        var requests: [chitcp_operation.RawValue] = []
        var greetings = 0
    }
    private let contents = Mutex(Contents())
    /// What CONNECT answers: an errno, 0 for success.
    private let connectError: Int32
    private static let lastID = Atomic<UInt64>(UInt64(getpid()) << 32)

    init?(connectError: Int32 = 0) {
        self.connectError = connectError
        var template = Array("/tmp/chisocket-test-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else { return nil }
        folder = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        listener = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard Self.bind(listener, Array((folder + "/daemon" + CHITCP_CONTROL_SUFFIX).utf8)), listen(listener, 8) == 0
        else { return nil }
        Self.thread { [listener, weak self] in
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { return }
                guard self != nil else { return }
                Self.thread { [weak self] in
                    while let daemon = self, daemon.answer(client) {}
                    close(client)
                }
            }
        }
    }

    /// Ends the listening thread and removes the folder.
    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        unlink(path + CHITCP_CONTROL_SUFFIX)
        rmdir(folder)
        contents.withLock { for end in $0.ends.values { close(end) } }
    }

    /// The daemon's ends of all chisockets, newest last, and how many connections said HELLO.
    var greetings: Int { contents.withLock { $0.greetings } }
    func end(of id: UInt64) -> Int32 { contents.withLock { $0.ends[id] ?? -1 } }
    var onlyEnd: Int32 { contents.withLock { $0.ends.values.first ?? -1 } }
    var requests: [UInt32] { contents.withLock { $0.requests } }

    private static func thread(_ body: @escaping @Sendable () -> Void) {
        final class Box { let body: @Sendable () -> Void; init(_ b: @escaping @Sendable () -> Void) { body = b } }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { raw in
                Unmanaged<Box>.fromOpaque(raw!).takeRetainedValue().body()
                return nil
            }, Unmanaged.passRetained(Box(body)).toOpaque())
        pthread_detach(thread)
    }

    private static func bind(_ descriptor: Int32, _ name: [UInt8]) -> Bool {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(descriptor, $0, socklen_t(2 + name.count))
            }
        } == 0
    }

    /// A socketpair whose first end is named as a chisocket.
    private func makeSocket() -> (id: UInt64, application: Int32) {
        let id = Self.lastID.add(1, ordering: .relaxed).newValue
        var pair: [Int32] = [-1, -1]
        socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair)
        let name = "\0chitcp/\(String(Self.identity, radix: 16))/\(String(id, radix: 16))"
        _ = Self.bind(pair[0], Array(name.utf8))
        contents.withLock { $0.ends[id] = pair[1] }
        return (id, pair[0])
    }

    private func answer(_ client: Int32) -> Bool {
        var request = chitcp_request()
        var received: Int32 = -1
        let count = withUnsafeMutableBytes(of: &request) {
            clinux_receive_descriptor(client, $0.baseAddress, $0.count, &received, 0)
        }
        guard count == MemoryLayout<chitcp_request>.size else { return false }
        if received >= 0 { close(received) }
        let operation = request.operation
        contents.withLock { $0.requests.append(operation) }
        var response = chitcp_response()
        response.magic = CHITCP_CONTROL_MAGIC
        response.operation = operation
        response.socket_id = request.socket_id
        // A response nobody waits for goes first: the library must skip it.
        response.call = request.call &+ 1000
        _ = withUnsafeBytes(of: response) { send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        response.call = request.call
        var passed: Int32 = -1
        switch operation {
        case CHITCP_OP_HELLO.rawValue:
            response.value = Self.identity
            contents.withLock { $0.greetings += 1 }
        case CHITCP_OP_SOCKET.rawValue: (response.socket_id, passed) = makeSocket()
        case CHITCP_OP_CONNECT.rawValue where connectError != 0:
            (response.result, response.error) = (-1, connectError)
        case CHITCP_OP_NAMES.rawValue:
            response.remote = request.address
            if requests.contains(CHITCP_OP_CONNECT.rawValue) { response.remote.family = UInt16(AF_INET) }
        case CHITCP_OP_LISTEN.rawValue:
            let (id, application) = makeSocket()
            var record = chitcp_accepted()
            record.magic = CHITCP_CONTROL_MAGIC
            record.socket_id = id
            record.remote.family = UInt16(AF_INET)
            record.remote.port = UInt16(4711).bigEndian
            _ = withUnsafeBytes(of: record) {
                clinux_send_descriptor(end(of: request.socket_id), $0.baseAddress, $0.count, application, 0)
            }
            close(application)
        case CHITCP_OP_LIST.rawValue: (response.result, response.error) = (-1, ENOENT)
        default: break
        }
        let sent = withUnsafeBytes(of: response) {
            clinux_send_descriptor(client, $0.baseAddress, $0.count, passed, 0)
        }
        if passed >= 0 { close(passed) }
        return sent >= 0
    }
}
