// A chisocket as requests name it: tasks ask the daemon about it, whoever owns the descriptor.
import CLinux
import ControlRecords
import Glibc

/// A chisocket whose descriptor may be somebody else's, such as a library's for events.
package struct ChisocketReference: Sendable {
    let daemon: DaemonPath
    let identity: DescriptorIdentity

    /// Has the daemon answer a request about the chisocket, and throws what it finds wrong.
    @discardableResult
    func ask(
        _ request: chitcp_request, _ call: String, _ context: @autoclosure () -> String = "", attached: Int32 = -1
    ) async throws -> chitcp_response {
        let answer = try await TaskConnection.to(daemon).exchange(request, attached: attached, about: identity)
        if answer.descriptor >= 0 { Glibc.close(answer.descriptor) }
        try answer.response.check(call, context())
        return answer.response
    }

    /// Sets an option by its numbers.
    /// - Returns: the SO_SNDBUF that the descriptor is to get; 0: none.
    package func setOption(level: Int32, name: Int32, _ bytes: [UInt8]) async throws -> Int32 {
        let request = try bytes.withUnsafeBytes { try chitcp_request.setOption(level: level, name: name, $0) }
        return try await ask(request, "setsockopt").argument.0
    }

    /// An option's bytes by its numbers.
    package func option(level: Int32, name: Int32) async throws -> [UInt8] {
        try await ask(chitcp_request(CHITCP_OP_GET_OPTION, (level, name, 0, 0)), "getsockopt").bytes
    }

    /// Tells the daemon that what still arrives is to be discarded; shutdown(2) on the descriptor follows. Without it, that
    /// would look like a close.
    package func announceReceivingShutdown() async throws {
        try await ask(chitcp_request(CHITCP_OP_SHUTDOWN, (Int32(SHUT_RD), 0, 0, 0)), "shutdown")
    }

    /// Resets the connection, whatever is queued.
    package func abort() async throws { try await ask(chitcp_request(CHITCP_OP_ABORT), "abort") }
}

extension Chisocket {
    /// This chisocket as requests name it.
    package func reference(_ call: String) throws(ChisocketError) -> ChisocketReference {
        let descriptor = try hold(call)
        defer { leave() }
        return ChisocketReference(daemon: daemon, identity: try DescriptorIdentity(of: descriptor, call: call))
    }
}
