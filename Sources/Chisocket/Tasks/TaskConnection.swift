// The control connection that the tasks of this process share: many requests under way at once, nobody blocked.
import CLinux
import ControlRecords
import Glibc
import Synchronization

/// Requests to one daemon. The answers come by way of the poller, matched by their call's number. It is opened at the first
/// request, and again after the daemon went away.
final class TaskConnection: Sendable {
    /// What the daemon answered, and the descriptor that came along (-1: none), which is the caller's to close.
    struct Answer: Sendable {
        let response: chitcp_response
        let descriptor: Int32
        let daemonID: UInt64
    }

    private struct Call {
        var request: chitcp_request
        let attached: Int32
        /// The chisocket that the request is about; nil for none.
        let identity: DescriptorIdentity?
        let done: @Sendable (Result<Answer, any Error>) -> Void
    }

    private struct State {
        var socket: LibrarySocket?
        /// Known once the daemon has answered HELLO; before that no other request is sent.
        var daemonID: UInt64?
        var lastNumber: UInt64 = 0
        /// Not answered yet, by number; and those of them that are not sent yet.
        var calls: [UInt64: Call] = [:]
        var unsent: [UInt64] = []
        var isWaitingToSend = false
        /// What the poller waits for on the socket.
        var waits: [Poller.Interest: Poller.Wait] = [:]
    }

    /// Called after the lock is released.
    private typealias Outcome = (done: @Sendable (Result<Answer, any Error>) -> Void, Result<Answer, any Error>)

    private let daemon: DaemonPath
    private let state = Mutex(State())
    private static let all = Mutex<[DaemonPath: TaskConnection]>([:])

    private init(_ daemon: DaemonPath) { self.daemon = daemon }

    /// The process's connection to `daemon`.
    static func to(_ daemon: DaemonPath) -> TaskConnection {
        all.withLock {
            if let known = $0[daemon] { return known }
            let made = TaskConnection(daemon)
            $0[daemon] = made
            return made
        }
    }

