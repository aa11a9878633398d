// Which socket of the daemon is behind a descriptor: chiTCP's protocol knows sockets by the daemon's numbers.
import ControlRecords
import Glibc
import Synchronization

/// The daemon's numbers of this process's chisockets, by descriptor number. An entry outlives its descriptor, so that one
/// can ask for the state of a connection that was closed, until the descriptor's number is another chisocket's.
package enum DescriptorNumbers {
    private static let known = Mutex<[Int32: (identity: DescriptorIdentity, number: Int32)]>([:])

    /// Remembers what the daemon said of `descriptor`.
    static func note(_ number: Int32, _ descriptor: Int32, _ identity: DescriptorIdentity) {
        known.withLock { $0[descriptor] = (identity, number) }
    }

    /// The daemon's number of the chisocket `descriptor` is, was before it was closed, or will be once accepted.
    /// - Throws: EBADF, or ENOTSOCK for another kind of descriptor.
    package static func number(
        of descriptor: Int32, daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int32 {
        let entry = known.withLock { $0[descriptor] }
        let identity: DescriptorIdentity
        do throws(ChisocketError) {
            identity = try DescriptorIdentity(of: descriptor, call: "chitcpd_debug")
        } catch {
            if let waiting = ReservedDescriptors.number(at: descriptor) { return waiting }
            if error.errno == EBADF, let entry { return entry.number }
            throw error
        }
        if let entry, entry.identity == identity { return entry.number }
        // Inherited, or duplicated: the daemon is asked.
        var request = chitcp_request(CHITCP_OP_NAMES)
        let response = try DescriptorCalls.call(&request, on: descriptor, daemon, name: "chitcpd_debug")
        note(response.argument.1, descriptor, identity)
        return response.argument.1
    }
}
