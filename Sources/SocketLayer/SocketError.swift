// One table from typed errors to errno.
import Glibc
import TCPEngine

/// Why a socket call failed.
public enum SocketError: Error, Hashable, Sendable {
    case connection(ConnectionError)
    case badSocket
    case invalidArgument
    case addressFamilyNotSupported
    case addressNotAvailable
    case isConnected
    case alreadyConnecting
    case notConnected
    case isListening
    case tooManySockets
    case unknownOption
    case unknownCongestionControl
    case socketTypeNotSupported
    case protocolNotSupported
    /// What was asked for is switched off.
    case notSupported
    /// A debugger has attached itself to the socket already.
    case isMonitored

    /// The errno of Linux that says it.
    public var errno: Int32 {
        switch self {
        case .connection(let error): return error.errno
        case .badSocket: return EBADF
        case .invalidArgument: return EINVAL
        case .addressFamilyNotSupported: return EAFNOSUPPORT
        case .addressNotAvailable: return EADDRNOTAVAIL
        case .isConnected: return EISCONN
        case .alreadyConnecting: return EALREADY
        case .notConnected: return ENOTCONN
        case .isListening, .notSupported: return EOPNOTSUPP
        case .tooManySockets: return ENFILE
        case .unknownOption: return ENOPROTOOPT
        case .unknownCongestionControl: return ENOENT
        case .socketTypeNotSupported: return ESOCKTNOSUPPORT
        case .protocolNotSupported: return EPROTONOSUPPORT
        case .isMonitored: return EAGAIN
        }
    }
}

extension ConnectionError {
    /// The errno of Linux that says it.
    public var errno: Int32 {
        switch self {
        case .refused: return ECONNREFUSED
        case .reset: return ECONNRESET
        case .timedOut: return ETIMEDOUT
        case .unreachable: return EHOSTUNREACH
        case .aborted: return ECONNABORTED
        case .notConnected: return ENOTCONN
        case .closing: return EPIPE
        case .addressInUse: return EADDRINUSE
        case .noPortLeft: return EADDRNOTAVAIL
        case .tooManyConnections: return ENOBUFS
        }
    }
}
