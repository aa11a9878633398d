// Who may use this daemon.
import CLinux
import Glibc

/// Users and groups that may use a daemon besides root and the one it runs as. Who may use it is trusted with its sockets.
public struct Admission: Sendable {
    /// Their numbers.
    public var users: Set<UInt32> = []
    /// Groups whose members may.
    public var groups: Set<UInt32> = []

    /// Nobody else.
    public init() {}

    /// True if nobody but root and the daemon's own user may.
    public var isClosed: Bool { users.isEmpty && groups.isEmpty }

    /// True if the process at the other end of a UNIX socket may.
    func admits(_ descriptor: Int32, uid: UInt32, gid: UInt32) -> Bool {
        if uid == 0 || uid == geteuid() || users.contains(uid) || groups.contains(gid) { return true }
        guard !groups.isEmpty else { return false }
        var others = [UInt32](repeating: 0, count: 256)
        let count = clinux_peer_groups(descriptor, &others, Int32(others.count))
        return count > 0 && others.prefix(Int(count)).contains { groups.contains($0) }
    }

    /// The number of a user in text: a name or a number.
    static func user(_ text: String) -> UInt32? {
        if let number = UInt32(text) { return number }
        return getpwnam(text)?.pointee.pw_uid
    }

    /// The number of a group in text.
    static func group(_ text: String) -> UInt32? {
        if let number = UInt32(text) { return number }
        return getgrnam(text)?.pointee.gr_gid
    }
}
