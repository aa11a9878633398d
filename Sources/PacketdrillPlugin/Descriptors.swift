// The descriptors that the script holds. Each stands beside one of the kernel's, so that numbers never collide.
import CPacketdrill
import Glibc
import TCPSegments

/// What a descriptor of the plugin stands for.
class Descriptor {
    let number: Int32
    /// F_GETFL.
    var statusFlags = O_RDWR
    /// Who hears of its readiness.
    var watches: [Watch] = []

    init(number: Int32) { self.number = number }

    var isNonBlocking: Bool { statusFlags & O_NONBLOCK != 0 }

    /// What poll(2) would tell, everything of it.
    var readiness: UInt32 { 0 }

    /// Something of `events` may have come about.
    final func wake(_ events: UInt32) { for watch in watches { watch.wake(events) } }
}

/// What epoll and poll tell, as the kernel numbers it.
enum Readiness {
    static let input: UInt32 = 0x001, urgent: UInt32 = 0x002, output: UInt32 = 0x004, error: UInt32 = 0x008
    static let hangUp: UInt32 = 0x010, normalInput: UInt32 = 0x040, normalOutput: UInt32 = 0x100
    static let readHangUp: UInt32 = 0x2000
    static let oneShot: UInt32 = 1 << 30, edge: UInt32 = 1 << 31
    static let anyInput = input | normalInput, anyOutput = output | normalOutput
    static let everything = anyInput | anyOutput | urgent | error | hangUp | readHangUp
}

/// The descriptors by number.
final class DescriptorTable {
    private var all: [Int32: Descriptor] = [:]

    subscript(_ number: Int32) -> Descriptor? { all[number] }

    /// Makes a descriptor with a number of the kernel's.
    func add<D: Descriptor>(_ make: (Int32) -> D) -> Result<D, CallFailure> {
        let number = packetdrill_open_stand_in()
        guard number >= 0 else { return .failure(CallFailure(error: errno)) }
        let made = make(number)
        all[number] = made
        return .success(made)
    }

    /// The descriptor is closed, and its number free.
    func remove(_ descriptor: Descriptor) {
        for watch in descriptor.watches { watch.set?.forget(watch) }
        descriptor.watches = []
        all[descriptor.number] = nil
        _ = packetdrill_close_stand_in(descriptor.number)
    }

    /// Sockets look at what has become of their connections: whoever found a send buffer full may hear that it is not any more.
    func notice(at now: Instant) { for case let end as SocketEnd in all.values { end.notice(at: now) } }
}
