// The chisocket of Swift programs: an object that owns one descriptor. Here are the calls that block; those that tasks await
// have the same names and stand in Tasks/.
import CLinux
import Glibc
import Synchronization

/// A stream socket of chitcpd's TCP. Calls block, and in async functions they are awaited; an instance may be used from
/// several threads and tasks, and `close` from any wakes those that wait in it (they throw EBADF). It is closed when the last
/// reference goes.
public final class Chisocket: Sendable {
    private struct Contents {
        var descriptor: Int32
        /// Calls in flight: the descriptor's number stays ours until the last of them has returned.
        var users = 0
        var isClosed = false
        /// Both ends, where this object knows that they will not change any more.
        var names: (local: ChisocketAddress?, remote: ChisocketAddress?)?
    }

    private let contents: Mutex<Contents>
    /// The daemon that answers.
    public let daemon: DaemonPath

    /// A new chisocket, neither bound nor connected.
    public convenience init(
        _ family: ChisocketAddress.Family = .ipv4, daemon: DaemonPath = .standard
    ) throws(ChisocketError) {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        self.init(
            owning: try DescriptorCalls.socket(domain: family.domain, type: type, daemon: daemon), daemon: daemon)
    }

    /// The chisocket behind `descriptor`, which it closes in the end.
    public init(owning descriptor: Int32, daemon: DaemonPath = .standard) {
        contents = Mutex(Contents(descriptor: descriptor))
        self.daemon = daemon
    }

    /// The chisocket of a connection just accepted.
    convenience init(_ accepted: DescriptorCalls.Accepted, daemon: DaemonPath) {
        self.init(owning: accepted.descriptor, daemon: daemon)
        noteNames(local: accepted.local, remote: accepted.remote)
    }

    deinit { close() }

    /// The names of an established connection.
    var connectedNames: (local: ChisocketAddress?, remote: ChisocketAddress?)? { contents.withLock { $0.names } }

    /// From now on these are the names.
    func noteNames(local: ChisocketAddress?, remote: ChisocketAddress?) {
        contents.withLock { $0.names = (local, remote) }
    }

    /// Calls `body` with the descriptor, which stays open during the call: for poll(2), sendfile(2) and the like.
    /// - Throws: EBADF if the chisocket has been closed, or what `body` throws.
    public func withDescriptor<R>(
        _ call: String = "withDescriptor", _ body: (Int32) throws(ChisocketError) -> R
    ) throws(ChisocketError) -> R {
        let descriptor = try hold(call)
        defer { leave() }
        return try body(descriptor)
    }

    /// The descriptor, which stays open until as many `leave` as `hold`.
    package func hold(_ call: String) throws(ChisocketError) -> Int32 {
        let descriptor = contents.withLock { contents -> Int32 in
            guard !contents.isClosed else { return -1 }
            contents.users += 1
            return contents.descriptor
        }
        guard descriptor >= 0 else { throw ChisocketError(errno: EBADF, call: call) }
        return descriptor
    }

    /// The end of what `hold` began.
    package func leave() {
        let finished = contents.withLock { contents -> Int32 in
            contents.users -= 1
            return contents.isClosed && contents.users == 0 ? contents.descriptor : -1
        }
        if finished >= 0 { try? DescriptorCalls.close(finished) }
    }

    /// Gives the descriptor away; the caller closes it, and this object is closed.
    public func releaseDescriptor() throws(ChisocketError) -> Int32 {
        let descriptor = contents.withLock { contents -> Int32 in
            guard !contents.isClosed, contents.users == 0 else { return -1 }
            contents.isClosed = true
            return contents.descriptor
        }
        guard descriptor >= 0 else { throw ChisocketError(errno: EBADF, call: "releaseDescriptor") }
        return descriptor
    }

