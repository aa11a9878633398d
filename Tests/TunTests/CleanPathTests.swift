// A path on which nothing is lost: nothing is to be sent twice for a loss that nobody had.
import Chisocket
import ControlRecords
import Glibc
import TCPSegments
import TestSupport
import Testing

@Suite(
    "A clean path to the kernel", .timeLimit(.minutes(15)), .enabled(if: obstacle == nil, "skipped: \(obstacle ?? "")"))
struct CleanPathTests {
    /// The kernel's counters of TCP in a namespace.
    private func counters(_ namespace: NetworkNamespace) throws -> [String: Int] {
        try namespace.run {
            var counters: [String: Int] = [:]
            for file in ["snmp", "netstat"] {
                let lines = readText("/proc/thread-self/net/\(file)").split(separator: "\n").filter {
                    $0.hasPrefix("Tcp:") || $0.hasPrefix("TcpExt:")
                }
                // Names, and below them values.
                for index in stride(from: 0, to: lines.count - 1, by: 2) {
                    let (names, values) = (lines[index].split(separator: " "), lines[index + 1].split(separator: " "))
                    for (name, value) in zip(names, values).dropFirst() { counters[String(name)] = Int(value) }
                }
            }
            return counters
        }
    }

    /// No queue of the device overflows, and who does not get the processor for a while is not given up: a timeout of 200 ms would
    /// say nothing of TCP on a busy machine. A loss would still show, as a recovery or as a probe that repairs it.
    private static let calm = """
        ip link set tun0 txqueuelen 10000
        ip route change 10.77.0.0/24 dev tun0 src 10.77.0.1 rto_min 20s
        ip -6 route change fd77::/64 dev tun0 proto kernel metric 256 rto_min 20s
        echo 1 > /proc/sys/net/ipv4/tcp_ecn
        """

