// One connection of chiTCP's protocol: messages in, answers out, and what its first message makes of it.
import CLinux
import DaemonProtocol
import Glibc
import NetworkLayer
import SocketLayer
import TCPSegments

/// A connection of a program that is linked with chiTCP's own library, one a thread. It opens with INIT and then carries
/// one call at a time, or a debugger's events. Bad messages cost it an error or itself, and nobody else anything.
final class MessageSession: ClientSession {
    enum Mode { case new, command, debugging }

    unowned let daemon: Daemon
    let credentials: ClientCredentials
    let process: MessageProcess
    var mode = Mode.new
    /// The call that waits for its answer.
    var parked: ParkedCall?
    private let descriptor: Int32
    private var frames = MessageFrames()
    /// What the client has not taken yet, from `written` on.
    private var output: [UInt8] = []
    private var written = 0
    private var mayRead = true
    private var hasHungUp = false
    private var endsWhenWritten = false
    private(set) var isClosed = false

    init?(_ descriptor: Int32, daemon: Daemon) {
        guard let credentials = ClientCredentials(of: descriptor, daemon.configuration.admission) else { return nil }
        self.daemon = daemon
        self.descriptor = descriptor
        self.credentials = credentials
        process = MessageProcess.of(credentials.pid, in: daemon)
        process.connectionOpened()
        do { try daemon.loop.register(descriptor, self, for: .input) } catch {
            daemon.log.warning("\(error)")
            process.connectionEnded(at: EventLoop.now())
            return nil
        }
    }

    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        guard !isClosed else { return }
        if readiness.contains(.readable) || readiness.contains(.readHangup) { mayRead = true }
        if readiness.contains(.hangup) { hasHungUp = true }
        if readiness.contains(.writable) { flush(at: now) }
        work(at: now)
    }

    // MARK: In

    /// Takes messages as long as there are any and none has to wait. While a call waits, nothing is read: what the client
    /// sends meanwhile waits in the kernel.
    private func work(at now: Instant) {
        // A turn of 64 steps, then others get theirs.
        for _ in 0..<64 {
            guard !isClosed else { return }
            guard parked == nil, output.isEmpty else {
                // A client that is gone waits for nothing.
                if hasHungUp { close(at: now) }
                return
            }
            do throws(MessageFrameError) {
                if let message = try frames.next() {
                    handle(message, at: now)
                    continue
                }
            } catch {
                daemon.log.warning("closed a connection of process \(credentials.pid): \(error)")
                close(at: now)
                return
            }
            guard mayRead else { return }
            read(at: now)
        }
        daemon.loop.again(self)
    }

    private func read(at now: Instant) {
        withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 16) { buffer in
            let n = recv(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
            if n > 0 {
                frames.append(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
            } else if n < 0, errno == EAGAIN {
                mayRead = false
            } else if n == 0 || errno != EINTR {
                close(at: now)
            }
        }
    }

    private func handle(_ message: ChitcpdMsg, at now: Instant) {
        guard credentials.mayUse else {
            daemon.turnAway(credentials)
            daemon.turnAway(credentials)
            respond(.failure(EACCES))
            closeWhenWritten(at: now)
            return
        }
        switch mode {
        case .new:
            if message.hasCode, message.code == .init_, message.hasInitArgs, message.initArgs.isInitialized {
                begin(message.initArgs, at: now)
            } else {
                respond(.failure(EINVAL))
            }
        case .command: call(message, at: now)
        case .debugging: debuggerAnswered(message, at: now)
        }
    }

    private func begin(_ arguments: ChitcpdInitArgs, at now: Instant) {
        switch arguments.connectionType {
        case .commandConnection:
            mode = .command
            respond(.success())
        case .debugConnection: beginDebugging(arguments, at: now)
        }
    }

    // MARK: Out

    /// Answers a call that did not wait.
    func respond(_ answer: ChitcpdResp) {
        var message = ChitcpdMsg()
        message.code = .resp
        message.resp = answer
        send(message)
    }

    /// Answers the call that waited.
    func finish(_ call: ParkedCall, _ answer: ChitcpdResp, at now: Instant) {
        guard parked === call else { return }
        parked = nil
        respond(answer)
        // What came meanwhile gets its turn; not now, for this may be anybody's call.
        if !isClosed { daemon.loop.again(self) }
    }

    /// Sends a message. What the client does not take at once waits, and so does the client.
    func send(_ message: ChitcpdMsg) {
        guard !isClosed else { return }
        output += MessageFrames.encode(message)
        flush(at: EventLoop.now())
    }

    private func flush(at now: Instant) {
        while written < output.count {
            let n = output.withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress! + written, $0.count - written, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
            if n < 0 {
                if errno == EINTR { continue }
                // A client that is gone is found out by its hang-up: requests that it sent before still count.
                if errno == EAGAIN {
                    daemon.loop.watchEverything(descriptor)
                    return
                }
                break
            }
            written += n
        }
        output = []
        written = 0
        if endsWhenWritten { close(at: now) }
    }

    /// The last answer was given.
    func closeWhenWritten(at now: Instant) {
        endsWhenWritten = true
        if output.isEmpty { close(at: now) }
    }

    // MARK: The end

    func close(at now: Instant) {
        guard !isClosed else { return }
        isClosed = true
        daemon.loop.deregister(descriptor)
        Glibc.close(descriptor)
        if let call = parked {
            parked = nil
            call.socket?.forget(call)
            if let watched = call.watched { daemon.layer.cancelWait(call, of: watched) }
        }
        if mode == .debugging { daemon.layer.debuggerGone(self, at: now) }
        process.connectionEnded(at: now)
        daemon.forget(self)
    }
}
