// What each personality sets; Documentation/Packetdrill.md has the table.
import TCPEngine
import TCPSegments

extension Personality {
    /// How the link writes options.
    var optionLayout: OptionLayout {
        switch self {
        case .chitcp: return .compact
        case .linux: return .linux
        case .freebsd: return .freeBSD
        }
    }

    /// What the connection's send buffer has beyond what the script is told: Linux takes a whole buffer more than fits.
    var sendHeadroom: Int { self == .linux ? LinuxSendQueue.headroom : 0 }

    /// Changes this project's defaults into what the scripts of a system expect.
    func configure(_ host: inout HostConfiguration) {
        switch self {
        case .chitcp: break
        case .linux: Self.configureLinux(&host)
        case .freebsd: Self.configureFreeBSD(&host)
        }
    }

    private static func configureLinux(_ host: inout HostConfiguration) {
        // tcp_rmem, tcp_wmem: the scripts' own defaults.sh sets the same.
        host.connection.receiveBufferSize = 540_000
        host.connection.maximumReceiveBuffer = 15 << 20
        host.connection.sendBufferSize = 262_144 + LinuxSendQueue.headroom
        host.connection.maximumSendBuffer = 0
        host.connection.ecn = .off
        host.connection.keepsTextOfSyn = false
        host.fastOpen.modes = [.client]
        host.fastOpen.fillsUnknownSegments = false
        host.connection.slowStartAfterIdle = false
        host.connection.acknowledgments = .immediate
        host.connection.optionLayout = Personality.linux.optionLayout
        host.connection.batches = true
        host.connection.answersUnsentAcks = false
        host.connection.synRetries = 5
        host.connection.resetsWhenGivingUp = false
        host.connection.countsSegments = true
        host.connection.challengeInterval = .milliseconds(500)
        host.connection.reorderingTimerTick = .milliseconds(4)
        host.connection.probesWithoutData = true
        host.connection.userTimeoutBeginsWithRetry = true
        host.connection.segmentSizeProbing = .off
        host.connection.leastSegmentSizeIPv6 = 512
    }

    private static func configureFreeBSD(_ host: inout HostConfiguration) {
        host.connection.receiveBufferSize = 65_536
        host.connection.maximumReceiveBuffer = 0
        host.connection.windowScaleBase = 2 << 20
        host.connection.keepsTextOfSyn = false
        host.fastOpen.modes = []
        host.connection.sendBufferSize = 32_768
        host.connection.maximumSendBuffer = 0
        host.connection.acknowledgments = .everySecondSegment
        host.connection.delayedAck = .milliseconds(40)
        host.connection.optionLayout = Personality.freebsd.optionLayout
        host.connection.announcesExactWindow = true
        host.connection.challengeInterval = .zero
        host.connection.resetsUnread = false
        host.connection.answersLikeFreeBSD = true
        // net.inet.tcp.reass.maxqueuelen
        host.connection.reassemblyLimit = 100
        host.connection.minimumRTO = .milliseconds(30)
        host.connection.timeoutSlop = .milliseconds(200)
        host.connection.synAckRetries = 3
        host.connection.openTimeout = .seconds(75)
        host.connection.recovery.remove([.rack, .tailLossProbe])
        host.connection.slowStartAfterIdle = true
    }
}