    @Test(
        "nothing is retransmitted but by tail loss probes, which the receiver did not need; all options are agreed on",
        arguments: [true, false], [true, false])
    func nothingTwice(weSend: Bool, isIPv4: Bool) throws {
        let bench = try Bench(capture: true, commands: Self.calm) {
            $0.host.connection.minimumRTO = .seconds(20)
            $0.host.connection.ecn = .classic
        }
        // A SYN that is lost because the device is not quite up would be sent again.
        _ = try bench.connected(kernelConnects: !weSend, isIPv4: isIPv4)
        let begin = try counters(bench.namespace)
        let (kernel, ours) = try bench.connected(kernelConnects: !weSend, isIPv4: isIPv4)
        let local = try ours.localAddress
        let port = try #require(local).port, data = pattern(4_000_000)
        let sender = Background {
            if weSend { try ours.send(data) } else { try kernel.send(data) }
        }
        var count = 0
        while count < data.count {
            let piece = try weSend ? kernel.receive() : ours.receive()
            try #require(!piece.isEmpty && data[count..<count + piece.count].elementsEqual(piece))
            count += piece.count
        }
        #expect(sender.join() == nil)

        // Ours: whatever was sent again was a probe's, and the peer says that it had it.
        var own = try #require(try status(bench, port))
        for _ in 0..<3000 where own.segments_retransmitted > UInt64(own.needless_retransmissions) {
            usleep(10_000)  // between two looks: the report is on its way
            own = try #require(try status(bench, port))
        }
        #expect(own.recoveries == 0 && own.timeouts == 0, "\(own)")
        #expect(own.segments_retransmitted <= UInt64(own.tail_loss_probes))
        #expect(own.segments_retransmitted == UInt64(own.needless_retransmissions))
        // The kernel's likewise.
        let end = try counters(bench.namespace)
        func grown(_ name: String) throws -> Int { try #require(end[name]) - (try #require(begin[name])) }
        for name in [
            "TCPFastRetrans", "TCPSlowStartRetrans", "TCPTimeouts", "TCPLostRetransmit", "TCPLossProbeRecovery",
            "TCPSackRecovery", "TCPRenoRecovery", "TCPSpuriousRTOs", "InErrs", "InCsumErrors",
        ] { #expect(try grown(name) == 0, "\(name)") }
        let again = try grown("RetransSegs"), probes = try grown("TCPLossProbes")
        #expect(again <= probes)

        guard TShark.isThere else { return }
        bench.stop()
        let packets = try packets(bench.folder + "/capture.pcap", port: port, isIPv4: isIPv4)
        let daemon = "\(isIPv4 ? Bench.daemon4 : Bench.daemon6)"
        let twice = packets.filter(\.isSentAgain)
        let twiceByUs = twice.count { packet in packet["source"] == daemon }
        #expect(twiceByUs == own.segments_retransmitted, "\(own.tail_loss_probes) probes: \(twice.prefix(3))")
        #expect(twice.count - twiceByUs <= again, "\(probes) probes of the kernel: \(twice.prefix(3))")
        for gap in ["out_of_order", "lost_segment", "ack_lost_segment"] {
            #expect(packets.filter { $0["tcp.analysis.\(gap)"] != "" } == [])
        }
        try checkOptions(packets, sender: weSend ? daemon : "\(isIPv4 ? Bench.kernel4 : Bench.kernel6)")
    }

    /// What tshark says of a packet; "" where there is nothing to say.
    private struct Packet: Equatable {
        let fields: [String: Substring]
        subscript(name: String) -> Substring { fields[name] ?? "" }
        var isSentAgain: Bool {
            ["retransmission", "fast_retransmission", "spurious_retransmission"].contains {
                self["tcp.analysis.\($0)"] != ""
            }
        }
    }

    /// What tshark says of the packets of the connection with this port.
    private func packets(_ file: String, port: UInt16, isIPv4: Bool) throws -> [Packet] {
        let fields =
            [isIPv4 ? "ip.src" : "ipv6.src", isIPv4 ? "ip.dsfield.ecn" : "ipv6.tclass.ecn", "tcp.len"]
            + ["retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "lost_segment"]
            .map { "tcp.analysis.\($0)" } + ["tcp.analysis.ack_lost_segment"]
            + ["syn", "ack", "ece", "cwr", "reset"].map { "tcp.flags.\($0)" }
            + ["sack_perm", "wscale.shift", "timestamp.tsval"].map { "tcp.options.\($0)" }
        let names = ["source", "ecn"] + fields.dropFirst(2)
        return try TShark.rows(of: file, fields, filter: "tcp.port == \(port)").map {
            Packet(fields: Dictionary(zip(names, $0)) { first, _ in first })
        }
    }

    private func status(_ bench: Bench, _ port: UInt16) throws -> chitcp_socket_status? {
        try DaemonControl.sockets(of: bench.path).first { $0.remote != nil && $0.local?.port == port }?.record
    }

    /// What the handshake has agreed on, read from its packets, and that it is used.
    private func checkOptions(_ packets: [Packet], sender: String) throws {
        let handshake = packets.filter { $0["tcp.flags.syn"] == "1" }
        try #require(handshake.map { $0["tcp.flags.ack"] } == ["0", "1"], "\(handshake)")
        for packet in handshake {
            for option in ["sack_perm", "wscale.shift", "timestamp.tsval"] {
                #expect(packet["tcp.options.\(option)"] != "", "\(option): \(packet)")
            }
            // RFC 3168 6.1.1: ECE and CWR ask, ECE alone agrees.
            #expect(packet["tcp.flags.ece"] == "1" && packet["tcp.flags.cwr"] != packet["tcp.flags.ack"], "\(packet)")
        }
        // RFC 7323 3.2: once agreed on, they are in every segment.
        #expect(packets.allSatisfy { $0["tcp.options.timestamp.tsval"] != "" || $0["tcp.flags.reset"] == "1" })
        // RFC 3168 6.1.2: data says ECT(0), but what is sent again does not.
        let data = packets.filter { $0["tcp.len"] != "0" }
        let unmarkable = data.filter { $0["ecn"] != "2" && !$0.isSentAgain }
        #expect(data.count > 2000 && unmarkable == [], "\(unmarkable.prefix(3))")
        #expect(data.allSatisfy { $0["source"] == sender })
    }
}
