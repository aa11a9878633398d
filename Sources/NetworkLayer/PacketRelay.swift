// A bad wire between two TUN devices: IP packets in at one, out at the other, through an impairment each way.
import CLinux
import Glibc
import HeapModule
import Impairments
import TCPSegments

/// Forwards IP packets between two TUN devices until it is told to end. It runs on one thread.
public final class PacketRelay {
    /// One device's name, and the network namespace it is in.
    public struct Place: Sendable, CustomStringConvertible {
        /// The interface's name.
        public let name: String
        /// The namespace's name as `ip netns` has it; nil: this process's.
        public let namespace: String?

        /// `NAME` or `NAME@NAMESPACE`; nil if it is neither.
        public init?(_ text: String) {
            let parts = text.split(separator: "@", omittingEmptySubsequences: false).map(String.init)
            guard parts.count <= 2, (1...15).contains(parts[0].utf8.count), !parts[0].contains("/") else { return nil }
            guard parts.count == 1 || (!parts[1].isEmpty && !parts[1].contains("/")) else { return nil }
            name = parts[0]
            namespace = parts.count == 2 ? parts[1] : nil
        }

        /// The text from which it can be read again.
        public var description: String { name + (namespace.map { "@\($0)" } ?? "") }
    }

    /// What one direction did.
    public struct Counters: Sendable {
        /// What the impairment did.
        public internal(set) var impairment: Impairment.Counters
        /// Packets given to the other device, and their bytes.
        public internal(set) var forwarded = 0, bytes = 0
        /// Marked in their IP header (RFC 3168): those that said they can be.
        public internal(set) var marked = 0
        /// Dropped for want of room to hold them back.
        public internal(set) var overflowed = 0
        /// Not taken by the other device: it was down, or full.
        public internal(set) var notTaken = 0
    }

    private struct Packet: Comparable {
        let at: Instant
        let order: UInt64
        let way: Int
        let bytes: [UInt8]

        static func < (a: Packet, b: Packet) -> Bool { (a.at, a.order) < (b.at, b.order) }
        static func == (a: Packet, b: Packet) -> Bool { a.order == b.order }
    }

    private static let maximumHeldBytes = 64 << 20
    private static let maximumHeldPackets = 1 << 17

    private let devices: [TunDevice]
    private var impairments: [Impairment]
    private var own: [Counters]
    private var held = Heap<Packet>()
    private var heldBytes = 0
    private var order: UInt64 = 0
    private let input = Chunk(capacity: TunPacketHeader.length + 65_536)

    /// Opens both devices, which are made if they do not exist, and brings them up. From the first to the second happens what
    /// `there` says, back what `back` says.
    public init(
        _ places: (Place, Place), mtu: Int, there: Impairment, back: Impairment, log: (String) -> Void
    ) throws(SystemError) {
        devices = [try Self.open(places.0, mtu, log), try Self.open(places.1, mtu, log)]
        impairments = [there, back]
        own = impairments.map { Counters(impairment: $0.counters) }
        for device in devices { device.takeLargePackets(false) }
    }

    private static func open(_ place: Place, _ mtu: Int, _ log: (String) -> Void) throws(SystemError) -> TunDevice {
        guard let namespace = place.namespace else { return try TunDevice(name: place.name, mtu: mtu, log: log) }
        let home = Glibc.open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        let there = Glibc.open("/run/netns/" + namespace, O_RDONLY | O_CLOEXEC)
        defer { for descriptor in [home, there] where descriptor >= 0 { Glibc.close(descriptor) } }
        guard home >= 0, there >= 0, clinux_enter_network(there) == 0 else {
            throw SystemError("cannot enter the network namespace \(namespace)", advice: "ip netns list shows all")
        }
        defer { _ = clinux_enter_network(home) }
        return try TunDevice(name: place.name, mtu: mtu, log: log)
    }

    /// What was done so far, there and back.
    public var counters: (there: Counters, back: Counters) {
        for way in 0..<2 { own[way].impairment = impairments[way].counters }
        return (own[0], own[1])
    }

