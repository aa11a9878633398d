// Paces that are slow beside the segments.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct PaceTests {
    @Test(
        "a window of less than a hundred bytes has a pace of its own, not one byte a second", arguments: [50, 87, 99])
    func smallWindow(size: UInt16) throws {
        let one = OneHost {
            $0.connection.pacing = true
            $0.connection.timestamps = false
        }
        try one.listen()
        one.inject(.syn, seq: 0) { $0.maximumSegmentSize = size }
        one.now = one.now + .milliseconds(100)
        one.inject(.ack, seq: 1, ack: 1)
        let connection = try #require(one.connection)
        // A timeout leaves a window of one segment.
        try one.send(10 * Int(size))
        _ = one.sent()
        _ = one.wait(.seconds(2))
        #expect(connection.congestion.window <= 2 * Int(size))
        // A window in 100 ms, and a fifth more.
        #expect(connection.paceRate >= 10 * Int(size), "\(connection.paceRate)")
    }

    @Test("an empty network takes a segment, whatever the pace")
    func largeSegment() {
        var situation = SendDecisionTests.situation(unsent: 5000, paced: -100_000)
        #expect(SendDecision.decide(situation) == .send(1000))
        situation.inFlight = 1
        #expect(SendDecision.decide(situation) == .hold(.pacing))
    }
}
