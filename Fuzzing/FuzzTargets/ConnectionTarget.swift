// A host under arbitrary segments, calls, links and times: every input is a sequence of small steps.
import TCPEngine
import TCPSegments

/// What both streams carry is a function of the sequence number, so that a byte in a wrong place shows wherever it is.
private func pattern(_ number: SequenceNumber) -> UInt8 {
    UInt8(truncatingIfNeeded: number.value &* 31 &+ number.value >> 9)
}

func fuzzConnection(_ bytes: UnsafeRawBufferPointer) {
    var input = FuzzInput(bytes)
    let siege = ConnectionSiege(&input)
    while !input.isAtEnd { siege.step(&input) }
    siege.finish()
}

private final class ConnectionSiege {
    private let host: Host
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var listener: Listener?
    /// The connections the user has, the one the next step is about first.
    private var connections: [Connection] = []
    private var sentCounts: [ObjectIdentifier: Int] = [:]
    private var readCounts: [ObjectIdentifier: Int] = [:]
    private let local = Endpoint(IPAddress(192, 0, 2, 1), 8080)
    private let remote = Endpoint(IPAddress(192, 0, 2, 2), 40_000)
    private let iss: SequenceNumber
    private var link: UInt32 = 1
    private var properties: LinkProperties

    init(_ input: inout FuzzInput) {
        var configuration = HostConfiguration()
        let features = input.byte()
        let sizes = input.byte()
        let more = input.byte()
        // Near the wraps of numbers, where mistakes are.
        iss = SequenceNumber([0xFFFF_FF00, 0x7FFF_FF00, 0, 12_345][Int(more & 3)])
        configuration.initialSequenceNumber = iss
        configuration.connection.timestamps = features & 1 == 0
        configuration.connection.selectiveAcks = features & 2 == 0
        configuration.connection.windowScaling = features & 4 == 0
        configuration.connection.noDelay = features & 8 != 0
        configuration.connection.keepAlive = features & 16 != 0
        configuration.connection.pacing = features & 32 != 0
        configuration.connection.congestionControl =
            CongestionControlAlgorithm.allCases[Int(features >> 6) % CongestionControlAlgorithm.allCases.count]
        configuration.connection.sendBufferSize = [1 << 20, 1, 4096, 65_536][Int(sizes & 3)]
        configuration.connection.receiveBufferSize = [1 << 20, 1, 4096, 65_536][Int(sizes >> 2 & 3)]
        configuration.connection.userTimeout = sizes & 64 != 0 ? .seconds(30) : nil
        configuration.connection.recovery = RecoveryFeatures(rawValue: ~(more >> 2) & RecoveryFeatures.all.rawValue)
        properties = LinkProperties(
            maximumSegmentSize: [1460, 65_495, 536, 20][Int(sizes >> 4 & 3)], maximumSegmentLifetime: .seconds(1),
            computesChecksum: false)
        host = Host(configuration: configuration, seed: 1)
        host.addLink(LinkID(link), properties, for: addresses, at: now)
        if more & 128 == 0 { listener = try? host.listen(on: local, backlog: 2) } else { open() }
    }

    private var addresses: AddressPair { AddressPair(local: local.address, remote: remote.address) }

    // MARK: Steps

    func step(_ input: inout FuzzInput) {
        switch input.byte() & 31 {
        case 0...9: near(&input)
        case 10: raw(&input)
        case 11, 12: if let c = connections.first { send(c, Int(input.word()), urgent: false) }
        case 13: if let c = connections.first { send(c, Int(input.byte()), urgent: true) }
        case 14, 15: if let c = connections.first { receive(c, Int(input.word())) }
        case 16: if let c = connections.first { host.shutdownSending(c, at: now) }
        case 17: if let c = connections.first { host.shutdownReceiving(c, at: now) }
        case 18: end { host.close($0, at: now) }
        case 19: end { host.abort($0, at: now) }
        case 20: if let listener, let c = host.accept(listener) { connections.insert(c, at: 0) }
        case 21: if connections.count < 8 { open() }
        case 22: connections = Array(connections.dropFirst() + connections.prefix(1))
        case 23, 24: pass(.microseconds(Int64(input.word()) << Int64(input.byte() & 15)))
        case 25: host.setWritable(LinkID(link), input.byte() & 1 == 0)
        case 26: replaceLink()
        case 27: reportError(&input)
        case 28: reconfigure(&input)
        case 29: if let c = connections.first { host.freeze(c) }
        case 30: if let c = connections.first { host.thaw(c, at: now) }
        default: relisten(&input)
        }
        drain()
        check()
    }

    private func open() {
        if let c = try? host.open(from: nil, localAddress: local.address, to: remote, at: now) {
            connections.insert(c, at: 0)
        }
    }

