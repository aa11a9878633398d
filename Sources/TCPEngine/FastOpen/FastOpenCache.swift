// What a host knows as a client: the cookies it was granted (RFC 7413 4.1.3), and whether Fast Open works at all.
import DequeModule
import TCPSegments

/// The cookies of servers, by the two addresses. Connections hold it: they learn what it keeps.
final class FastOpenCache {
    /// What is known of one server.
    struct Entry {
        var cookie: FastOpenOption?
        /// What the server takes in a segment, so that the SYN's data fits before it says so again (RFC 7413 4.1.3).
        var maximumSegmentSize: Int?
        /// Which option asks for a cookie: the experimental one is tried once after the standard one went unanswered.
        var request = Request.standard
    }

    enum Request: Int {
        case standard = 0
        case experimental = 1
        case standardAgain = 2
    }

    var configuration: FastOpenConfiguration
    var statistics = FastOpenStatistics()
    private var entries: [AddressPair: Entry] = [:]
    /// In the order in which they came, for the oldest to go.
    private var order = Deque<AddressPair>()
    /// When Fast Open was last given up, and how often in a row.
    private var disabledAt = Instant.origin
    private var disabledTimes = 0

    init(_ configuration: FastOpenConfiguration) { self.configuration = configuration }

    /// What is known of the server.
    func entry(for addresses: AddressPair) -> Entry { entries[addresses] ?? Entry() }

    /// Changes what is known of the server; the oldest is forgotten when there are too many.
    func update(_ addresses: AddressPair, _ body: (inout Entry) -> Void) {
        if entries[addresses] == nil {
            while entries.count >= max(1, configuration.cacheCapacity), let oldest = order.popFirst() {
                entries[oldest] = nil
            }
            order.append(addresses)
        }
        body(&entries[addresses, default: Entry()])
    }

    // MARK: Paths that swallow

    /// A connection failed in a way that looks like a box in the path that does not bear Fast Open (RFC 7413 7.1).
    func foundBlackhole(at now: Instant) {
        guard configuration.blackholeTimeout > .zero else { return }
        disabledAt = now
        disabledTimes += 1
        statistics.blackholes += 1
    }

    /// True while active OPENs are to do without.
    func isDisabled(at now: Instant) -> Bool {
        guard disabledTimes > 0, configuration.blackholeTimeout > .zero else { return false }
        return now < disabledAt + configuration.blackholeTimeout * (1 << Int64(min(disabledTimes - 1, 6)))
    }

    /// True if the next connection shows whether Fast Open works again.
    var isOnTrial: Bool { disabledTimes > 0 }

    /// A connection on trial has carried data.
    func worksAgain() { disabledTimes = 0 }
}
