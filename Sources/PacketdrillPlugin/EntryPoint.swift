// packetdrill_interface_init: fills the table. Its functions are thin: they find the plugin, call it, and set errno last.
import CPacketdrill
import Glibc
import TCPSegments

/// The script that runs. There is one at a time, and both threads of packetdrill take the plugin's lock.
nonisolated(unsafe) private var current: Plugin?

/// The plugin, which is there from `packetdrill_interface_init` on.
private var plugin: Plugin {
    guard let current else { preconditionFailure("a call before packetdrill_interface_init") }
    return current
}

/// The result for C. Nothing may run between setting errno and returning.
@inline(__always)
private func result(_ outcome: Outcome) -> Int {
    switch outcome {
    case .value(let value): return value
    case .failure(let error):
        errno = error
        return -1
    }
}

@inline(__always) private func result32(_ outcome: Outcome) -> Int32 { Int32(truncatingIfNeeded: result(outcome)) }

/// Begins a script.
@c @implementation
public func packetdrill_interface_init(
    _ text: UnsafePointer<CChar>?, _ table: UnsafeMutablePointer<packetdrill_interface>!
) {
    // Programs that the script starts are not to have the plugin in front of their C library.
    unsetenv("LD_PRELOAD")
    // A script before this one in the same process has closed its descriptors.
    packetdrill_forget_stand_ins()
    do throws(FlagError) {
        current = Plugin(try PluginFlags(text.map { String(cString: $0) } ?? ""))
    } catch {
        complain("--so_flags: \(error.sentence)")
        exit(1)
    }
    table.pointee.userdata = UnsafeMutableRawPointer(table)
    table.pointee.free = { _ in plugin.end() }
    fillConnectionCalls(&table.pointee)
    fillDataCalls(&table.pointee)
    fillDescriptorCalls(&table.pointee)
    fillNetworkCalls(&table.pointee)
    packetdrill_set_control_calls(
        table,
        { _, fd, command, argument in
            result32(plugin.call("fcntl(\(fd), \(command))") { plugin.control(fd, command, argument) })
        },
        { _, fd, request, argument in
            result32(plugin.call("ioctl(\(fd), \(request))") { plugin.deviceControl(fd, request, argument) })
        })
    packetdrill_set_preloads(
        packetdrill_preloads(
            getsockopt: { fd, level, name, value, length in
                result32(
                    plugin.call("getsockopt(\(fd), \(level), \(name))") {
                        plugin.option(fd, level, name, value, length)
                    })
            },
            close: { fd in result32(plugin.waitingCall("close(\(fd))") { plugin.close(fd) }) },
            sendfile: { out, file, offset, count in
                result(plugin.waitingCall("sendfile(\(out))") { plugin.sendFile(out, file, offset, count) })
            }))
}

private func fillConnectionCalls(_ table: inout packetdrill_interface) {
    table.socket = { _, domain, type, number in
        result32(plugin.call("socket(\(domain), \(type))") { plugin.socket(domain, type, number) })
    }
    table.bind = { _, fd, address, length in
        result32(plugin.call("bind(\(fd))") { plugin.bind(fd, address, length) })
    }
    table.listen = { _, fd, backlog in
        result32(plugin.call("listen(\(fd), \(backlog))") { plugin.listen(fd, backlog) })
    }
    table.accept = { _, fd, address, length in
        result32(plugin.waitingCall("accept(\(fd))") { plugin.accept(fd, address, length) })
    }
    table.connect = { _, fd, address, length in
        result32(plugin.waitingCall("connect(\(fd))") { plugin.connect(fd, address, length) })
    }
    table.shutdown = { _, fd, how in
        result32(plugin.call("shutdown(\(fd), \(how))") { plugin.shutdown(fd, how) })
    }
    table.close = { _, fd in result32(plugin.waitingCall("close(\(fd))") { plugin.close(fd) }) }
}

