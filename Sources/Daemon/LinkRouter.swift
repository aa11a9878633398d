// Which link a connection takes: frames over real TCP, or a TUN device; the longest prefix decides.
import NetworkLayer
import SocketLayer
import TCPEngine
import TCPSegments

/// All links of a daemon as the socket layer sees them.
final class LinkRouter: LinkProvider {
    /// Nil if this daemon has a TUN device only.
    let frames: FrameLinks?
    let tun: TunLink?

    init(frames: FrameLinks?, tun: TunLink?) {
        self.frames = frames
        self.tun = tun
    }

    func want(_ addresses: AddressPair, fresh: Bool, at now: Instant) {
        if let tun, tun.isOurs(addresses.local) {
            tun.want(addresses, at: now)
        } else {
            frames?.want(addresses, fresh: fresh, at: now)
        }
    }

    func transmit(_ transmission: Transmission, _ tuple: FourTuple, on link: LinkID, at now: Instant) {
        if TunLink.owns(link) {
            tun?.transmit(transmission, tuple, at: now)
        } else {
            frames?.transmit(transmission, tuple, on: link, at: now)
        }
    }

    func localAddress(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress {
        if let route = tun?.route(to: remote) { return route.local }
        guard let frames else { throw .unreachable }
        return try frames.localAddress(toReach: remote)
    }

    /// Empty, which means all, if frames are exchanged on all addresses.
    var addresses: [IPAddress] {
        let tunAddresses = tun?.configuration.addresses.map(\.address) ?? []
        guard let frames else { return tunAddresses }
        return frames.addresses.isEmpty ? [] : frames.addresses + tunAddresses
    }
}
