// The chisocket calls that tasks await: no thread waits for them but the poller's.
import CLinux
import ControlRecords
import Glibc

extension Chisocket {
    /// A new chisocket, neither bound nor connected.
    public convenience init(_ family: ChisocketAddress.Family = .ipv4, daemon: DaemonPath = .standard) async throws {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let request = try chitcp_request.socket(domain: family.domain, type: type, protocol: 0)
        let answer = try await TaskConnection.to(daemon).exchange(request)
        let descriptor = try DescriptorCalls.made(
            answer.descriptor, answer.response, type: type, daemonID: answer.daemonID)
        self.init(owning: descriptor, daemon: daemon)
    }

    // MARK: Connections

    /// Binds to a local address; port 0 lets the daemon choose one.
    public func bind(to address: ChisocketAddress) async throws {
        try await ask(chitcp_request(CHITCP_OP_BIND, address: address), "bind", "to \(address)")
    }

    /// Lets others connect; `backlog` connections wait for `accept`.
    public func listen(backlog: Int32 = 128) async throws {
        let descriptor = try hold("listen")
        defer { leave() }
        try await ask(chitcp_request(CHITCP_OP_LISTEN, (backlog, 0, 0, 0)), "listen", attached: descriptor)
        DescriptorRoles.note(.listening, descriptor, try DescriptorIdentity(of: descriptor, call: "listen"))
    }

    /// Connects, and waits until the connection is established or has failed. A cancelled task gives up the attempt, and the
    /// chisocket is closed.
    public func connect(to address: ChisocketAddress) async throws {
        let descriptor = try hold("connect")
        defer { leave() }
        do {
            try await attempt(descriptor, address)
        } catch let error as ChisocketError where error.errno == EBADF && !isClosed {
            // A connection that has failed takes its chisocket with it. Who connects again gets a new one.
            let type = Int32(SOCK_STREAM.rawValue)
            let request = try chitcp_request.socket(domain: address.family.domain, type: type, protocol: 0)
            let answer = try await TaskConnection.to(daemon).exchange(request)
            try DescriptorCalls.replace(
                descriptor,
                with: try DescriptorCalls.made(
                    answer.descriptor, answer.response, type: type, daemonID: answer.daemonID))
            try await attempt(descriptor, address)
        }
    }

    private func attempt(_ descriptor: Int32, _ address: ChisocketAddress) async throws {
        let identity = try DescriptorIdentity(of: descriptor, call: "connect")
        do {
            let response = try await ask(
                chitcp_request(CHITCP_OP_CONNECT, address: address), "connect", "to \(address)", attached: descriptor)
            noteNames(local: ChisocketAddress(response.local), remote: ChisocketAddress(response.remote))
            DescriptorRoles.note(.connected, descriptor, identity)
        } catch is CancellationError {
            // Nobody waits for this any more, and nobody can cancel it.
            TaskConnection.to(daemon).tell(chitcp_request(CHITCP_OP_ABORT), about: identity)
            close()
            throw CancellationError()
        }
    }

    /// A chisocket connected to `host`:`port`; the host's addresses are tried in turn.
    public static func connect(
        to host: String, port: UInt16, daemon: DaemonPath = .standard
    ) async throws -> Chisocket {
        var failure: ChisocketError?
        for address in try await ChisocketAddress.resolve(host, port: port) {
            do {
                let made = try await Chisocket(address.family, daemon: daemon)
                try await made.connect(to: address)
                return made
            } catch let error as ChisocketError {
                if error.isDaemonMissing { throw error }
                failure = error
            }
        }
        throw failure ?? ChisocketError(errno: EHOSTUNREACH, call: "connect", context: "to \(host):\(port)")
    }

    /// A chisocket that listens on `address`.
    public static func listening(
        on address: ChisocketAddress, backlog: Int32 = 128, daemon: DaemonPath = .standard
    ) async throws -> Chisocket {
        let made = try await Chisocket(address.family, daemon: daemon)
        try await made.set(.reuseAddress, to: true)
        try await made.bind(to: address)
        try await made.listen(backlog: backlog)
        return made
    }

