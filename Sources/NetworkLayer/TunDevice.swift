// A TUN device: whole IP packets in and out, with segmentation and checksums left to the kernel where it offers them.
import CLinux
import Glibc
import TCPSegments

/// What stands in front of each packet (virtio_net_hdr): whether the checksum is made, and how large data is to be cut.
struct TunPacketHeader {
    static let length = 10
    /// The TCP checksum field holds the pseudo-header's sum only; whoever sends on computes the rest.
    static let needsChecksum: UInt8 = 1
    /// Whoever received the packet has verified it.
    static let checksumIsValid: UInt8 = 2

    var flags: UInt8 = 0
    /// 0, or what kind of segments to cut: 1 for TCP over IPv4, 4 over IPv6.
    var segmentation: UInt8 = 0
    var headerLength: UInt16 = 0
    var segmentSize: UInt16 = 0
    var checksumStart: UInt16 = 0
    var checksumOffset: UInt16 = 0

    /// Writes it to `target`, which has room for `length` bytes. Host byte order, as the kernel wants it.
    func encode(into target: UnsafeMutableRawPointer) {
        target.storeBytes(of: flags, as: UInt8.self)
        target.storeBytes(of: segmentation, toByteOffset: 1, as: UInt8.self)
        target.storeBytes(of: headerLength, toByteOffset: 2, as: UInt16.self)
        target.storeBytes(of: segmentSize, toByteOffset: 4, as: UInt16.self)
        target.storeBytes(of: checksumStart, toByteOffset: 6, as: UInt16.self)
        target.storeBytes(of: checksumOffset, toByteOffset: 8, as: UInt16.self)
    }
}

/// The descriptor of a TUN device. One thread uses it at a time.
public final class TunDevice {
    let name: String
    let descriptor: Int32
    /// True if the kernel takes large packets without checksums.
    let offloads: Bool
    /// True if the kernel hands over such packets.
    private(set) var takesLargePackets: Bool

    /// Opens the device, sets its MTU and brings it up. A device that its owner has prepared needs no privilege for that; what
    /// is then missing is said to `log`.
    public init(name: String, mtu: Int, log: (String) -> Void) throws(SystemError) {
        self.name = name
        var offload: Int32 = 0
        descriptor = clinux_tun_open(name, &offload)
        guard descriptor >= 0 else {
            let error = errno
            throw SystemError("cannot open the TUN device \(name)", errno: error, advice: Self.advice(name, error))
        }
        offloads = offload != 0
        takesLargePackets = offloads
        if clinux_interface_up(name, Int32(mtu)) != 0 {
            let reason = String(cString: strerror(errno)).lowercased()
            log("cannot set up the interface \(name) (\(reason)): ip link set \(name) mtu \(mtu) up")
        }
    }

    deinit { Glibc.close(descriptor) }

    private static func advice(_ name: String, _ error: Int32) -> String {
        switch error {
        case EPERM, EACCES: return "as root: ip tuntap add \(name) mode tun user \(getuid())"
        case ENOENT, ENXIO: return "this kernel has no /dev/net/tun"
        case EBUSY: return "another program uses it"
        case EINVAL: return "another kind of interface has this name"
        default: return ""
        }
    }

    /// Has the kernel hand over large packets, or only such as fit the MTU, with their checksums.
    func takeLargePackets(_ large: Bool) {
        takesLargePackets = large
        guard offloads else { return }
        _ = clinux_tun_offload(descriptor, large ? 1 : 0)
    }

    /// Writes one packet from its pieces; false with errno.
    func write(_ pieces: UnsafeMutableBufferPointer<iovec>) -> Bool {
        while true {
            if writev(descriptor, pieces.baseAddress, Int32(pieces.count)) >= 0 { return true }
            if errno != EINTR { return false }
        }
    }
}
