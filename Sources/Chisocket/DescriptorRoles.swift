// What this process knows of its descriptors, so that data calls need not ask the daemon.
import ControlRecords
import Glibc
import Synchronization

/// Which chisockets of this process listen and which are connected, by descriptor number. A number the program closed and
/// got again for another chisocket is noticed by its identity.
enum DescriptorRoles {
    /// What a chisocket is for.
    enum Role {
        case listening, connected
    }

    private static let known = Mutex<[Int32: (identity: DescriptorIdentity, role: Role)]>([:])

    /// What `descriptor` is, if this process knows.
    static func role(of descriptor: Int32, _ identity: DescriptorIdentity) -> Role? {
        known.withLock {
            guard let entry = $0[descriptor], entry.identity == identity else { return nil }
            return entry.role
        }
    }

    /// Remembers a role.
    static func note(_ role: Role, _ descriptor: Int32, _ identity: DescriptorIdentity) {
        known.withLock { $0[descriptor] = (identity, role) }
    }

    /// What the daemon's answer about `descriptor` says it is for, nil for nothing yet; remembered.
    static func learn(
        _ descriptor: Int32, _ identity: DescriptorIdentity, state: Int32, hasPeer: Bool
    ) -> Role? {
        let role: Role
        if state == CHITCP_STATE_LISTEN {
            role = .listening
        } else if hasPeer {
            role = .connected
        } else {
            return nil
        }
        note(role, descriptor, identity)
        return role
    }

    /// Forgets a descriptor that is being closed.
    static func forget(_ descriptor: Int32) {
        known.withLock { $0[descriptor] = nil }
    }
}
