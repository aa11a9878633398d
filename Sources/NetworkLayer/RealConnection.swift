// One real TCP connection to another daemon: frames in, frames out, nothing else.
import CLinux
import DequeModule
import Glibc
import TCPSegments

/// A real connection with what waits to be sent over it. It knows bytes and frames; which link to use is the business of
/// `FrameLinks`.
final class RealConnection: EventHandler {
    let id: LinkID
    let addresses: AddressPair
    /// True if this daemon dialled it.
    let dialled: Bool
    let descriptor: Int32
    unowned let owner: FrameLinks
    var isConnected: Bool
    var isClosed = false
    /// When the dial is given up.
    var dialDeadline: Instant?
    /// When it was accepted, or the dial was completed.
    var connectedAt = Instant.origin
    /// A segment has come over it.
    var hasBroughtSegments = false

    /// Encoded headers and small payloads are gathered in chunks of this size.
    private static let headerChunk = 16 * 1024
    /// Past this the link takes no more; below half of it, it does again (design section 4).
    static let outputLimit = 1 << 20
    /// A payload up to this size is copied behind its header: one piece instead of two.
    private static let copyLimit = 512

    private var pieces = Deque<ChunkRange>()
    private(set) var queuedBytes = 0
    private var headers: Chunk?
    private var headersUsed = 0
    private var reportsFull = false
    var isQueuedForFlush = false
    private var canWrite = true
    /// A hang-up was told of: reading goes on until the end shows.
    private var mayHaveEnded = false

    /// The beginning of a frame whose rest has not arrived.
    private var partial: [UInt8] = []
    /// Frames are small of late. Each costs about the same whatever its size, so a turn then takes fewer bytes.
    private var bringsSmallFrames = false
    private static let smallRead = 64 * 1024

