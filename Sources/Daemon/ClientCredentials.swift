// Who is at the other end of a client's connection, and what that allows.
import CLinux
import Glibc
import SocketLayer

/// The process and user that opened a connection, by the kernel's word.
struct ClientCredentials {
    let pid: Int32
    let uid: UInt32

    /// Whether this user may use the daemon at all.
    let mayUse: Bool

    /// Nil if the connection is gone already.
    init?(of descriptor: Int32, _ admission: Admission) {
        var pid: Int32 = 0
        var uid: UInt32 = 0
        var gid: UInt32 = 0
        guard clinux_peer_credentials(descriptor, &pid, &uid, &gid) == 0 else { return nil }
        self.pid = pid
        self.uid = uid
        mayUse = admission.admits(descriptor, uid: uid, gid: gid)
    }

    /// Whether this user may change the network under everybody.
    var mayImpair: Bool { uid == 0 || uid == geteuid() }

    /// Whether this user may see what everybody sends and receives.
    var mayCapture: Bool { uid == 0 || uid == geteuid() }

    /// Whether this user may look at a socket, debug it, or call it by its number.
    func mayReach(_ socket: Socket) -> Bool { uid == 0 || uid == geteuid() || uid == socket.ownerUID }
}