    /// Sends a request and waits for its answer.
    /// - Parameters:
    ///   - attached: a descriptor for the daemon, which stays open meanwhile; -1: none.
    ///   - identity: the chisocket it is about.
    /// - Throws: `ChisocketError` where there is no daemon, or none that knows the chisocket; `CancellationError`. What the
    ///   daemon thinks of the request is in the answer.
    func exchange(
        _ request: chitcp_request, attached: Int32 = -1, about identity: DescriptorIdentity? = nil
    ) async throws -> Answer {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let call = Call(request: request, attached: attached, identity: identity) {
                    continuation.resume(with: $0)
                }
                begin(call, number)
                // A cancellation that came before the call was noted found nothing to end.
                if Task.isCancelled { abandon(number) }
            }
        } onCancel: {
            abandon(number)
        }
    }

    /// Sends a request whose answer is of no interest.
    func tell(_ request: chitcp_request, about identity: DescriptorIdentity) {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        begin(
            Call(request: request, attached: -1, identity: identity) { answer in
                if case .success(let answer) = answer, answer.descriptor >= 0 { close(answer.descriptor) }
            }, number)
    }

    private func begin(_ call: Call, _ number: UInt64) {
        act { state in
            state.calls[number] = call
            state.unsent.append(number)
            do throws(ChisocketError) { try open(&state) } catch { return fail(&state, error) }
            return send(&state)
        }
    }

    /// Nobody waits for this call any more; its answer will be dropped.
    private func abandon(_ number: UInt64) {
        let call = state.withLock { $0.calls.removeValue(forKey: number) }
        call?.done(.failure(CancellationError()))
    }

    private func act(_ body: (inout State) -> [Outcome]) {
        for outcome in state.withLock({ body(&$0) }) { outcome.done(outcome.1) }
    }

    // MARK: Under the lock

    private func open(_ state: inout State) throws(ChisocketError) {
        guard state.socket == nil else { return }
        state.socket = try LibrarySocket(
            connectedTo: daemon.controlPath, type: SOCK_SEQPACKET, flags: Int32(SOCK_NONBLOCK.rawValue), of: daemon)
        state.lastNumber += 1
        let number = state.lastNumber
        state.calls[number] = Call(request: chitcp_request(CHITCP_OP_HELLO), attached: -1, identity: nil) { _ in }
        state.unsent.insert(number, at: 0)
        try watch(&state, for: .reading)
    }

    private func watch(_ state: inout State, for interest: Poller.Interest) throws(ChisocketError) {
        guard let descriptor = state.socket?.descriptor else { return }
        let wait = Poller.shared.makeWait(for: descriptor)
        state.waits[interest] = wait
        try Poller.shared.begin(wait, for: interest) { [self] error in
            // Ended by `fail`, which holds the lock.
            guard error == nil else { return }
            switch interest {
            case .reading: receive(from: descriptor)
            case .writing:
                act { state in
                    state.isWaitingToSend = false
                    return send(&state)
                }
            }
        }
    }

    /// Sends what waits: HELLO alone until the daemon has answered that.
    private func send(_ state: inout State) -> [Outcome] {
        var outcomes: [Outcome] = []
        while !state.isWaitingToSend, let number = state.unsent.first, let socket = state.socket {
            guard var call = state.calls[number] else {
                state.unsent.removeFirst()
                continue
            }
            let isHello = call.request.operation == CHITCP_OP_HELLO.rawValue
            guard isHello || state.daemonID != nil else { break }
            if let identity = call.identity, identity.daemonID != state.daemonID {
                state.unsent.removeFirst()
                state.calls[number] = nil
                let error = ChisocketError(
                    errno: ECONNRESET, call: "chisocket", context: "of another daemon than the one at \(daemon)")
                outcomes.append((call.done, .failure(error)))
                continue
            }
            call.request.magic = CHITCP_CONTROL_MAGIC
            call.request.call = number
            call.request.socket_id = call.identity?.socketID ?? 0
            let sent = withUnsafeBytes(of: &call.request) {
                clinux_send_descriptor(
                    socket.descriptor, $0.baseAddress, $0.count, call.attached, Int32(MSG_DONTWAIT))
            }
            if sent < 0 {
                switch errno {
                case EINTR: continue
                case EAGAIN:
                    // The daemon is behind: it will read.
                    state.isWaitingToSend = true
                    do throws(ChisocketError) { try watch(&state, for: .writing) } catch {
                        return outcomes + fail(&state, error)
                    }
                    return outcomes
                case EPIPE, ECONNRESET, ENOTCONN, ECONNREFUSED:
                    return outcomes + fail(&state, .noDaemon(at: daemon.path, errno: ECONNRESET))
                default:
                    // The descriptor that was to go along: nobody else is concerned.
                    let error = ChisocketError(errno: errno, call: "sendmsg")
                    state.calls[number] = nil
                    outcomes.append((call.done, .failure(error)))
                }
            }
            state.unsent.removeFirst()
        }
        return outcomes
    }

    /// The connection has ended: so have all calls.
    private func fail(_ state: inout State, _ error: ChisocketError) -> [Outcome] {
        let ended = state.calls.values.map { ($0.done, Result<Answer, any Error>.failure(error)) }
        for wait in state.waits.values { Poller.shared.cancel(wait) }
        state.waits = [:]
        state.socket?.close()
        state.socket = nil
        state.daemonID = nil
        state.calls = [:]
        state.unsent = []
        state.isWaitingToSend = false
        return ended
    }

    // MARK: Answers

    private func receive(from descriptor: Int32) {
        act { state in
            // An old connection's last readiness is nothing to a new one.
            guard let socket = state.socket, socket.descriptor == descriptor else { return [] }
            var outcomes: [Outcome] = []
            while true {
                var response = chitcp_response()
                var received: Int32 = -1
                let count = withUnsafeMutableBytes(of: &response) {
                    clinux_receive_descriptor(descriptor, $0.baseAddress, $0.count, &received, Int32(MSG_DONTWAIT))
                }
                if count < 0, errno == EINTR { continue }
                if count < 0, errno == EAGAIN { break }
                guard count == MemoryLayout<chitcp_response>.size, response.magic == CHITCP_CONTROL_MAGIC else {
                    if received >= 0 { close(received) }
                    let code = count > 0 ? EPROTO : ECONNRESET
                    return outcomes + fail(&state, .noDaemon(at: daemon.path, errno: code))
                }
                if response.operation == CHITCP_OP_HELLO.rawValue {
                    guard response.result >= 0 else {
                        return outcomes + fail(&state, .noDaemon(at: daemon.path, errno: response.error))
                    }
                    state.daemonID = response.value
                    outcomes += send(&state)
                }
                if let call = state.calls.removeValue(forKey: response.call) {
                    let answer = Answer(
                        response: response, descriptor: received, daemonID: state.daemonID ?? 0)
                    outcomes.append((call.done, .success(answer)))
                } else if received >= 0 {
                    close(received)
                }
            }
            do throws(ChisocketError) { try watch(&state, for: .reading) } catch { outcomes += fail(&state, error) }
            return outcomes
        }
    }
}