    private func end(_ body: (Connection) -> Void) {
        guard !connections.isEmpty else { return }
        let connection = connections.removeFirst()
        sentCounts[ObjectIdentifier(connection)] = nil
        readCounts[ObjectIdentifier(connection)] = nil
        host.thaw(connection, at: now)
        body(connection)
    }

    /// A segment whose numbers lie near those of the connection.
    private func near(_ input: inout FuzzInput) {
        let info = connections.first?.info
        let ends = connections.first?.tuple ?? FourTuple(local: local, remote: remote)
        let flags = input.byte()
        let shape = input.byte()
        var bits = ControlBits(rawValue: UInt16(flags) | UInt16(shape & 1) << 8)
        // Most segments of a connection carry ACK.
        if shape & 2 == 0 { bits.insert(.ack) }
        let expected = info.map { $0.irs == SequenceNumber(0) ? SequenceNumber(999) : $0.rcvNxt } ?? SequenceNumber(999)
        let edge = shape & 4 == 0 ? expected : expected + (info?.rcvWnd ?? 0)
        let acknowledged = shape & 8 == 0 ? info?.sndNxt ?? iss + 1 : info?.sndUna ?? iss + 1
        let count = shape & 16 == 0 ? Int(input.byte()) : min(Int(input.word()), 8192)
        var header = SegmentHeader(
            sourcePort: ends.remote.port, destinationPort: ends.local.port,
            sequenceNumber: edge + UInt32(bitPattern: input.distance()),
            acknowledgmentNumber: acknowledged + UInt32(bitPattern: input.distance()), controlBits: bits,
            window: WindowField(shape & 32 == 0 ? 65_535 : input.word()),
            urgentPointer: bits.contains(.urg) ? input.word() : 0)
        if shape & 64 == 0, info?.usesTimestamps ?? bits.contains(.syn) {
            let clock = UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000)
            header.options.timestamps = Timestamps(value: clock, echoReply: input.long())
        }
        if bits.contains(.syn) {
            let offer = input.byte()
            if offer & 1 != 0 { header.options.maximumSegmentSize = input.word() }
            if offer & 2 != 0 { header.options.windowScale = input.byte() }
            header.options.sackPermitted = offer & 4 != 0
        }
        if shape & 128 != 0 {
            for _ in 0..<Int(input.byte() & 3) + 1 {
                header.options.sackBlocks.append(
                    SequenceRange(
                        start: (info?.sndUna ?? iss) + UInt32(bitPattern: input.distance()),
                        length: UInt32(input.word())))
            }
        }
        inject(header, count: count, tuple: ends)
    }

    /// A segment that is nothing but the input's bytes, for our ports.
    private func raw(_ input: inout FuzzInput) {
        let bytes = input.take(Int(input.byte()))
        guard let (decoded, offset) = try? SegmentDecoder.decode(bytes) else { return }
        var header = decoded
        header.sourcePort = remote.port
        header.destinationPort = connections.first?.tuple.local.port ?? local.port
        inject(
            header, count: bytes.count - offset,
            tuple: FourTuple(local: Endpoint(local.address, header.destinationPort), remote: remote))
    }

    /// Who stands at a breakpoint is neither timed nor fed: the owner of a host sees to that.
    private func thaw() { for connection in connections { host.thaw(connection, at: now) } }

    private func inject(_ header: SegmentHeader, count: Int, tuple: FourTuple) {
        thaw()
        let first = header.sequenceNumber + (header.controlBits.contains(.syn) ? 1 : 0)
        let payload = (0..<UInt32(count)).map { pattern(first + $0) }
        payload.withUnsafeBytes { host.handle(header, payload: $0, tuple: tuple, on: LinkID(link), at: now) }
    }

    private func send(_ connection: Connection, _ count: Int, urgent: Bool) {
        let key = ObjectIdentifier(connection)
        let position = sentCounts[key] ?? 0
        let first = connection.info.iss + 1 + UInt32(truncatingIfNeeded: position)
        let bytes = (0..<UInt32(count)).map { pattern(first + $0) }
        let queued = bytes.withUnsafeBytes {
            urgent ? try? host.sendUrgent(connection, $0, at: now) : try? host.send(connection, $0, at: now)
        }
        precondition((0...count).contains(queued ?? 0), "\(queued ?? 0) of \(count) bytes queued")
        sentCounts[key] = position + (queued ?? 0)
    }

    private func receive(_ connection: Connection, _ count: Int) {
        let key = ObjectIdentifier(connection)
        let position = readCounts[key] ?? 0
        var bytes = [UInt8](repeating: 0, count: count)
        let n = bytes.withUnsafeMutableBytes { host.receive(connection, into: $0, at: now) }
        precondition((0...count).contains(n), "\(n) of \(count) bytes read")
        let first = connection.info.irs + 1 + UInt32(truncatingIfNeeded: position)
        for i in 0..<n {
            precondition(bytes[i] == pattern(first + UInt32(i)), "byte \(position + i) read is not what was sent")
        }
        readCounts[key] = position + n
    }

    private func replaceLink() {
        host.removeLink(LinkID(link), at: now)
        link &+= 1
        host.addLink(LinkID(link), properties, for: addresses, at: now)
    }

    private func reportError(_ input: inout FuzzInput) {
        let kind = input.byte() & 3
        let error: PathError
        switch kind {
        case 0: error = .unreachable
        case 1: error = .rejected
        case 2: error = .soft
        default: error = .tooBig(mtu: UInt32(input.word()))
        }
        let tuple = connections.first?.tuple ?? FourTuple(local: local, remote: remote)
        let number = (connections.first?.info.sndUna ?? iss) + UInt32(bitPattern: input.distance())
        host.pathError(error, about: QuotedSegment(tuple: tuple, sequenceNumber: number), at: now)
    }

    private func reconfigure(_ input: inout FuzzInput) {
        guard let connection = connections.first else { return }
        let flags = input.byte()
        let size = Int(input.word())
        let queued = connection.sendQueued
        host.reconfigure(connection, at: now) {
            $0.noDelay = flags & 1 != 0
            $0.keepAlive = flags & 2 != 0
            // Smaller buffers than what they hold would break what the invariants say of their sizes.
            if flags & 4 != 0 { $0.receiveBufferSize = max($0.receiveBufferSize, size) }
            if flags & 8 != 0 { $0.sendBufferSize = max($0.sendBufferSize, size, queued) }
            if flags & 16 != 0 { $0.unsentLimit = size }
            $0.pacing = flags & 32 != 0
            $0.userTimeout = flags & 64 != 0 ? .milliseconds(Int64(size)) : nil
            if flags & 128 != 0 { $0.congestionControl = .bbr }
        }
    }

    private func relisten(_ input: inout FuzzInput) {
        if let known = listener {
            listener = nil
            host.close(known, at: now)
        } else {
            listener = try? host.listen(on: local, backlog: Int(input.byte()))
            listener?.announcesConnections = input.byte() & 1 == 1
        }
    }

    // MARK: Time and outputs

    /// Lets time pass, deadline by deadline. How many there may be is bounded: a timer that comes back at once is a fault.
    private func pass(_ time: TimeInterval) {
        thaw()
        drain()
        let end = now + time
        var count = 0
        while let next = host.nextTimeout, next <= end {
            now = max(now, next)
            host.handleTimeout(at: now)
            drain()
            count += 1
            precondition(count < 100_000, "timers do not come to an end")
        }
        now = end
    }

    private func drain() {
        var count = 0
        while let output = host.poll(at: now) {
            count += 1
            precondition(count < 100_000, "outputs do not come to an end")
            switch output {
            case .event, .incoming: break
            case .pending(let pending):
                if let c = host.open(pending, userData: nil, eventMask: .stateChanges, at: now) {
                    connections.insert(c, at: 0)
                }
            case .linkWanted(let addresses, _): host.addLink(LinkID(link), properties, for: addresses, at: now)
            case .transmit(let transmission, let tuple, let id):
                precondition(id == LinkID(link), "sent on a link that is gone")
                precondition(tuple.remote == remote && tuple.local.address == local.address, "sent from \(tuple)")
                inspect(transmission)
            }
        }
    }

    private func inspect(_ transmission: borrowing Transmission) {
        for index in 0..<transmission.segmentCount {
            let (header, offset, count) = transmission.segment(index)
            precondition(header.encodedLength <= 60, "a header of \(header.encodedLength) bytes")
            guard count > 0 else { continue }
            var bytes = [UInt8](repeating: 0, count: count)
            bytes.withUnsafeMutableBytes {
                guard let base = $0.baseAddress else { return }
                transmission.payload.copyBytes(from: offset, count: count, to: base)
            }
            let first = header.sequenceNumber + (header.controlBits.contains(.syn) ? 1 : 0)
            for i in 0..<count {
                precondition(bytes[i] == pattern(first + UInt32(i)), "a byte sent in a wrong place: \(header)")
            }
        }
    }

    private func check() {
        let broken = host.invariantViolations(at: now)
        precondition(broken.isEmpty, broken.joined(separator: "; "))
        precondition(host.connectionCount <= 64, "\(host.connectionCount) connections")
    }

    /// Everybody leaves: in the end nothing is left.
    func finish() {
        host.setWritable(LinkID(link), true)
        while !connections.isEmpty { end { host.abort($0, at: now) } }
        if let listener { host.close(listener, at: now) }
        drain()
        pass(.seconds(7200))
        check()
        precondition(
            host.connectionCount == 0,
            "left: \(host.connections.map { "\($0.state), timer \(String(describing: $0.nextTimeout))" })")
    }
}
