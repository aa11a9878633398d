// A debug handler is told the descriptor of a connection before there is one: its number is reserved until accept.
import CLinux
import Glibc
import Synchronization

/// Descriptor numbers promised to debug handlers for connections that wait to be accepted.
enum ReservedDescriptors {
    /// A socket of a daemon.
    private struct Key: Hashable {
        let daemonID: UInt64
        let number: Int32
    }

    /// A descriptor that holds the number's place, and what it is, in case the program closes it and gets the number for
    /// something else.
    private struct Placeholder {
        let descriptor: Int32
        let device: UInt
        let inode: UInt

        var isInPlace: Bool {
            var status = stat()
            return fstat(descriptor, &status) == 0 && UInt(status.st_dev) == device && UInt(status.st_ino) == inode
        }
    }

    private static let reserved = Mutex<[Key: Placeholder]>([:])

    /// A descriptor number for the connection that will be socket `number`; -1 if the process has none left.
    static func reserve(number: Int32, daemonID: UInt64) -> Int32 {
        let key = Key(daemonID: daemonID, number: number)
        return reserved.withLock { all in
            // A connection that ended before it was accepted had the same number.
            if let old = all[key], old.isInPlace { return old.descriptor }
            let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { return -1 }
            var status = stat()
            guard fstat(descriptor, &status) == 0 else {
                close(descriptor)
                return -1
            }
            all[key] = Placeholder(
                descriptor: descriptor, device: UInt(status.st_dev), inode: UInt(status.st_ino))
            return descriptor
        }
    }

    /// The socket number for which `descriptor` is reserved, if it is.
    static func number(at descriptor: Int32) -> Int32? {
        reserved.withLock { all in
            all.first { $0.value.descriptor == descriptor && $0.value.isInPlace }?.key.number
        }
    }

    /// Moves an accepted connection to its reserved number, if it has one.
    /// - Returns: the connection's descriptor from here on, close-on-exec.
    static func move(_ received: Int32, number: Int32, daemonID: UInt64) -> Int32 {
        reserved.withLock { all in
            guard let place = all.removeValue(forKey: Key(daemonID: daemonID, number: number)), place.isInPlace,
                clinux_dup_onto(received, place.descriptor) >= 0
            else { return received }
            close(received)
            return place.descriptor
        }
    }

    /// Gives up the reservations for these sockets: nobody will be told of them again.
    static func release(numbers: some Sequence<Int32>, daemonID: UInt64) {
        reserved.withLock { all in
            for number in numbers {
                guard let place = all.removeValue(forKey: Key(daemonID: daemonID, number: number)), place.isInPlace
                else { continue }
                close(place.descriptor)
            }
        }
    }
}
