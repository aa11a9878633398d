// CPU nanoseconds per 1460-byte segment of two hosts in one thread: the application's copy in, encode, checksum and copy
// into a packet, verify and decode, the application's copy out, and the acknowledgments' share.
import Glibc
import TCPEngine
import TCPSegments

let segmentSize = 1460
let budget = 190.0

/// Nanoseconds of CPU this process has used.
func cpuTime() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
}

/// The monotonic clock as the hosts see it.
func monotonic() -> Instant {
    var t = timespec()
    clock_gettime(CLOCK_MONOTONIC, &t)
    return Instant(nanoseconds: Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec))
}

/// A sender and a receiver, and packets that go from one straight into the other.
final class Bench {
    let a: Host
    let b: Host
    let addressA = IPAddress(10, 0, 0, 1)
    let addressB = IPAddress(10, 0, 0, 2)
    let packet = UnsafeMutableRawBufferPointer.allocate(byteCount: 60 + 65_535, alignment: 64)
    let properties = LinkProperties(
        maximumSegmentSize: UInt16(segmentSize), maximumSegmentLifetime: .seconds(1), computesChecksum: true)
    var now = monotonic()

    init(window: Int) {
        var configuration = HostConfiguration()
        configuration.connection.sendBufferSize = window
        configuration.connection.receiveBufferSize = window
        a = Host(configuration: configuration, seed: 1)
        b = Host(configuration: configuration, seed: 2)
        a.addLink(LinkID(1), properties, for: AddressPair(local: addressA, remote: addressB), at: now)
        b.addLink(LinkID(1), properties, for: AddressPair(local: addressB, remote: addressA), at: now)
    }

    deinit { packet.deallocate() }

    /// Plays one output of `host` into `other`; false if there is none.
    func step(_ host: Host, into other: Host) throws -> Bool {
        guard let output = host.poll(at: now) else { return false }
        switch output {
        case .event, .incoming: break
        case .linkWanted(let addresses, _): host.addLink(LinkID(1), properties, for: addresses, at: now)
        case .transmit(let transmission, let tuple, _): try deliver(transmission, tuple, to: other)
        }
        return true
    }

    /// Writes each segment into a packet, checks it, and hands it over.
    private func deliver(_ transmission: borrowing Transmission, _ tuple: FourTuple, to other: Host) throws {
        let base = packet.baseAddress!
        for index in 0..<transmission.segmentCount {
            let (header, offset, count) = transmission.segment(index)
            let headerLength = header.encode(into: base)
            let bytes = UnsafeRawBufferPointer(start: base, count: headerLength + count)
            var sum = InternetChecksum()
            sum.addPseudoHeader(from: tuple.local.address, to: tuple.remote.address, length: bytes.count)
            sum.add(UnsafeRawBufferPointer(rebasing: bytes[..<headerLength]))
            transmission.payload.copyBytes(from: offset, count: count, to: base + headerLength, checksum: &sum)
            // The checksum's place in the header (RFC 9293 3.1), in network order.
            base.storeBytes(of: sum.value.bigEndian, toByteOffset: 16, as: UInt16.self)
            guard InternetChecksum.isValid(bytes, from: tuple.local.address, to: tuple.remote.address) else {
                preconditionFailure("a segment changed in memory")
            }
            let (decoded, payloadOffset) = try SegmentDecoder.decode(bytes)
            other.handle(
                decoded, payload: UnsafeRawBufferPointer(rebasing: bytes[payloadOffset...]), tuple: tuple.reversed,
                on: LinkID(1), at: now)
        }
    }

    /// Plays outputs until neither host has one.
    func settle() throws {
        while true {
            let first = try step(a, into: b)
            let second = try step(b, into: a)
            if !first && !second { return }
        }
    }

    /// Sends `total` bytes from one host to the other: CPU ns per data segment.
    func run(total: Int) throws -> Double {
        let listener = try b.listen(on: Endpoint(addressB, 7), backlog: 1)
        let client = try a.open(from: nil, localAddress: addressA, to: Endpoint(addressB, 7), at: now)
        try settle()
        guard let server = b.accept(listener) else { throw ConnectionError.timedOut }
        let source = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
        let sink = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
        defer {
            source.deallocate()
            sink.deallocate()
        }
        for index in 0..<source.count { source[index] = UInt8(truncatingIfNeeded: index) }
        var sent = 0
        var received = 0
        let start = cpuTime()
        while received < total {
            now = monotonic()
            if sent < total {
                let piece = UnsafeRawBufferPointer(rebasing: source[..<min(source.count, total - sent)])
                sent += try a.send(client, piece, at: now)
            }
            try settle()
            while true {
                let count = b.receive(server, into: sink, at: now)
                if count == 0 { break }
                received += count
            }
            try settle()
            if let due = [a.nextTimeout, b.nextTimeout].compactMap({ $0 }).min(), due <= now {
                a.handleTimeout(at: now)
                b.handleTimeout(at: now)
            }
        }
        return Double(cpuTime() - start) * Double(segmentSize) / Double(total)
    }
}

let total = 512 << 20
print("two hosts in memory, \(segmentSize)-byte segments, copies and checksum included, \(total >> 20) MiB a run")
print("  window      CPU ns per segment   budget")
for window in [64 << 10, 256 << 10, 1 << 20] {
    _ = try Bench(window: window).run(total: 32 << 20)
    let median = try (0..<3).map { _ in try Bench(window: window).run(total: total) }.sorted()[1]
    let name = String(window >> 10)
    let figure = String(Int(median.rounded()))
    print(
        "  " + String(repeating: " ", count: 5 - name.count) + name + " KiB"
            + String(repeating: " ", count: 17 - figure.count) + figure + "        \(Int(budget))")
}