private func fillDataCalls(_ table: inout packetdrill_interface) {
    table.read = { _, fd, room, count in
        result(plugin.waitingCall("read(\(fd), \(count))") { plugin.receive(fd, CallerMemory(room, count), 0) })
    }
    table.readv = { _, fd, vector, count in
        result(plugin.waitingCall("readv(\(fd))") { plugin.receive(fd, CallerMemory(vector: vector, Int(count)), 0) })
    }
    table.recv = { _, fd, room, count, flags in
        result(
            plugin.waitingCall("recv(\(fd), \(count), \(flags))") {
                plugin.receive(fd, CallerMemory(room, count), flags)
            })
    }
    table.recvfrom = { _, fd, room, count, flags, _, length in
        result(
            plugin.waitingCall("recvfrom(\(fd), \(count), \(flags))") {
                // Linux: a stream tells no name.
                length?.pointee = 0
                return plugin.receive(fd, CallerMemory(room, count), flags)
            })
    }
    table.recvmsg = { _, fd, message, flags in
        result(plugin.waitingCall("recvmsg(\(fd), \(flags))") { plugin.receiveMessage(fd, message, flags) })
    }
    table.write = { _, fd, bytes, count in
        result(
            plugin.waitingCall("write(\(fd), \(count))") {
                plugin.send(fd, CallerMemory(UnsafeMutableRawPointer(mutating: bytes), count), 0)
            })
    }
    table.writev = { _, fd, vector, count in
        result(plugin.waitingCall("writev(\(fd))") { plugin.send(fd, CallerMemory(vector: vector, Int(count)), 0) })
    }
    table.send = { _, fd, bytes, count, flags in
        result(
            plugin.waitingCall("send(\(fd), \(count), \(flags))") {
                plugin.send(fd, CallerMemory(UnsafeMutableRawPointer(mutating: bytes), count), flags)
            })
    }
    table.sendto = { _, fd, bytes, count, flags, address, length in
        result(
            plugin.waitingCall("sendto(\(fd), \(count), \(flags))") {
                plugin.destination(address, length).flatMap {
                    plugin.send(fd, CallerMemory(UnsafeMutableRawPointer(mutating: bytes), count), flags, to: $0)
                }
            })
    }
    table.sendmsg = { _, fd, message, flags in
        result(
            plugin.waitingCall("sendmsg(\(fd), \(flags))") {
                guard let message else { return .failure(CallFailure(error: EFAULT)) }
                let head = message.pointee
                let memory = CallerMemory(vector: head.msg_iov, Int(clamping: head.msg_iovlen))
                return plugin.destination(head.msg_name, head.msg_namelen).flatMap {
                    plugin.send(fd, memory, flags, to: $0)
                }
            })
    }
    table.pipe = { _, ends in result32(plugin.call("pipe()") { plugin.pipe(ends) }) }
    table.splice = { _, input, _, output, _, length, flags in
        result32(
            plugin.waitingCall("splice(\(input), \(output), \(length))") {
                plugin.splice(input, output, Int(clamping: length), flags)
            })
    }
}

private func fillDescriptorCalls(_ table: inout packetdrill_interface) {
    table.getsockopt = { _, fd, level, name, value, length in
        result32(plugin.call("getsockopt(\(fd), \(level), \(name))") { plugin.option(fd, level, name, value, length) })
    }
    table.setsockopt = { _, fd, level, name, value, length in
        result32(
            plugin.call("setsockopt(\(fd), \(level), \(name))") { plugin.setOption(fd, level, name, value, length) })
    }
    table.poll = { _, entries, count, timeout in
        result32(plugin.waitingCall("poll(\(count), \(timeout))") { plugin.poll(entries, count, timeout) })
    }
    table.epoll_create = { _, size in result32(plugin.call("epoll_create()") { plugin.createWatchSet(size) }) }
    table.epoll_ctl = { _, set, operation, fd, event in
        result32(
            plugin.call("epoll_ctl(\(set), \(operation), \(fd))") { plugin.controlWatchSet(set, operation, fd, event) })
    }
    table.epoll_wait = { _, set, events, limit, timeout in
        result32(
            plugin.waitingCall("epoll_wait(\(set), \(timeout))") { plugin.waitForEvents(set, events, limit, timeout) })
    }
}

private func fillNetworkCalls(_ table: inout packetdrill_interface) {
    table.netdev_send = { _, bytes, count in
        if let bytes { plugin.inject(UnsafeRawBufferPointer(start: bytes, count: count)) }
        return 0
    }
    table.netdev_receive = { _, room, count, microseconds in
        guard let room, let count, let microseconds else { return 0 }
        guard let packet = plugin.nextPacket() else {
            count.pointee = 0
            return 0
        }
        // Bounds: no more than the caller's room.
        let length = min(count.pointee, packet.bytes.count)
        packet.bytes.withUnsafeBytes { source in
            if let base = source.baseAddress { room.copyMemory(from: base, byteCount: length) }
        }
        count.pointee = length
        microseconds.pointee = packet.microseconds
        return 0
    }
    table.usleep = { _, microseconds in
        plugin.pass(microseconds: microseconds)
        return 0
    }
    table.gettimeofday = { _, time, _ in
        let now = plugin.time()
        time?.pointee = timeval(tv_sec: Int(now / 1_000_000), tv_usec: Int(now % 1_000_000))
        return 0
    }
}
