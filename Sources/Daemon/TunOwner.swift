// The user who owns a TUN device and as whom the daemon goes on once there is one: privilege only where it must be.
import CLinux
import Glibc
import NetworkLayer

/// A user of this machine.
struct TunOwner {
    /// The user's number and main group.
    let uid: UInt32
    let gid: UInt32
    /// The name as it was given.
    let name: String

    /// The user with this name or number; nil if there is none.
    init?(_ text: String) {
        guard let uid = Admission.user(text) else { return nil }
        self.uid = uid
        name = text
        // A number without an entry: a user of a container, with the group of the same number.
        gid = getpwuid(uid)?.pointee.pw_gid ?? uid
    }

    /// Has this process be that user's from now on, without any capability.
    func become() throws(SystemError) {
        guard geteuid() != uid else { return }
        let login = getpwuid(uid).map { String(cString: $0.pointee.pw_name) }
        let grouped = login.map { initgroups($0, gid) == 0 } ?? (setgroups(0, nil) == 0)
        guard grouped, setgid(gid) == 0, setuid(uid) == 0 else {
            throw SystemError("cannot become the user \(name)", advice: "only root can")
        }
    }
}
