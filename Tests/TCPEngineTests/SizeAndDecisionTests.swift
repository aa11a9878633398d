// What records weigh, and the decision about new data as a table.
import CLinux
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct SizeTests {
    private func size(_ object: AnyObject) -> Int {
        Int(clinux_allocation_size(Unmanaged.passUnretained(object).toOpaque()))
    }

    @Test("an idle connection, a half-open record and a TIME-WAIT record stay small")
    func sizes() {
        let tuple = FourTuple(
            local: Endpoint(IPAddress(10, 0, 0, 1), 7), remote: Endpoint(IPAddress(10, 0, 0, 2), 50_000))
        let now = Instant.origin
        let connection = Connection(
            tuple: tuple, iss: SequenceNumber(0), timestampOffset: 0,
            configuration: SharedConfiguration(ConnectionConfiguration()), pool: ChunkPool())
        // The budget of an idle connection is 3 kB of daemon memory an end, everything included.
        #expect(size(connection) <= 1536)
        #expect(size(TimeWaitRecord(connection, link: LinkID(1), at: now)) <= 200)
        let syn = SegmentHeader(
            sourcePort: 50_000, destinationPort: 7, sequenceNumber: SequenceNumber(0), controlBits: .syn)
        let listener = Listener(
            local: tuple.local, backlog: 1, configuration: SharedConfiguration(ConnectionConfiguration()))
        let halfOpen = HalfOpen(
            tuple: tuple, link: LinkID(1), listener: listener, iss: SequenceNumber(0), timestampOffset: 0, syn: syn,
            text: nil, at: now)
        #expect(size(halfOpen) <= 200)
    }
}

@Suite struct SendDecisionTests {
    struct Case: CustomStringConvertible, Sendable {
        let description: String
        let situation: SendDecision.Situation
        let decision: SendDecision
    }

    static func situation(
        unsent: Int, window: Int = 100_000, maximum: Int = 100_000, room: Int = 100_000, inFlight: Int = 0,
        small: Bool = false, outstanding: Bool = false, paced: Int = .max
    ) -> SendDecision.Situation {
        SendDecision.Situation(
            unsent: unsent, usableWindow: window, maximumWindow: maximum, congestionRoom: room, inFlight: inFlight,
            segmentSize: 1000, batchLimit: 64_000, pacedAllowance: paced, sendsSmallSegments: small,
            smallSegmentOutstanding: outstanding)
    }

    static let cases: [Case] = [
        Case(description: "nothing queued", situation: situation(unsent: 0), decision: .hold(.nothingToSend)),
        Case(description: "a closed window", situation: situation(unsent: 5, window: 0), decision: .hold(.window)),
        Case(description: "whole segments only", situation: situation(unsent: 2500), decision: .send(2000)),
        Case(description: "a batch has a limit", situation: situation(unsent: 90_000), decision: .send(64_000)),
        Case(
            description: "congestion window below a segment",
            situation: situation(unsent: 2000, room: 900, inFlight: 10),
            decision: .hold(.congestionWindow)),
        Case(
            description: "an empty network takes one segment", situation: situation(unsent: 2000, room: 10),
            decision: .send(1000)),
        Case(description: "the first small segment goes", situation: situation(unsent: 5), decision: .send(5)),
        Case(
            description: "the second waits (Nagle)", situation: situation(unsent: 5, inFlight: 5, outstanding: true),
            decision: .hold(.nagle)),
        Case(
            description: "unless Nagle's algorithm is off",
            situation: situation(unsent: 5, inFlight: 5, small: true, outstanding: true), decision: .send(5)),
        Case(
            description: "a window below a segment is silly", situation: situation(unsent: 5000, window: 400),
            decision: .hold(.sillyWindow)),
        Case(
            description: "half of the largest window is not",
            situation: situation(unsent: 5000, window: 400, maximum: 800),
            decision: .send(400)),
    ]

    @Test("new data leaves when windows, Nagle and silly-window avoidance allow", arguments: cases)
    func decide(_ c: Case) { #expect(SendDecision.decide(c.situation) == c.decision) }
}
