// Where the daemon's UNIX sockets are.
import ControlRecords
import Glibc

/// The path of a daemon's UNIX socket; this library's own socket lies beside it, with ".control" appended.
public struct DaemonPath: Hashable, Sendable, CustomStringConvertible {
    /// chiTCP's UNIX socket.
    public let path: String

    /// The daemon at `path`.
    public init(_ path: String) { self.path = path }

    /// CHITCPD_SOCK, else /tmp/chitcpd.socket.LOGIN where getlogin(3) answers, else /tmp/chitcpd.socket.
    public static var standard: DaemonPath {
        if let named = getenv("CHITCPD_SOCK"), named.pointee != 0 { return DaemonPath(String(cString: named)) }
        return loginPath
    }

    private static let loginPath: DaemonPath = {
        var login = [CChar](repeating: 0, count: 256)
        guard getlogin_r(&login, login.count) == 0, login[0] != 0 else { return DaemonPath("/tmp/chitcpd.socket") }
        let name = String(decoding: login.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return DaemonPath("/tmp/chitcpd.socket.\(name)")
    }()

    /// The path of the socket for control records.
    public var controlPath: String { path + CHITCP_CONTROL_SUFFIX }

    /// The path.
    public var description: String { path }
}
