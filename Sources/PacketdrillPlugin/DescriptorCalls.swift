// fcntl, ioctl, getsockopt, setsockopt, and sendfile, which only a preloaded plugin sees.
import CPacketdrill
import Glibc
import SocketLayer
import TCPEngine
import TCPSegments

extension Plugin {
    /// fcntl(2).
    func control(_ number: Int32, _ command: Int32, _ argument: Int) -> Outcome {
        guard let descriptor = descriptors[number] else { return .failure(EBADF) }
        switch command {
        case F_GETFL: return .value(Int(descriptor.statusFlags))
        case F_SETFL:
            let settable = O_NONBLOCK | O_APPEND
            descriptor.statusFlags =
                descriptor.statusFlags & ~settable | Int32(truncatingIfNeeded: argument) & settable
            return .success
        case F_GETFD, F_SETFD: return .success
        default: return .failure(EINVAL)
        }
    }

    /// ioctl(2): FIONREAD, SIOCOUTQ, SIOCOUTQNSD and FIONBIO, as the kernel numbers them.
    func deviceControl(_ number: Int32, _ request: UInt, _ argument: UnsafeMutableRawPointer?) -> Outcome {
        guard let descriptor = descriptors[number] else { return .failure(EBADF) }
        guard let argument else { return .failure(EFAULT) }
        func answer(_ value: Int) -> Outcome {
            argument.storeBytes(of: Int32(clamping: value), as: Int32.self)
            return .success
        }
        if request == 0x5421 {
            let on = argument.loadUnaligned(as: Int32.self) != 0
            descriptor.statusFlags = descriptor.statusFlags & ~O_NONBLOCK | (on ? O_NONBLOCK : 0)
            return .success
        }
        guard let end = descriptor as? SocketEnd else {
            guard request == 0x541B, let pipe = descriptor as? PipeEnd else { return .failure(ENOTTY) }
            return answer(pipe.pipe.bytes.count)
        }
        guard end.socket.listener == nil else { return .failure(EINVAL) }
        let connection = end.socket.wasEstablished ? end.connection : nil
        switch request {
        case 0x541B: return answer(connection?.receivedCount ?? 0)
        case 0x5411: return answer(connection?.sendQueued ?? 0)
        case 0x894B: return answer(connection?.unsentBytes ?? 0)
        default: return .failure(ENOTTY)
        }
    }

    /// setsockopt(2).
    func setOption(
        _ number: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeRawPointer?, _ length: socklen_t
    ) -> Outcome {
        withSocket(number) { (end) throws(SocketError) in
            guard length <= 4096 else { return .failure(EINVAL) }
            guard length == 0 || value != nil else { return .failure(EFAULT) }
            let bytes = Array(UnsafeRawBufferPointer(start: value, count: Int(length)))
            if let outcome = end.setOwnOption(level, name, bytes) { return outcome }
            try layer.setOption(end.socket, OptionName(level, name), bytes, at: now)
            return .success
        }
    }

    /// getsockopt(2).
    func option(
        _ number: Int32, _ level: Int32, _ name: Int32, _ room: UnsafeMutableRawPointer?,
        _ length: UnsafeMutablePointer<socklen_t>?
    ) -> Outcome {
        withSocket(number) { (end) throws(SocketError) in
            guard let length, let room else { return .failure(EFAULT) }
            let capacity = Int(length.pointee)
            guard capacity <= Int(Int32.max) else { return .failure(EINVAL) }
            var value: [UInt8]
            if let own = end.ownOption(level, name) {
                value = own
            } else {
                value = try layer.option(end.socket, OptionName(level, name))
            }
            if level == Int32(IPPROTO_TCP), name == TCP_INFO {
                if end.connection != nil { end.times.write(to: &value, now: now) }
                // Newer kernels know more fields than are told here: those are 0.
                value += [UInt8](repeating: 0, count: max(0, min(capacity, 512) - value.count))
            }
            let count = min(capacity, value.count)
            value.withUnsafeBytes { bytes in
                // Bounds: at most `capacity` bytes.
                if let base = bytes.baseAddress, count > 0 { room.copyMemory(from: base, byteCount: count) }
            }
            length.pointee = socklen_t(count)
            return .success
        }
    }

