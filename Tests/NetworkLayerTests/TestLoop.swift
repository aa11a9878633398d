// A small event loop on poll(2), a recorder of what the links report, and hosts on loopback addresses.

import Glibc
import NetworkLayer
import TCPSegments

func monotonicNow() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
}

/// Level-triggered, which is a superset of what an edge-triggered loop reports.
final class PollRegistry: EventRegistry {
    private var handlers: [Int32: any EventHandler] = [:]
    var count: Int { handlers.count }

    func register(_ descriptor: Int32, _ handler: any EventHandler) throws(SystemError) {
        handlers[descriptor] = handler
    }
    func deregister(_ descriptor: Int32) {
        handlers[descriptor] = nil
    }
    func again(_ handler: any EventHandler) {}

    /// One round: waits at most `milliseconds` and calls the handlers of what is ready.
    func turn(milliseconds: Int32) {
        var entries = handlers.keys.map { pollfd(fd: $0, events: Int16(POLLIN | POLLOUT | 0x2000), revents: 0) }
        guard poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return }
        for entry in entries where entry.revents != 0 {
            var ready: Readiness = []
            let events = Int32(entry.revents)
            if events & Int32(POLLIN) != 0 { ready.insert(.readable) }
            if events & Int32(POLLOUT) != 0 { ready.insert(.writable) }
            if events & 0x2000 != 0 { ready.insert(.readHangup) }
            if events & Int32(POLLHUP | POLLERR) != 0 { ready.insert(.hangup) }
            handlers[entry.fd]?.descriptorReady(ready, at: monotonicNow())
        }
    }
}

/// Writes down what the links report.
final class Recorder: SegmentReceiver {
    struct Arrival {
        let header: SegmentHeader
        let payload: [UInt8]
        let tuple: FourTuple
        let link: LinkID
    }

    var arrivals: [Arrival] = []
    var opened: [(LinkID, AddressPair)] = []
    var available: [(LinkID, AddressPair)] = []
    var unavailable: [(AddressPair, LinkFailure)] = []
    var writable: [Bool] = []
    var gone: [LinkID] = []
    var errors: [(PathError, QuotedSegment)] = []

    func segmentArrived(
        _ header: SegmentHeader, payload: UnsafeRawBufferPointer, tuple: FourTuple, on link: LinkID, ecn: ECNField,
        at now: Instant
    ) { arrivals.append(Arrival(header: header, payload: Array(payload), tuple: tuple, link: link)) }
    func pathError(_ error: PathError, about segment: QuotedSegment, at now: Instant) {
        errors.append((error, segment))
    }
    func linkOpened(_ link: LinkID, _ properties: LinkProperties, for pair: AddressPair) { opened.append((link, pair)) }
    func linkAvailable(_ link: LinkID, _ properties: LinkProperties, for pair: AddressPair, at now: Instant) {
        available.append((link, pair))
    }
    func linkUnavailable(_ pair: AddressPair, _ failure: LinkFailure, at now: Instant) {
        unavailable.append((pair, failure))
    }
    func linkWritable(_ link: LinkID, _ writable: Bool, at now: Instant) { self.writable.append(writable) }
    func linkGone(_ link: LinkID, at now: Instant) { gone.append(link) }
}

/// A port that was free on all addresses a moment ago.
func freePort() -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    _ = SocketAddress(Endpoint(.anyIPv4, 0)).withPointer { bind(descriptor, $0, $1) }
    var name = SocketAddress()
    _ = name.fill { getsockname(descriptor, $0, $1) }
    return name.endpoint?.port ?? 0
}

/// Hosts of one test on one loop with one port.
final class Neighbourhood {
    let loop = PollRegistry()
    let port: UInt16
    private(set) var hosts: [(links: FrameLinks, recorder: Recorder)] = []

    /// With `port`, or a free one.
    init(port: UInt16 = freePort()) { self.port = port }

    deinit { for host in hosts { host.links.close(at: monotonicNow()) } }

    func add(
        _ addresses: IPAddress..., listening: Bool = true, adjust: (inout FrameLinksConfiguration) -> Void = { _ in }
    ) throws -> (FrameLinks, Recorder) {
        var configuration = FrameLinksConfiguration()
        configuration.port = port
        configuration.addresses = addresses
        adjust(&configuration)
        let recorder = Recorder()
        let links = FrameLinks(configuration: configuration, registry: loop, receiver: recorder) { _ in }
        hosts.append((links, recorder))
        if listening { try links.listen() }
        return (links, recorder)
    }

    /// Runs until `condition` holds; false after ten seconds.
    func run(until condition: () -> Bool) -> Bool {
        let end = monotonicNow() + .seconds(10)
        while !condition() {
            if monotonicNow() > end { return false }
            step()
        }
        return true
    }

    /// One round of the loop.
    func step() {
        let now = monotonicNow()
        for host in hosts {
            host.links.flush(at: now)
            if let due = host.links.nextTimeout, due <= now { host.links.handleTimeout(at: now) }
        }
        loop.turn(milliseconds: 1)
    }
}

func segment(_ text: String = "", from source: UInt16 = 4000, to destination: UInt16 = 7, size: Int = 1460)
    -> Transmission
{
    var payload = Payload()
    if !text.isEmpty {
        let chunk = Chunk(capacity: text.utf8.count)
        for (i, byte) in text.utf8.enumerated() { chunk.base.storeBytes(of: byte, toByteOffset: i, as: UInt8.self) }
        payload.append(ChunkRange(chunk, offset: 0, count: text.utf8.count))
    }
    let header = SegmentHeader(
        sourcePort: source, destinationPort: destination, sequenceNumber: SequenceNumber(0xFFFF_FFF0),
        controlBits: [.ack, .psh],
        window: WindowField(1000))
    return Transmission(header: header, payload: payload, segmentSize: size)
}