    /// Waits for a connection and takes it.
    public func accept() async throws -> Chisocket {
        let listening = try await requireListening()
        defer { leave() }
        return try await retry(listening.descriptor, "accept", .reading) { () throws(ChisocketError) in
            try takeConnection(from: listening)
        }
    }

    /// A descriptor that is held and known to listen.
    package struct Listening: Sendable {
        /// The descriptor.
        package let descriptor: Int32
        fileprivate let identity: DescriptorIdentity
    }

    /// The next connection of a listening chisocket, nil if there is none now.
    package func takeConnection(from listening: Listening) throws(ChisocketError) -> Chisocket? {
        do throws(ChisocketError) {
            let accepted = try DescriptorCalls.take(
                from: listening.descriptor, listening.identity, closeOnExec: true, flags: Int32(MSG_DONTWAIT))
            return Chisocket(accepted, daemon: daemon)
        } catch {
            if error.errno == EAGAIN || error.errno == EINTR { return nil }
            throw error
        }
    }

    /// Holds the descriptor of a chisocket that listens, until `leave`.
    /// - Throws: EINVAL if it does not.
    package func requireListening() async throws -> Listening {
        let descriptor = try hold("accept")
        do {
            let identity = try DescriptorIdentity(of: descriptor, call: "accept")
            guard try await role(of: descriptor, identity, "accept") == .listening else {
                throw ChisocketError(errno: EINVAL, call: "accept", context: "on a chisocket that does not listen")
            }
            return Listening(descriptor: descriptor, identity: identity)
        } catch {
            leave()
            throw error
        }
    }

    // MARK: Data

