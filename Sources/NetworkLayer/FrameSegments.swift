// Segments on their way through links over real TCP: in, out, past whoever watches them and what happens to them.
import Impairments
import TCPSegments

extension FrameLinks {
    // MARK: In and out

    func arrived(_ segment: UnsafeRawBufferPointer, over connection: RealConnection, at now: Instant) {
        guard !connection.isClosed else { return }
        statistics.framesReceived += 1
        let addresses = connection.addresses
        let header: SegmentHeader
        let offset: Int
        do {
            (header, offset) = try SegmentDecoder.decode(segment)
        } catch {
            statistics.malformedSegments += 1
            return
        }
        // A checksum of 0 means that the real connection protects the bytes; any other is verified.
        if segment[16] != 0 || segment[17] != 0,
            !InternetChecksum.isValid(segment, from: addresses.remote, to: addresses.local)
        {
            statistics.badChecksums += 1
            return
        }
        if !connection.dialled, !connection.hasBroughtSegments { becameLink(connection) }
        let tuple = FourTuple(
            local: Endpoint(addresses.local, header.destinationPort),
            remote: Endpoint(addresses.remote, header.sourcePort))
        let payload = UnsafeRawBufferPointer(rebasing: segment[offset...])
        let link = table.answering(connection).id
        if filter.actsIn, arrivedImpaired(segment, header, count: payload.count, tuple, on: link, at: now) { return }
        if tap.isOn { tap.received(segment, header, count: payload.count, tuple) }
        receiver.segmentArrived(header, payload: payload, tuple: tuple, on: link, ecn: .notCapable, at: now)
    }

    /// The way of a segment for which there may be an impairment; false if there is none.
    private func arrivedImpaired(
        _ segment: UnsafeRawBufferPointer, _ header: SegmentHeader, count: Int, _ tuple: FourTuple, on link: LinkID,
        at now: Instant
    ) -> Bool {
        guard let passage = filter.admit(.in, tuple, length: segment.count, at: now) else { return false }
        if tap.isOn { tap.received(segment, header, count: count, tuple, impairment: passage.effect) }
        // Without a checksum it is as if it had one, unless nothing has here: the wire is an imagined one.
        let isProtected = configuration.checksums != .never || segment[16] != 0 || segment[17] != 0
        statistics.badChecksums += filter.deliver(
            segment, tuple, on: link, ecn: .notCapable, isProtected: isProtected, passage, to: self, at: now)
        return true
    }

    /// Sends segments over a link. They wait in memory until `flush`.
    public func transmit(_ transmission: Transmission, _ tuple: FourTuple, on link: LinkID, at now: Instant) {
        guard let connection = connection(of: link) else { return }
        // The engine does not poll connections past the limit; what still comes at twice the limit are replies without a
        // connection, which a peer that never reads could otherwise pile up.
        guard connection.queuedBytes < 2 * RealConnection.outputLimit else {
            statistics.droppedAtLimit += UInt64(transmission.segmentCount)
            return
        }
        let isWatched = tap.isOn || filter.actsOut
        let checksum = computesChecksum
        for index in 0..<transmission.segmentCount {
            let (header, offset, count) = transmission.segment(index)
            guard isWatched else {
                statistics.framesSent += 1
                connection.queue(header, transmission.payload, offset: offset, count: count, checksum: checksum)
                continue
            }
            let segment = OutgoingSegment(
                header: header, payload: transmission.payload, offset: offset, count: count, tuple: tuple, link: link)
            transmitWatched(segment, over: connection, at: now)
        }
    }

    private func connection(of link: LinkID) -> RealConnection? {
        guard let connection = lastUsed?.id == link ? lastUsed : table[link], !connection.isClosed else { return nil }
        lastUsed = connection
        return connection
    }

    /// The way of a segment that somebody watches or impairs.
    private func transmitWatched(_ segment: OutgoingSegment, over connection: RealConnection, at now: Instant) {
        let length = segment.header.encodedLength + segment.count
        let passage = filter.actsOut ? filter.admit(.out, segment.tuple, length: length, at: now) : nil
        if tap.isOn {
            encode(segment, checksum: computesChecksum).withUnsafeBytes {
                tap.sent($0, segment.header, count: segment.count, segment.tuple, impairment: passage?.effect)
            }
        }
        if let passage {
            filter.carry(segment, passage, by: self, at: now)
        } else {
            send(segment, over: connection)
        }
    }

    private func send(_ segment: OutgoingSegment, over connection: RealConnection) {
        statistics.framesSent += 1
        guard let bit = segment.flippedBit else {
            connection.queue(
                segment.header, segment.payload, offset: segment.offset, count: segment.count,
                checksum: computesChecksum)
            return
        }
        var bytes = encode(segment, checksum: configuration.checksums != .never)
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
        bytes.withUnsafeBytes { connection.queue(segment: $0) }
    }

    /// A segment's bytes in one piece.
    private func encode(_ segment: OutgoingSegment, checksum: Bool) -> [UInt8] {
        let length = segment.header.encodedLength + segment.count
        var bytes = [UInt8](repeating: 0, count: 60 + segment.count)
        bytes.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            // Bounds: at most 60 bytes of header.
            let n = segment.header.encode(into: base)
            segment.payload.copyBytes(from: segment.offset, count: segment.count, to: base + n)
        }
        bytes.removeLast(bytes.count - length)
        guard checksum else { return bytes }
        let sum = bytes.withUnsafeBytes {
            InternetChecksum.checksum(of: $0, from: segment.tuple.local.address, to: segment.tuple.remote.address)
        }
        // A sum of 0 would mean "not computed" on this network layer; 0xFFFF is the same number.
        let value = sum == 0 ? 0xFFFF : sum
        bytes[16] = UInt8(value >> 8)
        bytes[17] = UInt8(value & 0xFF)
        return bytes
    }

    func wantsFlush(_ connection: RealConnection) {
        guard !connection.isQueuedForFlush else { return }
        connection.isQueuedForFlush = true
        flushQueue.append(connection)
    }

    /// Hands what waits to the kernel. Call once a turn of the loop: many segments, one system call.
    public func flush(at now: Instant) {
        while let connection = flushQueue.popLast() {
            connection.isQueuedForFlush = false
            connection.flush(at: now)
        }
    }
}

extension FrameLinks: SegmentCarrier {
    func carry(_ segment: OutgoingSegment, at now: Instant) {
        // What was held back may pile up past the link's limit: no more than was under way, because until it has gone the
        // connections of this link are not polled.
        if let connection = connection(of: segment.link) { send(segment, over: connection) }
    }

    func deliver(_ segment: IncomingSegment, at now: Instant) {
        segment.bytes.withUnsafeBytes { bytes in
            guard let (header, offset) = try? SegmentDecoder.decode(bytes) else {
                statistics.malformedSegments += 1
                return
            }
            // Where no checksum protects the ports, a flipped bit may have changed them.
            let tuple = FourTuple(
                local: Endpoint(segment.tuple.local.address, header.destinationPort),
                remote: Endpoint(segment.tuple.remote.address, header.sourcePort))
            receiver.segmentArrived(
                header, payload: UnsafeRawBufferPointer(rebasing: bytes[offset...]), tuple: tuple, on: segment.link,
                ecn: .notCapable, at: now)
        }
    }
}