    /// sendfile(2) from a file to a socket.
    func sendFile(
        _ number: Int32, _ file: Int32, _ offset: UnsafeMutablePointer<off_t>?, _ count: Int
    ) -> Result<WaitingCall, CallFailure> {
        guard let offset else { return .failure(CallFailure(error: EINVAL)) }
        // Linux moves at most 2,147,479,552 bytes a call; what a script's file holds is less.
        var bytes = [UInt8](repeating: 0, count: min(max(count, 0), 16 << 20))
        let read = bytes.withUnsafeMutableBytes {
            packetdrill_read_file(file, $0.baseAddress, $0.count, offset.pointee)
        }
        guard read >= 0 else { return .failure(CallFailure(error: errno)) }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, read), alignment: 1)
        memory.copyBytes(from: bytes[..<read])
        return send(number, CallerMemory(memory.baseAddress, read), 0).map { call in
            WaitingCall(deadline: call.deadline) {
                guard let outcome = call.attempt() else { return nil }
                memory.deallocate()
                if case .value(let sent) = outcome { offset.pointee += off_t(sent) }
                return outcome
            }
        }
    }
}

extension SocketEnd {
    /// Options that are a matter of the descriptor; nil: it is not one of them.
    func setOwnOption(_ level: Int32, _ name: Int32, _ bytes: [UInt8]) -> Outcome? {
        let number = bytes.count >= 4 ? bytes.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) } : nil
        switch (level, name) {
        case (SOL_SOCKET, SO_RCVLOWAT):
            guard let number else { return .failure(EINVAL) }
            receiveLowWater = number < 0 ? Int(Int32.max) : max(1, Int(number))
        case (SOL_SOCKET, SO_RCVTIMEO), (SOL_SOCKET, SO_SNDTIMEO):
            guard bytes.count >= 16 else { return .failure(EINVAL) }
            let (seconds, microseconds) = bytes.withUnsafeBytes {
                ($0.loadUnaligned(as: Int64.self), $0.loadUnaligned(fromByteOffset: 8, as: Int64.self))
            }
            guard (0..<1_000_000).contains(microseconds) else { return .failure(EDOM) }
            let isNone = seconds < 0 || (seconds == 0 && microseconds == 0) || seconds > 1 << 30
            let limit: TimeInterval? = isNone ? nil : .microseconds(seconds * 1_000_000 + microseconds)
            if name == SO_RCVTIMEO { receiveTimeout = limit } else { sendTimeout = limit }
        case (Int32(IPPROTO_TCP), Self.queueOption):
            guard let number else { return .failure(EINVAL) }
            guard number == 0 || number == 1 else { return .failure(EINVAL) }
            tellsQueue = number == 1
        default: return nil
        }
        return .success
    }

    /// The value of such an option.
    func ownOption(_ level: Int32, _ name: Int32) -> [UInt8]? {
        func bytes(_ value: Int32) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }
        func time(_ value: TimeInterval?) -> [UInt8] {
            let microseconds = (value?.nanoseconds ?? 0) / 1000
            return withUnsafeBytes(of: (microseconds / 1_000_000, microseconds % 1_000_000)) { Array($0) }
        }
        switch (level, name) {
        case (SOL_SOCKET, SO_RCVLOWAT): return bytes(Int32(clamping: receiveLowWater))
        case (SOL_SOCKET, SO_RCVTIMEO): return time(receiveTimeout)
        case (SOL_SOCKET, SO_SNDTIMEO): return time(sendTimeout)
        case (Int32(IPPROTO_TCP), Self.queueOption): return bytes(tellsQueue ? 1 : 0)
        // TCP_CC_INFO and SO_MEMINFO: there is nothing to tell.
        case (Int32(IPPROTO_TCP), 26): return [UInt8](repeating: 0, count: 20)
        case (SOL_SOCKET, 55): return [UInt8](repeating: 0, count: 36)
        default: return nil
        }
    }

    /// TCP_INQ (linux/tcp.h).
    private static let queueOption: Int32 = 36
}
