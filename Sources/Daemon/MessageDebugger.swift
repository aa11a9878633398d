// Debug connections: events to the debugger, its answers back.
import DaemonProtocol
import Glibc
import SocketLayer
import TCPSegments

extension MessageSession {
    /// chiTCP's CHITCP_EINIT.
    private static let cannotBegin: Int32 = -5

    /// INIT of a debug connection: one debugger a socket.
    func beginDebugging(_ arguments: ChitcpdInitArgs, at now: Instant) {
        do throws(SocketError) {
            guard arguments.hasDebug else { throw .invalidArgument }
            let socket = try anySocket(arguments.debug.sockfd)
            try daemon.layer.watch(
                socket, for: BreakpointEvents(rawValue: arguments.debug.eventFlags), by: self)
            mode = .debugging
            respond(.success())
        } catch {
            respond(.failure(error.messageErrno, result: Self.cannotBegin))
            closeWhenWritten(at: now)
        }
    }

    /// A message on a debug connection: it can only be the answer to the last event.
    func debuggerAnswered(_ message: ChitcpdMsg, at now: Instant) {
        guard message.hasCode, message.code == .resp, message.hasResp, message.resp.hasRet,
            daemon.layer.answer(self, BreakpointResponse(rawValue: message.resp.ret) ?? .none, at: now)
        else {
            daemon.log.warning("closed a debug connection of process \(credentials.pid): not an answer to an event")
            close(at: now)
            return
        }
    }
}

extension MessageSession: Debugger {
    func stopped(at breakpoint: Breakpoint, at now: Instant) {
        var message = ChitcpdMsg()
        message.code = .debugEvent
        message.debugEventArgs.sockfd = Int32(clamping: breakpoint.socket)
        message.debugEventArgs.eventFlag = breakpoint.event.rawValue
        message.debugEventArgs.newSockfd = breakpoint.newSocket.map { Int32(clamping: $0) } ?? -1
        message.debugEventArgs.isActive = breakpoint.isActive
        send(message)
    }

    func nothingLeft(at now: Instant) { closeWhenWritten(at: now) }
}
