// What a chisocket call throws: the errno its C namesake would set, and a sentence for a person.
import Glibc

/// A failed chisocket call.
public struct ChisocketError: Error, CustomStringConvertible, Sendable {
    /// The errno of Linux that says what went wrong, e.g. ECONNREFUSED.
    public let errno: Int32
    /// The call that failed, e.g. "connect".
    public let call: String
    /// What failed, with which value, and what to do.
    public let message: String
    /// True if the cause is that no daemon answers at the UNIX socket path.
    public let isDaemonMissing: Bool

    /// A failure of `call` with `errno`; the sentence is made of both and `context`.
    public init(errno: Int32, call: String, context: String = "") {
        self.errno = errno
        self.call = call
        self.message = "\(call)\(context.isEmpty ? "" : " \(context)"): \(Self.text(errno))"
        self.isDaemonMissing = false
    }

    /// There is no daemon at `path`: what connect(2) said about it.
    static func noDaemon(at path: String, errno: Int32) -> ChisocketError {
        let advice =
            switch errno {
            case EACCES, EPERM: "this user may not use it (see chitcpd --allow-user)"
            case ENAMETOOLONG: "the path is too long for a UNIX socket (107 bytes)"
            default: "is chitcpd running? CHITCPD_SOCK names another path"
            }
        return ChisocketError(
            errno: errno, call: "socket",
            message: "chisocket: no daemon answers at \(path): \(text(errno)); \(advice)", isDaemonMissing: true)
    }

    /// No address is known for `host`: what getaddrinfo(3) said about it.
    static func unknownHost(_ host: String, reason: String) -> ChisocketError {
        ChisocketError(
            errno: EHOSTUNREACH, call: "resolve", message: "cannot find the host \(host): \(reason)",
            isDaemonMissing: false)
    }

    private init(errno: Int32, call: String, message: String, isDaemonMissing: Bool) {
        self.errno = errno
        self.call = call
        self.message = message
        self.isDaemonMissing = isDaemonMissing
    }

    /// The sentence.
    public var description: String { message }

    private static func text(_ errno: Int32) -> String { String(cString: strerror(errno)) }
}
