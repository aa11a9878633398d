// TCP Fast Open in calls: a send that connects (RFC 7413; Linux's MSG_FASTOPEN and TCP_FASTOPEN_CONNECT).
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

extension Plugin {
    /// Connects with the SYN carrying as much as may; the value is how many bytes those are. nil: it was connecting, and has done
    /// so meanwhile: the call is like any other.
    func openFast(_ end: SocketEnd, _ memory: CallerMemory, to remote: GivenAddress?, isDeferred: Bool) -> Outcome? {
        // Memory that is not there sends a SYN without data (Linux).
        let bytes = UnsafeRawBufferPointer(memory.run(at: 0) ?? UnsafeMutableRawBufferPointer(start: nil, count: 0))
        if isDeferred, let connection = end.connection {
            let count = min(bytes.count, connection.synDataRoom)
            do {
                let sent = try layer.host.send(connection, UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: now)
                layer.run(at: now)
                return .value(sent)
            } catch { return .failure(error.errno) }
        }
        guard layer.host.fastOpen.modes.contains(.client) else { return .failure(EOPNOTSUPP) }
        switch end.connecting {
        case .done: return .failure(EISCONN)
        case .begun:
            if end.socket.hasEnded {
                // Linux: why the attempt failed is told once, and another one may follow.
                end.connecting = .never
                let error = end.takeError()
                return .failure(error == 0 ? ECONNABORTED : error)
            }
            guard end.socket.wasEstablished else { return .failure(EALREADY) }
            end.connecting = .done
            return nil
        case .never: break
        }
        guard let remote else { return .failure(EINVAL) }
        guard case .endpoint(let endpoint) = remote else { return .failure(EOPNOTSUPP) }
        do {
            let count = try layer.sendFastOpen(end.socket, bytes, to: endpoint, at: now)
            end.connecting = .begun
            layer.run(at: now)
            return .value(count)
        } catch { return .failure(error.errno) }
    }

    /// The address of sendto(2) or sendmsg(2), if there is one.
    func destination(_ address: UnsafeRawPointer?, _ length: socklen_t) -> Result<GivenAddress?, CallFailure> {
        guard let address, length > 0 else { return .success(nil) }
        return GivenAddress.read(address.assumingMemoryBound(to: sockaddr.self), length).map { $0 }
    }
}
