// The answers of chiTCP's protocol: results, errnos, addresses, states.
import DaemonProtocol
import FoundationEssentials
import Glibc
import NetworkLayer
import SocketLayer
import TCPEngine
import TCPSegments

extension ChitcpdResp {
    /// A call that went well.
    static func success(_ result: Int32 = 0) -> ChitcpdResp {
        var answer = ChitcpdResp()
        answer.ret = result
        answer.errorCode = 0
        return answer
    }

    /// A call that failed.
    static func failure(_ error: Int32, result: Int32 = -1) -> ChitcpdResp {
        var answer = ChitcpdResp()
        answer.ret = result
        answer.errorCode = error
        return answer
    }
}

extension SocketError {
    /// The errno that says it over chiTCP's protocol: the original's, where POSIX has no better one.
    var messageErrno: Int32 {
        switch self {
        case .tooManySockets, .connection(.tooManyConnections): return ENOMEM
        case .connection(.noPortLeft): return EAGAIN
        case .isConnected, .alreadyConnecting: return EALREADY
        default: return errno
        }
    }
}

extension MessageFrames {
    /// Bytes of a stream that fit into one message with everything else.
    static let maximumData = maximumSize - 4096
}

/// Addresses as chiTCP's messages carry them: a struct sockaddr as it lies in memory.
enum MessageAddress {
    /// The endpoint in `bytes`; a foreign family and a length that does not fit are errors.
    static func endpoint(_ bytes: Data) throws(SocketError) -> Endpoint {
        guard bytes.count >= MemoryLayout<sa_family_t>.size,
            let address = bytes.withUnsafeBytes({ SocketAddress(bytes: $0) })
        else { throw .invalidArgument }
        let needed: Int
        switch address.family {
        case AF_INET: needed = MemoryLayout<sockaddr_in>.size
        case AF_INET6: needed = MemoryLayout<sockaddr_in6>.size
        default: throw .addressFamilyNotSupported
        }
        guard bytes.count >= needed, let endpoint = address.endpoint else { throw .invalidArgument }
        return endpoint
    }

    /// A struct sockaddr_storage; an IPv6 socket sees an IPv4 peer by its mapped address.
    static func storage(_ endpoint: Endpoint, isIPv6: Bool) -> Data {
        var bytes = Data(count: MemoryLayout<sockaddr_storage>.size)
        let address = isIPv6 ? SocketAddress(mapping: endpoint) : SocketAddress(endpoint)
        address.withPointer { source, length in
            bytes.withUnsafeMutableBytes {
                $0.copyMemory(from: UnsafeRawBufferPointer(start: source, count: Int(length)))
            }
        }
        return bytes
    }
}

extension ChitcpdSocketState {
    /// The variables of a connection, or a state without any.
    init(_ state: State, _ info: ConnectionInfo?) {
        self.init()
        tcpState = Int32((info?.state ?? state).rawValue)
        iss = Int32(bitPattern: info?.iss.value ?? 0)
        irs = Int32(bitPattern: info?.irs.value ?? 0)
        sndUna = Int32(bitPattern: info?.sndUna.value ?? 0)
        rcvNxt = Int32(bitPattern: info?.rcvNxt.value ?? 0)
        sndNxt = Int32(bitPattern: info?.sndNxt.value ?? 0)
        rcvWnd = Int32(bitPattern: info?.rcvWnd ?? 0)
        sndWnd = Int32(bitPattern: info?.sndWnd ?? 0)
    }
}

extension ChitcpdSocketBufferContents {
    /// What a snapshot holds of the buffers.
    init(_ snapshot: ControlBlockSnapshot?) {
        self.init()
        snd = Data(snapshot?.sendBuffer ?? [])
        rcv = Data(snapshot?.receiveBuffer ?? [])
    }
}