    /// Sends all bytes. Where the peer is slow, so is this. If it throws, some of the bytes may be on their way.
    public func send(_ bytes: [UInt8]) async throws {
        let descriptor = try hold("send")
        defer { leave() }
        try await requireConnected(descriptor, "send")
        var sent = 0
        while sent < bytes.count {
            sent += try await retry(descriptor, "send", .writing) { () throws(ChisocketError) -> Int? in
                let count = bytes[sent...].withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
                }
                return try Self.outcome(count, "send")
            }
        }
    }

    /// Waits for bytes and returns at most `maximum` of them; empty at the end of the stream.
    public func receive(maximum: Int = 65_536) async throws -> [UInt8] {
        let descriptor = try hold("recv")
        defer { leave() }
        try await requireConnected(descriptor, "recv")
        return try await retry(descriptor, "recv", .reading) { () throws(ChisocketError) -> [UInt8]? in
            var count = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: max(1, maximum)) { room, initialized in
                count = recv(descriptor, room.baseAddress, room.count, Int32(MSG_DONTWAIT))
                initialized = max(0, count)
            }
            return try Self.outcome(count, "recv") == nil ? nil : bytes
        }
    }

    /// Ends one or both directions and keeps the chisocket.
    public func shutdown(_ direction: Direction) async throws {
        let descriptor = try hold("shutdown")
        defer { leave() }
        let identity = try DescriptorIdentity(of: descriptor, call: "shutdown")
        if try await role(of: descriptor, identity, "shutdown") == .connected, direction != .sending {
            // The daemon is told first: on its end this would look like a close.
            try await ask(chitcp_request(CHITCP_OP_SHUTDOWN, (direction.how, 0, 0, 0)), "shutdown")
        }
        guard Glibc.shutdown(descriptor, direction.how) == 0 else {
            throw ChisocketError(errno: errno, call: "shutdown")
        }
    }

    /// Resets the connection and closes the chisocket.
    public func abort() async throws {
        try await reference("abort").abort()
        close()
    }

    // MARK: Options

    /// Sets an option.
    public func set<Value>(_ option: ChisocketOption<Value>, to value: Value) async throws {
        try await setOption(level: option.level, name: option.name, option.encode(value))
    }

    /// An option as it is.
    public func value<Value>(of option: ChisocketOption<Value>) async throws -> Value {
        try option.value(in: try await self.option(level: option.level, name: option.name))
    }

    /// Sets an option by its numbers.
    package func setOption(level: Int32, name: Int32, _ bytes: [UInt8]) async throws {
        let descriptor = try hold("setsockopt")
        defer { leave() }
        if DescriptorCalls.isKernelOption(level, name) {
            // The kernel's call, which does not wait.
            let set = { () throws(ChisocketError) in
                let result = bytes.withUnsafeBytes { bytes in
                    Result { () throws(ChisocketError) in
                        try DescriptorCalls.setOption(descriptor, level: level, name: name, bytes)
                    }
                }
                try result.get()
            }
            return try set()
        }
        var room = try await reference("setsockopt").setOption(level: level, name: name, bytes)
        DescriptorCalls.fitSendBuffer(of: descriptor, to: &room)
    }

    /// An option's bytes by its numbers.
    package func option(level: Int32, name: Int32) async throws -> [UInt8] {
        let descriptor = try hold("getsockopt")
        defer { leave() }
        if DescriptorCalls.isKernelOption(level, name) {
            let get = { () throws(ChisocketError) in try DescriptorCalls.option(descriptor, level: level, name: name) }
            return try get()
        }
        return try await reference("getsockopt").option(level: level, name: name)
    }

    // MARK: What they share

    /// Both ends as the daemon knows them, TCP's state by chiTCP's numbers, and the family.
    package func names(
        _ call: String = "getsockname"
    ) async throws -> (
        local: ChisocketAddress?, remote: ChisocketAddress?, state: Int32, family: ChisocketAddress.Family
    ) {
        DescriptorCalls.names(in: try await ask(chitcp_request(CHITCP_OP_NAMES), call))
    }

    /// Has the daemon answer a request about this chisocket, and throws what it finds wrong.
    @discardableResult
    private func ask(
        _ request: chitcp_request, _ call: String, _ context: @autoclosure () -> String = "", attached: Int32 = -1
    ) async throws -> chitcp_response {
        _ = try hold(call)
        defer { leave() }
        return try await reference(call).ask(request, call, context(), attached: attached)
    }

    /// What the descriptor is for; the daemon is asked only if this process does not know.
    private func role(
        of descriptor: Int32, _ identity: DescriptorIdentity, _ call: String
    ) async throws -> DescriptorRoles.Role? {
        if let known = DescriptorRoles.role(of: descriptor, identity) { return known }
        let names = try await names(call)
        return DescriptorRoles.learn(descriptor, identity, state: names.state, hasPeer: names.remote != nil)
    }

    /// Throws ENOTCONN unless the chisocket is or was connected: bytes written before would go nowhere.
    private func requireConnected(_ descriptor: Int32, _ call: String) async throws {
        if connectedNames != nil { return }
        let identity = try DescriptorIdentity(of: descriptor, call: call)
        do {
            if try await role(of: descriptor, identity, call) == .connected { return }
        } catch is ChisocketError {
            // The daemon no longer knows the socket, or is gone: what the descriptor still holds is the kernel's to say.
            return
        }
        throw ChisocketError(errno: ENOTCONN, call: call)
    }

    /// Tries `body` whenever the descriptor is ready, until it gives something.
    private func retry<R: Sendable>(
        _ descriptor: Int32, _ call: String, _ interest: Poller.Interest, _ body: () throws(ChisocketError) -> R?
    ) async throws -> R {
        while true {
            try Task.checkCancellation()
            // Closed by another task: what a shut descriptor says is no end of the stream.
            if isClosed { throw ChisocketError(errno: EBADF, call: call) }
            let result = try body()
            if isClosed { throw ChisocketError(errno: EBADF, call: call) }
            if let result { return result }
            try await Poller.shared.wait(for: descriptor, interest)
        }
    }

    /// A count of bytes; nil if there is nothing to be done now.
    private static func outcome(_ count: Int, _ call: String) throws(ChisocketError) -> Int? {
        if count >= 0 { return count }
        if errno == EAGAIN || errno == EINTR { return nil }
        throw ChisocketError(errno: errno, call: call)
    }
}
