// The daemon's end of a UNIX stream socketpair whose other end an application holds.
import CLinux
import Glibc
import NetworkLayer

/// Reads from and writes to the daemon's end. One byte always stays unread in it: a UNIX stream tells its peer ECONNRESET
/// only if it is closed with unread data, and that is how a reset reaches the application. At first it is a byte of no
/// meaning (the sentinel); later the last byte read is only peeked at and becomes the next one.
///
/// Taking bytes out of the queue makes room, and the kernel then wakes whoever sleeps on the other end, be it for an answer: two
/// hand-offs for nothing in every exchange of small messages. So those may stay a while after they were peeked at.
struct DescriptorEnd {
    let descriptor: Int32
    /// How many bytes at the head of the queue have been read already, the sentinel among them: 0 or 1, and more while messages
    /// stay.
    private(set) var staleBytes = 1
    private var staleMessages = 0
    private var bufferIsLarge = false

    /// What an end holds for its peer once it is in use.
    static let bufferSize: Int32 = 425_984

    init(descriptor: Int32) {
        self.descriptor = descriptor
        // An urgent byte is read where it stands.
        var on: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_OOBINLINE, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    static func setSendBuffer(_ fd: Int32, _ size: Int32) {
        var size = size
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }

    // MARK: From the application

    /// Bytes that were not read yet.
    var unread: Int { max(0, Int(clinux_unread(descriptor)) - staleBytes) }

    /// True, once, if the peer was closed with bytes of ours unread.
    func takeReset() -> Bool {
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length)
        return error == ECONNRESET
    }

    /// Copies what is unread into `room` and leaves it in the queue; returns where it is in `room`, which has more space than
    /// messages may leave behind. If it does not reach the end of `room`, that was all there is.
    func peek(into room: UnsafeMutableRawBufferPointer) -> Range<Int> {
        let n = recv(descriptor, room.baseAddress, room.count, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        return staleBytes..<max(staleBytes, n)
    }

    /// The most that stays in the queue of what has been read. Each message left costs every later look 50 ns, and a hand-off for
    /// nothing, of which this makes one in twelve, 3 us.
    static let leftBehind = (messages: 12, bytes: 1024)

    /// `count` bytes that were peeked at have been read: they are taken out of the queue, all but the last, unless they may
    /// stay (`lazily`). True if they do: then `tidy` is to be called before long.
    mutating func consumePeeked(_ count: Int, lazily: Bool, using scratch: UnsafeMutableRawBufferPointer) -> Bool {
        guard count > 0 else { return false }
        staleBytes += count
        staleMessages += 1
        if lazily, staleMessages < Self.leftBehind.messages, staleBytes <= Self.leftBehind.bytes { return true }
        tidy(using: scratch)
        return false
    }

    /// Takes all that has been read out of the queue, but for one byte.
    mutating func tidy(using scratch: UnsafeMutableRawBufferPointer) {
        staleMessages = 0
        while staleBytes > 1 {
            let n = recv(descriptor, scratch.baseAddress, min(staleBytes - 1, scratch.count), Int32(MSG_DONTWAIT))
            guard n > 0 else { return }
            staleBytes -= n
        }
    }

    /// Reads up to `available` bytes straight into `room`, leaving the last one in the queue as well.
    mutating func read(into room: UnsafeMutableRawBufferPointer, available: Int) -> Int {
        let wanted = min(room.count, available)
        let taken = wanted < available ? wanted : wanted - 1
        let n = take(room, taken)
        guard n == taken else { return n }
        if wanted > taken, let base = room.baseAddress,
            recv(descriptor, base + taken, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 1
        {
            staleBytes = 1
            return wanted
        }
        return n
    }

    /// Reads `count` bytes and throws them away, but for the last, which stays in the queue.
    mutating func discard(_ count: Int, using scratch: UnsafeMutableRawBufferPointer) {
        var left = count - 1
        while left > 0 {
            let n = take(scratch, min(left, scratch.count))
            if n <= 0 { return }
            left -= n
        }
    }

    /// Takes the stale byte out of the queue and `count` fresh ones into `room`; messages are not left there before.
    private mutating func take(_ room: UnsafeMutableRawBufferPointer, _ count: Int) -> Int {
        guard staleBytes + count > 0 else { return 0 }
        let n = receive(room, count)
        guard n > 0 else { return 0 }
        let fresh = max(0, n - staleBytes)
        staleBytes = 0
        return fresh
    }

    /// recvmsg(2) of the stale byte, if there is one, and of up to `count` bytes into `room`, which holds as many.
    private func receive(_ room: UnsafeMutableRawBufferPointer, _ count: Int) -> Int {
        var stale: UInt8 = 0
        return withUnsafeMutablePointer(to: &stale) { stale in
            withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { vectors in
                vectors[0] = iovec(iov_base: stale, iov_len: staleBytes)
                vectors[1] = iovec(iov_base: room.baseAddress, iov_len: min(count, room.count))
                var message = msghdr()
                message.msg_iov = vectors.baseAddress
                message.msg_iovlen = 2
                return recvmsg(descriptor, &message, Int32(MSG_DONTWAIT))
            }
        }
    }

    /// Takes out the stale byte, and messages left before it: closing the end then looks like an end in order.
    mutating func removeStale(using scratch: UnsafeMutableRawBufferPointer) {
        tidy(using: scratch)
        guard staleBytes > 0 else { return }
        staleBytes -= max(0, recv(descriptor, scratch.baseAddress, 1, Int32(MSG_DONTWAIT)))
    }

    /// The first byte in the queue has been looked at, and stays.
    mutating func keepStale() { staleBytes = 1 }

    /// Takes `count` bytes of the plug out of the queue; the one after them stays.
    func removePlug(_ count: Int, using scratch: UnsafeMutableRawBufferPointer) {
        _ = recv(descriptor, scratch.baseAddress, min(count, scratch.count), Int32(MSG_DONTWAIT))
    }

    // MARK: To the application

    /// send(2): how many bytes went, or -1 with errno. The buffer is made large when it is full for the first time: most
    /// connections never need that.
    mutating func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        let n = send(descriptor, bytes.baseAddress, bytes.count, flags)
        guard n < bytes.count, n >= 0 || errno == EAGAIN, enlargeBuffer() else { return n }
        let more = send(descriptor, bytes.baseAddress.map { $0 + max(0, n) }, bytes.count - max(0, n), flags)
        return n > 0 ? n + max(0, more) : more
    }

    /// Gives the buffer this size, and no larger one later.
    mutating func fixBuffer(_ size: Int32) {
        bufferIsLarge = true
        Self.setSendBuffer(descriptor, size)
    }

    /// Makes room for what is sent; false if that had been done before.
    mutating func enlargeBuffer() -> Bool {
        guard !bufferIsLarge else { return false }
        bufferIsLarge = true
        Self.setSendBuffer(descriptor, Self.bufferSize)
        return true
    }
}