    /// Forwards until `stop` is readable.
    public func run(until stop: Int32) {
        while true {
            var entries = (devices.map(\.descriptor) + [stop]).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            let wait = held.min.map { max(0, ($0.at - Self.now()).nanoseconds) } ?? -1
            if clinux_poll(&entries, Int32(entries.count), wait) > 0 {
                if entries[2].revents != 0 { return }
                for way in 0..<2 where entries[way].revents != 0 { takePackets(from: way) }
            }
            sendDue()
        }
    }

    /// Reads what a device has, a turn of 64 packets.
    private func takePackets(from way: Int) {
        for _ in 0..<64 {
            let n = read(devices[way].descriptor, input.base, input.capacity)
            guard n > TunPacketHeader.length else { return }
            let packet = UnsafeRawBufferPointer(
                start: input.base + TunPacketHeader.length, count: n - TunPacketHeader.length)
            let now = Self.now()
            for delivery in impairments[way].deliveries(size: packet.count, at: now) {
                guard heldBytes + packet.count <= Self.maximumHeldBytes, held.count < Self.maximumHeldPackets else {
                    own[way].overflowed += 1
                    continue
                }
                hold(packet, delivery, way)
            }
        }
    }

    private func hold(_ packet: UnsafeRawBufferPointer, _ delivery: Delivery, _ way: Int) {
        // An empty header in front: nothing is left to the kernel that takes it.
        var bytes = [UInt8](repeating: 0, count: TunPacketHeader.length) + packet
        bytes.withUnsafeMutableBytes { space in
            let copy = UnsafeMutableRawBufferPointer(rebasing: space[TunPacketHeader.length...])
            if delivery.isMarked, CongestionMark.set(on: copy) { own[way].marked += 1 }
            if let bit = delivery.flippedBit { copy[bit / 8] ^= 1 << UInt8(bit % 8) }
        }
        order += 1
        heldBytes += packet.count
        held.insert(Packet(at: delivery.at, order: order, way: way, bytes: bytes))
    }

    private func sendDue() {
        let now = Self.now()
        while let packet = held.min, packet.at <= now {
            held.removeMin()
            heldBytes -= packet.bytes.count - TunPacketHeader.length
            let target = devices[1 - packet.way].descriptor
            if write(target, packet.bytes, packet.bytes.count) == packet.bytes.count {
                own[packet.way].forwarded += 1
                own[packet.way].bytes += packet.bytes.count - TunPacketHeader.length
            } else {
                own[packet.way].notTaken += 1
            }
        }
    }

    private static func now() -> Instant {
        var t = timespec()
        clock_gettime(CLOCK_MONOTONIC, &t)
        return Instant(nanoseconds: Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec))
    }
}

/// RFC 3168: the mark "congestion experienced" in an IP header.
public enum CongestionMark {
    /// Sets it if the packet says that its ends understand it (ECT); false if it does not, or is no IP packet.
    public static func set(on packet: UnsafeMutableRawBufferPointer) -> Bool {
        guard packet.count >= 20 else { return false }
        switch packet[0] >> 4 {
        case 4:
            let field = packet[1] & 3
            guard field == 1 || field == 2 else { return false }
            packet[1] |= 3
            // RFC 1624 (eqn. 3): the header's checksum, from what one of its 16-bit words was and is.
            let old = UInt32(packet[1] & ~3 | field) | UInt32(packet[0]) << 8
            let new = UInt32(packet[1]) | UInt32(packet[0]) << 8
            var sum = UInt32(~(UInt16(packet[10]) << 8 | UInt16(packet[11]))) + (~old & 0xFFFF) + new
            sum = (sum & 0xFFFF) + sum >> 16
            sum = (sum & 0xFFFF) + sum >> 16
            packet[10] = UInt8(~sum >> 8 & 0xFF)
            packet[11] = UInt8(~sum & 0xFF)
        case 6:
            let field = packet[1] >> 4 & 3
            guard field == 1 || field == 2 else { return false }
            packet[1] |= 0x30
        default: return false
        }
        return true
    }
}
