// Descriptors in which small messages stay a while after they were read.
import TCPSegments

/// Sockets whose descriptors are to be tidied before long. A program that gave its descriptor a tiny buffer behind the daemon's
/// back waits no longer than that for room, and an idle connection holds no memory of the kernel for what is over.
struct UntidyEnds {
    private var sockets: [DescriptorSocket] = []
    /// When they are to be tidied, all together.
    private(set) var nextTimeout: Instant?
    private static let delay = TimeInterval.milliseconds(10)

    /// From now on `socket` is one of them.
    mutating func add(_ socket: DescriptorSocket, at now: Instant) {
        guard !socket.isUntidy else { return }
        socket.isUntidy = true
        sockets.append(socket)
        if nextTimeout == nil { nextTimeout = now + Self.delay }
    }

    /// Tidies them if it is time.
    mutating func handleTimeout(at now: Instant) {
        guard let moment = nextTimeout, moment <= now else { return }
        nextTimeout = nil
        for socket in sockets { socket.tidy() }
        sockets.removeAll(keepingCapacity: true)
    }
}