    init(id: LinkID, addresses: AddressPair, dialled: Bool, descriptor: Int32, owner: FrameLinks) {
        self.id = id
        self.addresses = addresses
        self.dialled = dialled
        self.descriptor = descriptor
        self.owner = owner
        isConnected = !dialled
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        if addresses.remote.isLoopback {
            // Nothing is lost or queued inside a machine: the simplest congestion control, which every kernel has, does. One
            // that paces (BBR) costs a timer for nearly every segment.
            let name = Array("reno".utf8)
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_CONGESTION, name, socklen_t(name.count))
        }
    }

    // MARK: Out

    /// Queues one frame: its TCP segment is `header` and the payload's bytes from `offset` on.
    func queue(_ header: SegmentHeader, _ payload: Payload, offset: Int, count: Int, checksum: Bool) {
        let copied = count <= Self.copyLimit ? count : 0
        let target = reserveHeader(FrameHeader.length + 60 + copied)
        let tcp = target + FrameHeader.length
        let headerLength = header.encode(into: tcp)
        FrameHeader.encode(payloadLength: headerLength + count, into: target)
        if checksum {
            var sum = InternetChecksum()
            sum.addPseudoHeader(from: addresses.local, to: addresses.remote, length: headerLength + count)
            sum.add(UnsafeRawBufferPointer(start: tcp, count: headerLength))
            if copied > 0 {
                payload.copyBytes(from: offset, count: count, to: tcp + headerLength, checksum: &sum)
            } else {
                payload.forEachRange(from: offset, count: count) { sum.add($0.bytes) }
            }
            // A sum of 0 would mean "not computed" on this network layer; 0xFFFF is the same number.
            let value = sum.value == 0 ? 0xFFFF : sum.value
            tcp.storeBytes(of: value.bigEndian, toByteOffset: 16, as: UInt16.self)
        } else if copied > 0 {
            payload.copyBytes(from: offset, count: count, to: tcp + headerLength)
        }
        commitHeader(FrameHeader.length + headerLength + copied)
        if copied == 0, count > 0 {
            payload.forEachRange(from: offset, count: count) { pieces.append($0) }
            queuedBytes += count
        }
        noteQueued()
    }

    /// Queues a whole encoded segment.
    func queue(segment: UnsafeRawBufferPointer) {
        guard segment.count <= 65_535 else { return }
        let target = reserveHeader(FrameHeader.length + segment.count)
        FrameHeader.encode(payloadLength: segment.count, into: target)
        if let base = segment.baseAddress {
            (target + FrameHeader.length).copyMemory(from: base, byteCount: segment.count)
        }
        commitHeader(FrameHeader.length + segment.count)
        noteQueued()
    }

    private func noteQueued() {
        owner.wantsFlush(self)
        if queuedBytes > Self.outputLimit, !reportsFull {
            reportsFull = true
            owner.writabilityChanged(self, writable: false)
        }
    }

    /// Room for `count` bytes at the end of the header chunk.
    private func reserveHeader(_ count: Int) -> UnsafeMutableRawPointer {
        if let headers, headers.capacity - headersUsed >= count { return headers.base + headersUsed }
        let chunk = Chunk(capacity: max(Self.headerChunk, count))
        headers = chunk
        headersUsed = 0
        return chunk.base
    }

    private func commitHeader(_ count: Int) {
        guard let headers else { return }
        if let last = pieces.last, last.chunk === headers, last.offset + last.count == headersUsed {
            pieces[pieces.count - 1].count += count
        } else {
            pieces.append(ChunkRange(headers, offset: headersUsed, count: count))
        }
        headersUsed += count
        queuedBytes += count
    }

    /// Writes what waits, as far as the kernel takes it.
    func flush(at now: Instant) {
        guard isConnected, !isClosed, canWrite else { return }
        while !pieces.isEmpty {
            let written = writePieces()
            if written < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN {
                    canWrite = false
                    break
                }
                owner.ended(self, at: now)
                return
            }
            consume(written)
        }
        // With nothing waiting nobody refers to the chunk, and it can be filled again.
        if pieces.isEmpty { headersUsed = 0 }
        if reportsFull, queuedBytes <= Self.outputLimit / 2 {
            reportsFull = false
            owner.writabilityChanged(self, writable: true)
        }
    }

    private func writePieces() -> Int {
        let count = min(pieces.count, 256)
        return withUnsafeTemporaryAllocation(of: iovec.self, capacity: count) { vectors in
            for i in 0..<count {
                vectors[i] = iovec(iov_base: pieces[i].chunk.base + pieces[i].offset, iov_len: pieces[i].count)
            }
            var message = msghdr()
            message.msg_iov = vectors.baseAddress
            message.msg_iovlen = count
            return sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
    }

    private func consume(_ count: Int) {
        var left = count
        queuedBytes -= count
        while left > 0, let first = pieces.first {
            if first.count <= left {
                left -= first.count
                pieces.removeFirst()
            } else {
                pieces[0].offset += left
                pieces[0].count -= left
                left = 0
            }
        }
    }

    // MARK: In

    func descriptorReady(_ readiness: Readiness, at now: Instant) {
        guard !isClosed else { return }
        if !isConnected {
            if !readiness.isDisjoint(with: [.writable, .hangup]) { dialCompleted(at: now) }
            guard isConnected, !isClosed else { return }
        }
        if readiness.contains(.writable) {
            canWrite = true
            flush(at: now)
            guard !isClosed else { return }
        }
        if !readiness.isDisjoint(with: [.readHangup, .hangup]) { mayHaveEnded = true }
        if mayHaveEnded || readiness.contains(.readable) { readFrames(at: now) }
    }

    private func dialCompleted(at now: Instant) {
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length)
        guard error == 0 else {
            owner.dialFailed(self, FrameLinks.failure(of: error), at: now)
            return
        }
        isConnected = true
        owner.dialSucceeded(self, at: now)
    }

    private func readFrames(at now: Instant) {
        // A turn of 1 MiB, of which each frame takes half a KiB beside its bytes; then others get theirs.
        var budget = 1 << 20
        let buffer = owner.readBuffer
        while budget > 0 {
            let kept = partial.count
            if kept > 0 {
                partial.withUnsafeBytes {
                    if let base = $0.baseAddress { buffer.base.copyMemory(from: base, byteCount: kept) }
                }
                partial = []
            }
            // Bounds: a partial frame is shorter than 16 + 65,535 bytes, a small part of the buffer.
            let room = min(buffer.capacity - kept, bringsSmallFrames ? Self.smallRead : buffer.capacity)
            let n = recv(descriptor, buffer.base + kept, room, Int32(MSG_DONTWAIT))
            if n <= 0 {
                let error = errno
                if kept > 0 { partial = Array(UnsafeRawBufferPointer(start: buffer.base, count: kept)) }
                if n < 0, error == EINTR { continue }
                if n < 0, error == EAGAIN { return }
                owner.ended(self, at: now)
                return
            }
            var frames = 0
            let bytes = UnsafeRawBufferPointer(start: buffer.base, count: kept + n)
            let used: Int
            do throws(FrameError) {
                used = try FrameParser.parse(bytes) {
                    frames += 1
                    owner.arrived($0, over: self, at: now)
                }
            } catch {
                owner.malformed(self, error, at: now)
                return
            }
            guard !isClosed else { return }
            if used < bytes.count { partial = Array(bytes[used...]) }
            budget -= n + frames * 512
            bringsSmallFrames = frames * 256 > n
            // Less than there was room for: the queue is empty, and the next edge tells of more. Only the end of the stream
            // has no edge of its own left once it was told of.
            if n < room, !mayHaveEnded { return }
        }
        owner.registry.again(self)
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        owner.registry.deregister(descriptor)
        _ = Glibc.close(descriptor)
        pieces = Deque()
        queuedBytes = 0
        partial = []
    }
}

extension Payload {
    /// Calls `body` with the ranges that cover [offset, offset + count).
    func forEachRange(from offset: Int, count: Int, _ body: (ChunkRange) -> Void) {
        var skip = offset
        var left = count
        forEachRange { range in
            guard left > 0 else { return }
            if skip >= range.count {
                skip -= range.count
                return
            }
            let n = min(range.count - skip, left)
            body(ChunkRange(range.chunk, offset: range.offset + skip, count: n))
            left -= n
            skip = 0
        }
    }
}
