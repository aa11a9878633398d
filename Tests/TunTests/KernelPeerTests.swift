// Linux's TCP as the peer, through a TUN device in a namespace of the test's own.
import Chisocket
import Daemon
import Glibc
import NetworkLayer
import TCPSegments
import TestSupport
import Testing

/// Why these tests cannot run here, or nil.
let obstacle = NetworkNamespace.obstacle

@Suite(
    "Linux's TCP as the peer", .timeLimit(.minutes(15)),
    .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct KernelPeerTests {
    @Test(
        "bytes go both ways at once, and everybody's options are used",
        arguments: [true, false], [true, false])
    func transfer(kernelConnects: Bool, isIPv4: Bool) throws {
        let bench = try Bench()
        let (kernel, ours) = try bench.connected(kernelConnects: kernelConnects, isIPv4: isIPv4)
        let data = pattern(3_000_000)
        try exchange(data, data, kernel, ours)
        let options = try kernel.options()
        #expect(options & 7 == 7, "timestamps, SACK, window scale")
    }

    @Test("small and large packets", arguments: [576, 1280, 9000, 65_535])
    func packetSizes(mtu: Int) throws {
        let bench = try Bench(mtu: max(mtu, 1280))
        if mtu < 1280 { try bench.namespace.run { try command("ip link set tun0 mtu 576") } }
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: true)
        let data = pattern(500_000)
        let receiver = Background {
            let all = try ours.receiveAll()
            #expect(all == data)
        }
        try kernel.send(data)
        kernel.shutdownSending()
        #expect(receiver.join() == nil)
        let back = Background {
            let all = try kernel.receiveAll()
            #expect(all == data)
        }
        try ours.send(data)
        try ours.shutdown(.sending)
        #expect(back.join() == nil)
    }

    @Test("a port where nobody listens refuses, in both directions", arguments: [true, false])
    func refused(isIPv4: Bool) throws {
        let bench = try Bench()
        let toUs = errnoOf {
            try bench.namespace.run {
                try KernelSocket(isIPv4: isIPv4).connect(to: Endpoint(isIPv4 ? Bench.daemon4 : Bench.daemon6, 99))
            }
        }
        #expect(toUs == ECONNREFUSED)
        let ours = try bench.chisocket(isIPv4: isIPv4)
        let toKernel = errnoOf { try ours.connect(to: bench.address(isIPv4 ? Bench.kernel4 : Bench.kernel6, 99)) }
        #expect(toKernel == ECONNREFUSED)
    }

    @Test("a router that knows no way ends connect() at once")
    func unreachable() throws {
        let bench = try Bench()
        let ours = try bench.chisocket(isIPv4: true)
        let error = errnoOf { try ours.connect(to: bench.address(IPAddress(192, 0, 2, 1), 7)) }
        #expect(error == EHOSTUNREACH)
    }

    @Test("half-close: each direction ends on its own", arguments: [true, false])
    func halfClose(kernelFirst: Bool) throws {
        let bench = try Bench()
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: true)
        if kernelFirst {
            try kernel.send([1])
            kernel.shutdownSending()
            #expect(try ours.receiveAll() == [1])
            try ours.send([2])
            try ours.shutdown(.sending)
            #expect(try kernel.receiveAll() == [2])
        } else {
            try ours.send([2])
            try ours.shutdown(.sending)
            #expect(try kernel.receiveAll() == [2])
            try kernel.send([1])
            kernel.shutdownSending()
            #expect(try ours.receiveAll() == [1])
        }
    }

    @Test("a reset reaches the other side", arguments: [true, false])
    func reset(byKernel: Bool) throws {
        let bench = try Bench()
        var (kernel, ours): (KernelSocket?, Chisocket?) = try bench.connected(kernelConnects: true, isIPv4: true)
        if byKernel {
            kernel?.lingerNot()
            kernel = nil
            let error = errnoOf { _ = try ours?.receive() }
            #expect(error == ECONNRESET)
        } else {
            // Closing with received bytes unread resets.
            try kernel?.send([1])
            try ours?.withDescriptor { descriptor throws(ChisocketError) in
                var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                _ = poll(&entry, 1, 30_000)
            }
            ours = nil
            let error = errnoOf { _ = try kernel?.receive() }
            #expect(error == ECONNRESET)
        }
    }

    @Test("a reader that stops closes the window, and nothing is lost", arguments: [true, false])
    func zeroWindow(kernelSends: Bool) throws {
        let bench = try Bench()
        let (kernel, ours) = try bench.connected(kernelConnects: true, isIPv4: true)
        // More than all buffers on the way hold together.
        let data = pattern(24 << 20)
        let sender = Background {
            if kernelSends {
                try kernel.send(data)
                kernel.shutdownSending()
            } else {
                try ours.send(data)
                try ours.shutdown(.sending)
            }
        }
        // The reader waits until the sender has come to a stop: the sender's socket takes no more for a while.
        try waitUntilStuck(kernelSends ? kernel.descriptor : ours.withDescriptor { $0 })
        #expect(try (kernelSends ? ours.receiveAll() : kernel.receiveAll()) == data)
        #expect(sender.join() == nil)
    }

    private func waitUntilStuck(_ descriptor: Int32) throws {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        var quiet = 0
        while quiet < 5 {
            entry.revents = 0
            quiet = poll(&entry, 1, 40) == 0 ? quiet + 1 : 0
        }
    }

    @Test("many connections at once, and many one after another")
    func many() throws {
        let bench = try Bench()
        let listener = try Chisocket.listening(on: bench.address(Bench.daemon4, 7), backlog: 256, daemon: bench.path)
        try bench.limit(listener)
        let sockets = try bench.namespace.run {
            try (0..<200).map { _ in
                let socket = try KernelSocket(isIPv4: true)
                try socket.connect(to: Endpoint(Bench.daemon4, 7))
                return socket
            }
        }
        let accepted = try sockets.map { _ in try listener.accept() }
        for (i, socket) in sockets.enumerated() { try socket.send([UInt8(truncatingIfNeeded: i)]) }
        let seen = try accepted.map { try $0.receive().first }
        #expect(seen.compactMap { $0 }.count == 200)
        for i in 0..<300 {
            let socket = try bench.namespace.run {
                let socket = try KernelSocket(isIPv4: true)
                try socket.connect(to: Endpoint(Bench.daemon4, 7))
                return socket
            }
            let ours = try listener.accept()
            try socket.send([UInt8(truncatingIfNeeded: i)])
            #expect(try ours.receive() == [UInt8(truncatingIfNeeded: i)])
        }
    }

    @Test("an echo request is answered", arguments: [true, false])
    func echo(isIPv4: Bool) throws {
        let bench = try Bench()
        let answer = try bench.namespace.run { () -> [UInt8] in
            let descriptor = socket(
                isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_RAW.rawValue), isIPv4 ? Int32(IPPROTO_ICMP) : 58)
            defer { close(descriptor) }
            var request: [UInt8] = [isIPv4 ? 8 : 128, 0, 0, 0, 0, 1, 0, 1, 42]
            var sum = InternetChecksum()
            request.withUnsafeBytes { sum.add($0) }
            if isIPv4 {
                request[2] = UInt8(sum.value >> 8)
                request[3] = UInt8(sum.value & 0xFF)
            }
            var limit = timeval(tv_sec: 1, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            var buffer = [UInt8](repeating: 0, count: 100)
            // Asked again each second, like ping does: any packet may be lost.
            for _ in 0..<60 {
                _ = SocketAddress(Endpoint(isIPv4 ? Bench.daemon4 : Bench.daemon6, 0)).withPointer {
                    sendto(descriptor, request, request.count, 0, $0, $1)
                }
                let n = recv(descriptor, &buffer, buffer.count, 0)
                guard n > 0 else { continue }
                // IPv4's raw sockets show the IP header as well; other messages may come in between.
                let message = Array(buffer[(isIPv4 ? 20 : 0)..<n])
                if message.first == (isIPv4 ? 0 : 129) { return message }
            }
            return []
        }
        #expect(Array(answer.dropFirst(4)) == [0, 1, 0, 1, 42])
    }
}
