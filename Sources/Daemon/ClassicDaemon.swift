// A daemon that looks like the original to its peers and its programs.
import TCPEngine
import TCPSegments

extension DaemonConfiguration {
    /// Imitates the original: segments of 536 bytes, buffers of 4,096, no options, not even an MSS in the SYN, an ACK for
    /// every segment, no waiting for company (neither Nagle's algorithm nor delayed ACKs), no TIME-WAIT.
    public mutating func imitateOriginal() {
        host.connection.sendBufferSize = 4096
        host.connection.receiveBufferSize = 4096
        host.connection.maximumSendBuffer = 0
        host.connection.maximumReceiveBuffer = 0
        host.connection.maximumSegmentSize = 536
        host.connection.announcesMSS = false
        host.connection.windowScaling = false
        host.connection.timestamps = false
        host.connection.selectiveAcks = false
        host.connection.noDelay = true
        host.connection.delayedAck = .zero
        host.connection.answerDelay = .zero
        host.connection.minimumRTO = .milliseconds(200)
        host.fastOpen.modes = []
        host.synCookies = .never
        links.maximumSegmentLifetime = .zero
    }
}