    /// Closes the chisocket: the daemon sends what is queued and then FIN, or RST if received bytes were left unread.
    /// Further calls throw EBADF; closing twice is fine.
    public func close() {
        let (descriptor, users) = contents.withLock { contents -> (Int32, Int) in
            guard !contents.isClosed else { return (-1, 0) }
            contents.isClosed = true
            return (contents.descriptor, contents.users)
        }
        guard descriptor >= 0 else { return }
        if users == 0 {
            try? DescriptorCalls.close(descriptor)
        } else {
            // Wakes the calls in flight; the last of them closes the descriptor.
            _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR))
        }
    }

    var isClosed: Bool { contents.withLock { $0.isClosed } }

    // MARK: Connections

    /// Binds to a local address; port 0 lets the daemon choose one.
    public func bind(to address: ChisocketAddress) throws(ChisocketError) {
        try withDescriptor("bind") { d throws(ChisocketError) in
            try DescriptorCalls.bind(d, to: address, daemon: daemon)
        }
    }

    /// Lets others connect; `backlog` connections wait for `accept`.
    public func listen(backlog: Int32 = 128) throws(ChisocketError) {
        try withDescriptor("listen") { d throws(ChisocketError) in
            try DescriptorCalls.listen(d, backlog: backlog, daemon: daemon)
        }
    }

    /// Connects, and waits until the connection is established or has failed.
    public func connect(to address: ChisocketAddress) throws(ChisocketError) {
        try withDescriptor("connect") { d throws(ChisocketError) in
            try DescriptorCalls.connect(d, to: address, daemon: daemon)
        }
    }

    /// A chisocket connected to `host`:`port`; the host's addresses are tried in turn.
    public static func connect(
        to host: String, port: UInt16, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Chisocket {
        var failure: ChisocketError?
        for address in try ChisocketAddress.resolve(host, port: port) {
            do throws(ChisocketError) {
                let made = try Chisocket(address.family, daemon: daemon)
                try made.connect(to: address)
                return made
            } catch {
                if error.isDaemonMissing { throw error }
                failure = error
            }
        }
        throw failure ?? ChisocketError(errno: EHOSTUNREACH, call: "connect", context: "to \(host):\(port)")
    }

    /// A chisocket that listens on `address`.
    public static func listening(
        on address: ChisocketAddress, backlog: Int32 = 128, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Chisocket {
        let made = try Chisocket(address.family, daemon: daemon)
        try made.set(.reuseAddress, to: true)
        try made.bind(to: address)
        try made.listen(backlog: backlog)
        return made
    }

    /// Waits for a connection and takes it.
    public func accept() throws(ChisocketError) -> Chisocket {
        try withDescriptor("accept") { d throws(ChisocketError) -> Chisocket in
            while true {
                do throws(ChisocketError) {
                    return Chisocket(
                        try DescriptorCalls.accept(d, closeOnExec: true, daemon: daemon), daemon: daemon)
                } catch {
                    if isClosed { throw ChisocketError(errno: EBADF, call: "accept") }
                    if error.errno != EINTR { throw error }
                }
            }
        }
    }

    // MARK: Data

    /// Sends at least one byte of `bytes`, and returns how many the daemon took.
    public func send(_ bytes: UnsafeRawBufferPointer) throws(ChisocketError) -> Int {
        try withDescriptor("send") { d throws(ChisocketError) -> Int in
            while true {
                do throws(ChisocketError) {
                    return try DescriptorCalls.send(d, bytes, daemon: daemon)
                } catch {
                    if isClosed { throw ChisocketError(errno: EBADF, call: "send") }
                    if error.errno != EINTR { throw error }
                }
            }
        }
    }

    /// Sends all bytes.
    public func send(_ bytes: [UInt8]) throws(ChisocketError) {
        var sent = 0
        while sent < bytes.count {
            let result = bytes[sent...].withUnsafeBytes { rest in
                Result { () throws(ChisocketError) in try send(rest) }
            }
            sent += try result.get()
        }
    }

    /// Waits for bytes and returns how many it put into `bytes`; 0 at the end of the stream.
    public func receive(into bytes: UnsafeMutableRawBufferPointer) throws(ChisocketError) -> Int {
        try withDescriptor("recv") { d throws(ChisocketError) -> Int in
            while true {
                do throws(ChisocketError) {
                    let count = try DescriptorCalls.receive(d, into: bytes, daemon: daemon)
                    if count == 0, isClosed { throw ChisocketError(errno: EBADF, call: "recv") }
                    return count
                } catch {
                    if error.errno != EINTR { throw error }
                }
            }
        }
    }

    /// Waits for bytes and returns at most `maximum` of them; empty at the end of the stream.
    public func receive(maximum: Int = 65_536) throws(ChisocketError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: max(1, maximum))
        let result = bytes.withUnsafeMutableBytes { room in
            Result { () throws(ChisocketError) in try receive(into: room) }
        }
        let count = try result.get()
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// Which direction to shut down.
    public enum Direction: Sendable {
        /// Discard what still arrives.
        case receiving
        /// FIN after what is queued.
        case sending
        /// Both.
        case both

        /// SHUT_RD, SHUT_WR or SHUT_RDWR.
        var how: Int32 {
            switch self {
            case .receiving: Int32(SHUT_RD)
            case .sending: Int32(SHUT_WR)
            case .both: Int32(SHUT_RDWR)
            }
        }
    }

    /// Ends one or both directions and keeps the chisocket.
    public func shutdown(_ direction: Direction) throws(ChisocketError) {
        try withDescriptor("shutdown") { d throws(ChisocketError) in
            try DescriptorCalls.shutdown(d, how: direction.how, daemon: daemon)
        }
    }

    /// Resets the connection and closes the chisocket.
    public func abort() throws(ChisocketError) {
        try withDescriptor("abort") { d throws(ChisocketError) in try DescriptorCalls.abort(d, daemon: daemon) }
        close()
    }
}
