// What a fast-opened connection has more than others.
import TCPSegments

/// Which end of a fast-opened connection this is. Few connections have one.
enum FastOpenRole {
    case client(FastOpenClient)
    case server(FastOpenServer)
}

/// An active OPEN that uses Fast Open.
final class FastOpenClient {
    let cache: FastOpenCache
    /// The option of the next SYN; nil once a SYN has left: a second one is an ordinary SYN (RFC 7413 4.1.3.1).
    var option: FastOpenOption?
    /// The next SYN takes data along.
    var mayCarryData: Bool
    /// How much data, by what the cache knows of the server's segments.
    let segmentSize: Int
    /// The SYN waits for the first SEND.
    var isDeferred: Bool
    /// The SYN had the option, in the experimental form.
    var askedExperimentally: Bool?
    /// Where the data ends that left with the SYN; nil: none did.
    var dataEnd: StreamOffset?
    var failure = FastOpenFailure.none
    /// The peer acknowledged all of that data with the SYN.
    var wasAcknowledged = false
    /// Fast Open had been given up before this connection.
    let isOnTrial: Bool

    init(
        cache: FastOpenCache, option: FastOpenOption?, mayCarryData: Bool, segmentSize: Int, isDeferred: Bool
    ) {
        self.cache = cache
        self.option = option
        self.mayCarryData = mayCarryData
        self.segmentSize = segmentSize
        self.isDeferred = isDeferred
        isOnTrial = cache.isOnTrial
    }

    /// The SYN was more than an ordinary one.
    var wasUsed: Bool { askedExperimentally != nil || dataEnd != nil }
}

/// A passive OPEN that did not wait for the handshake's end.
final class FastOpenServer {
    /// Counts it until the handshake has ended.
    private var queue: FastOpenQueue?
    /// The option of the first SYN-ACK.
    var option: FastOpenOption?
    /// When the SYN-ACK first left: it is not in the retransmission queue, because data may be outstanding behind it.
    var synAckSentAt: Instant?
    /// Data came with the SYN and was taken.
    var tookData = false

    init(queue: FastOpenQueue, option: FastOpenOption?) {
        self.queue = queue
        self.option = option
        queue.enter()
    }

    /// The handshake has ended, or the connection has: its place is free.
    func leaveQueue() {
        queue?.leave()
        queue = nil
    }

    /// The peer has reset it.
    func leaveQueueByReset(at now: Instant) {
        queue?.leaveByReset(at: now)
        queue = nil
    }
}

extension Connection {
    var fastOpenClient: FastOpenClient? {
        if case .client(let client) = fastOpen { client } else { nil }
    }

    var fastOpenServer: FastOpenServer? {
        if case .server(let server) = fastOpen { server } else { nil }
    }

    /// The SYN's data was acknowledged with the SYN, or, passive, was taken: TCPI_OPT_SYN_DATA.
    var synDataAcknowledged: Bool {
        switch fastOpen {
        case nil: false
        case .client(let client): client.wasAcknowledged
        case .server(let server): server.tookData
        }
    }

    /// The connection has ended.
    func endFastOpen() {
        switch fastOpen {
        case nil: break
        case .client(let client): client.ended(self)
        case .server(let server): server.leaveQueue()
        }
    }
}
