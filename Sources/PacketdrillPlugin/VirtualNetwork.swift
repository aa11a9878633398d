// The packets' way: IP packets from the script to the TCP, and the TCP's segments into a queue with their times.
import DequeModule
import Glibc
import NetworkLayer
import SocketLayer
import TCPEngine
import TCPSegments

/// A packet that left.
struct SentPacket {
    let bytes: [UInt8]
    let at: Instant
}

/// The one link there is, to everywhere, as fast as light: IPv4 and IPv6.
final class VirtualNetwork: LinkProvider {
    weak var layer: SocketLayer?
    weak var log: PluginLog?
    /// What left and was not fetched yet, oldest first.
    var sent = Deque<SentPacket>()
    private let flags: PluginFlags
    private var opened: Set<LinkID> = []
    /// The local addresses that scripts have bound or sent to: connections begin there.
    private var known4: IPAddress?, known6: IPAddress?

    private static let link4 = LinkID(4), link6 = LinkID(6)
    /// Packets that wait for a script that fetches none.
    private static let sentLimit = 1 << 16

    init(_ flags: PluginFlags) { self.flags = flags }

    private func link(for address: IPAddress) -> LinkID { address.isIPv4 ? Self.link4 : Self.link6 }

    private func properties(for address: IPAddress) -> LinkProperties {
        LinkProperties(
            maximumSegmentSize: UInt16(clamping: flags.maximumSegmentSize(isIPv4: address.isIPv4)),
            maximumSegmentLifetime: .seconds(30), computesChecksum: true, carriesECN: true,
            hidesMTU: flags.personality == .linux)
    }

    // MARK: What the socket layer asks

    var addresses: [IPAddress] { [] }

    func want(_ addresses: AddressPair, fresh: Bool, at now: Instant) {
        layer?.linkAvailable(link(for: addresses.remote), properties(for: addresses.remote), for: addresses, at: now)
    }

    /// The address that the script uses for this host, or one for documentation (RFC 5737, RFC 3849).
    func localAddress(toReach remote: IPAddress) throws(LinkFailure) -> IPAddress {
        remote.isIPv4
            ? known4 ?? IPAddress(192, 0, 2, 1) : known6 ?? IPAddress(high: 0x2001_0db8 << 32, low: 1)
    }

    /// An address of this host.
    func note(local address: IPAddress) {
        guard !address.isUnspecified, !address.isMulticastOrBroadcast else { return }
        if address.isIPv4 { known4 = address } else { known6 = address }
    }

    // MARK: Out

    func transmit(_ transmission: Transmission, _ tuple: FourTuple, on link: LinkID, at now: Instant) {
        let mark = transmission.differentiatedServices << 2 | transmission.ecn.rawValue
        for index in 0..<transmission.segmentCount {
            let (header, offset, count) = transmission.segment(index)
            let bytes = packet(header, transmission.payload, offset: offset, count: count, tuple, mark)
            log?.note("> \(header) \(count) bytes", at: now)
            if sent.count < Self.sentLimit { sent.append(SentPacket(bytes: bytes, at: now)) }
        }
    }

    private func packet(
        _ header: SegmentHeader, _ payload: Payload, offset: Int, count: Int, _ tuple: FourTuple, _ mark: UInt8
    ) -> [UInt8] {
        let ip = IPHeader(
            source: tuple.local.address, destination: tuple.remote.address, protocolNumber: 6,
            differentiatedServices: mark >> 2, ecn: ECNField(rawValue: mark & 3) ?? .notCapable)
        // Bounds: IP header at most 40 bytes, TCP header at most 60, and the payload.
        return [UInt8](unsafeUninitializedCapacity: ip.encodedLength + 60 + count) { space, used in
            guard let base = space.baseAddress else { return }
            let segment = base + ip.encodedLength
            let headerLength = header.encode(into: segment, flags.personality.optionLayout)
            if count > 0 { payload.copyBytes(from: offset, count: count, to: segment + headerLength) }
            let length = headerLength + count
            ip.encode(payloadLength: length, into: base)
            let sum = InternetChecksum.checksum(
                of: UnsafeRawBufferPointer(start: segment, count: length), from: ip.source, to: ip.destination)
            UnsafeMutableRawPointer(segment).storeBytes(of: sum.bigEndian, toByteOffset: 16, as: UInt16.self)
            used = ip.encodedLength + length
        }
    }

    // MARK: In

    /// A packet of the script. What is no packet for TCP, or is broken, is dropped.
    func received(_ packet: UnsafeRawBufferPointer, at now: Instant) {
        guard let layer, let (ip, range) = try? IPHeader.decode(packet) else {
            log?.note("< \(packet.count) bytes that are no IP packet", at: now)
            return
        }
        note(local: ip.destination)
        let link = link(for: ip.source)
        if opened.insert(link).inserted {
            let pair = AddressPair(local: ip.destination, remote: ip.source)
            layer.linkOpened(link, properties(for: ip.source), for: pair)
        }
        let payload = UnsafeRawBufferPointer(rebasing: packet[range])
        switch ip.protocolNumber {
        case 6: segmentArrived(payload, ip, on: link, at: now)
        case 1, 58:
            if case .error(let error, let segment) = ICMPMessage.decode(payload, ip) {
                log?.note("< ICMP: \(error)", at: now)
                layer.pathError(error, about: segment, at: now)
            }
        default: log?.note("< a packet of protocol \(ip.protocolNumber)", at: now)
        }
    }

    private func segmentArrived(
        _ segment: UnsafeRawBufferPointer, _ ip: IPHeader, on link: LinkID, at now: Instant
    ) {
        guard InternetChecksum.isValid(segment, from: ip.source, to: ip.destination),
            let (header, offset) = try? SegmentDecoder.decode(segment)
        else {
            log?.note("< a broken segment of \(segment.count) bytes", at: now)
            return
        }
        let tuple = FourTuple(
            local: Endpoint(ip.destination, header.destinationPort), remote: Endpoint(ip.source, header.sourcePort))
        log?.note("< \(header) \(segment.count - offset) bytes", at: now)
        layer?.segmentArrived(
            header, payload: UnsafeRawBufferPointer(rebasing: segment[offset...]), tuple: tuple, on: link,
            ecn: ip.ecn, at: now)
    }
}
