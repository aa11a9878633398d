// Options as control records carry them: the socket layer answers.
import ControlRecords
import SocketLayer
import TCPEngine
import TCPSegments

extension ControlSession {
    /// Sets an option; returns the send buffer that the application's end is to have (0: leave it).
    func setOption(
        _ socket: Socket, of owner: DescriptorSocket, _ request: chitcp_request, at now: Instant
    ) throws(SocketError) -> Int32 {
        let value = withUnsafeBytes(of: request.data) { Array($0.prefix(Int(request.data_length))) }
        try daemon.layer.setOption(
            socket, OptionName(request.argument.0, request.argument.1), value, at: now)
        // The buffers of the descriptor follow those of the connection.
        return owner.fitBuffers(to: socket)
    }

    /// The bytes of an option's value.
    func option(_ socket: Socket, _ request: chitcp_request) throws(SocketError) -> [UInt8] {
        try daemon.layer.option(socket, OptionName(request.argument.0, request.argument.1))
    }

    /// What was set on a socket that is still idle: each a `chitcp_option` and its value.
    func history(of socket: Socket) -> [UInt8] {
        var all: [UInt8] = []
        for (name, value) in socket.settings.history {
            let head = chitcp_option(level: name.level, name: name.name, length: UInt32(value.count))
            let entry = withUnsafeBytes(of: head) { Array($0) } + value
            if all.count + entry.count <= Int(CHITCP_DATA_MAX) { all += entry }
        }
        return all
    }
}

extension chitcp_response {
    /// Puts bytes into the data field; what does not fit is left out.
    mutating func setBytes(_ bytes: [UInt8]) {
        let count = min(bytes.count, Int(CHITCP_DATA_MAX))
        withUnsafeMutableBytes(of: &data) { $0.copyBytes(from: bytes.prefix(count)) }
        data_length = UInt32(count)
    }
}
