// What the sysctls of Linux and FreeBSD mean for connections. Those without a counterpart here are ignored.
import TCPEngine
import TCPSegments

/// Sysctls by their full names.
enum Sysctl {
    /// Changes what `key` stands for; a value that makes no sense changes nothing.
    static func apply(_ key: String, _ value: String, to c: inout ConnectionConfiguration) {
        let numbers = value.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "," }).compactMap { Int($0) }
            .map { min(max($0, -1), 1 << 30) }
        let parts = key.split(whereSeparator: { $0 == "." || $0 == "/" })
        guard let name = parts.last.map(String.init) else { return }
        if parts.first == "net", parts.dropFirst().first == "inet" || parts.dropFirst().first == "inet6" {
            applyFreeBSD(parts.dropFirst(3).joined(separator: "."), value, numbers.first, to: &c)
        } else {
            applyLinux(name, value, numbers, to: &c)
        }
    }

    /// Fast Open is the host's, not the connections'.
    static func apply(_ key: String, _ value: String, to fastOpen: inout FastOpenConfiguration) {
        switch key.split(separator: ".").last {
        case "tcp_fastopen":
            // Newer kernels have uses of higher bits; the ones that are known lie in the lower sixteen.
            if let modes = Int(value) ?? Int(value.dropFirst(2), radix: 16) {
                fastOpen.modes = FastOpenModes(rawValue: .init(truncatingIfNeeded: modes))
            }
        case "tcp_fastopen_key":
            let keys = value.split(separator: ",").compactMap { FastOpenKey(String($0)) }
            if !keys.isEmpty { fastOpen.keys = keys }
        case "tcp_fastopen_blackhole_timeout_sec":
            if let seconds = Int64(value) { fastOpen.blackholeTimeout = .seconds(min(max(seconds, 0), 1 << 24)) }
        default: break
        }
    }

    private static func applyLinux(
        _ name: String, _ value: String, _ numbers: [Int], to c: inout ConnectionConfiguration
    ) {
        func set(_ feature: RecoveryFeatures, _ on: Bool) {
            if on { c.recovery.insert(feature) } else { c.recovery.remove(feature) }
        }
        if name == "tcp_congestion_control" {
            if let algorithm = CongestionControlAlgorithm(rawValue: value) { c.congestionControl = algorithm }
            return
        }
        guard let number = numbers.first else { return }
        let small = min(max(number, 0), 1 << 20)
        switch name {
        case "tcp_timestamps": c.timestamps = number != 0
        case "tcp_sack": c.selectiveAcks = number != 0
        case "tcp_window_scaling": c.windowScaling = number != 0
        case "tcp_slow_start_after_idle": c.slowStartAfterIdle = number != 0
        case "tcp_syn_retries": c.synRetries = small
        case "tcp_synack_retries": c.synAckRetries = small
        case "tcp_retries2": c.dataRetries = small
        case "tcp_fin_timeout": c.finWait2Timeout = .seconds(Int64(small))
        case "tcp_keepalive_time": c.keepAliveIdle = .seconds(Int64(small))
        case "tcp_keepalive_intvl": c.keepAliveInterval = .seconds(Int64(small))
        case "tcp_keepalive_probes": c.keepAliveProbes = small
        case "tcp_frto": set(.forwardRTO, number != 0)
        // 3 and 4 mean tail loss probes; 1 and 2 were early retransmit, which RACK has replaced.
        case "tcp_early_retrans": set(.tailLossProbe, number >= 3)
        case "tcp_recovery": set(.rack, number & 1 != 0)
        case "tcp_notsent_lowat":
            c.unsentLimit = number > 0 && number < 1 << 30 ? number + LinuxSendQueue.headroom : Int.max
        case "tcp_ecn": c.ecn = ecn(number)
        case "tcp_mtu_probing": c.segmentSizeProbing = number == 0 ? .off : number == 1 ? .afterBlackHole : .always
        case "tcp_base_mss": c.baseSegmentSize = number
        case "tcp_probe_interval": c.segmentSizeProbeInterval = .seconds(Int64(small))
        case "tcp_min_tso_segs": c.minimumSegmentsPerBatch = min(max(number, 1), 64)
        case "tcp_rmem" where numbers.count == 3:
            c.receiveBufferSize = numbers[1]
            c.maximumReceiveBuffer = numbers[2]
        case "tcp_wmem" where numbers.count == 3: c.sendBufferSize = numbers[1] + LinuxSendQueue.headroom
        default: break
        }
    }

    /// Both systems number the uses of ECN alike, as far as they have them.
    private static func ecn(_ number: Int) -> ECNUse {
        switch number {
        case 0: return .off
        case 1: return .classic
        case 3: return .accurate
        default: return .accept
        }
    }

    /// `name` without net.inet.tcp.
    private static func applyFreeBSD(
        _ name: String, _ value: String, _ number: Int?, to c: inout ConnectionConfiguration
    ) {
        if name == "cc.algorithm" {
            let known = value == "newreno" ? "reno" : value
            if let algorithm = CongestionControlAlgorithm(rawValue: known) { c.congestionControl = algorithm }
            return
        }
        guard let number else { return }
        switch name {
        case "rfc1323":
            c.timestamps = number == 1 || number == 3
            c.windowScaling = number == 1 || number == 2
        case "sack.enable": c.selectiveAcks = number != 0
        case "delayed_ack": c.acknowledgments = number == 0 ? .immediate : .everySecondSegment
        case "ecn.enable": c.ecn = ecn(number)
        case "delacktime": c.delayedAck = .milliseconds(Int64(min(max(number, 0), 500)))
        case "sendspace": c.sendBufferSize = number
        case "recvspace": c.receiveBufferSize = number
        case "rexmit_slop": c.timeoutSlop = .milliseconds(Int64(max(0, number)))
        case "rexmit_initial": c.initialRTO = .milliseconds(Int64(max(1, number)))
        case "syncache.rexmtlimit": c.synAckRetries = min(max(0, number), 32)
        case "reass.maxqueuelen": c.reassemblyLimit = max(1, number)
        case "rexmit_min": c.minimumRTO = .milliseconds(Int64(max(1, number)))
        case "keepinit", "keepidle", "keepintvl", "finwait2_timeout":
            let time = TimeInterval.milliseconds(Int64(min(max(number, 1), 1 << 30)))
            if name == "keepinit" { c.openTimeout = time }
            if name == "keepidle" { c.keepAliveIdle = time }
            if name == "keepintvl" { c.keepAliveInterval = time }
            if name == "finwait2_timeout" { c.finWait2Timeout = time }
        default: break
        }
    }
}
