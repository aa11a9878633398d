// The two logs of a demo become one diagram.
import Testing

@testable import ChitcpCommand

@Suite("sequence diagram") struct SequenceDiagramTests {
    let client = """
        10.000000000 [S0] CLOSED -> SYN_SENT
        10.000001000 [S0] SENT 127.0.0.2.49152 > 127.0.0.1.7 [S] seq=4294967295 ack=0 win=65535 len=0
        10.000005000 [S0] RCVD 127.0.0.1.7 > 127.0.0.2.49152 [S.] seq=900 ack=0 win=65535 len=0
        10.000006000 [S0] SYN_SENT -> ESTABLISHED
        10.000007000 [S0] SENT 127.0.0.2.49152 > 127.0.0.1.7 [.] seq=0 ack=901 win=65535 len=0
        10.000008000 [S0] SENT 127.0.0.2.49152 > 127.0.0.1.7 [P.] seq=0 ack=901 win=65535 len=100
        10.000009000 [S0] SENT 127.0.0.2.49152 > 127.0.0.1.7 [P.] seq=100 ack=901 win=65535 len=100
        10.300000000 [S0] SENT 127.0.0.2.49152 > 127.0.0.1.7 [P.] seq=0 ack=901 win=65535 len=100
        10.400000000 [S0] ESTABLISHED -> FIN_WAIT_1
        10.400001000 [S0] SENT 127.0.0.2.49152 > 127.0.0.1.7 [F.] seq=200 ack=901 win=65535 len=0
        """
    let server = """
        9.000000000 [S0] CLOSED -> LISTEN
        not a line of the log
        10.000004000 [S1] SENT 127.0.0.1.7 > 127.0.0.2.49152 [S.] seq=900 ack=0 win=65535 len=0
        10.000008500 [S1] DROP_SENT 127.0.0.1.7 > 127.0.0.2.49152 [.] seq=901 ack=100 win=65000 len=0
        """

    @Test("logs are merged by time and other lines are skipped") func merging() {
        let events = mergeLogs(client: client, server: server)
        #expect(events.count == 13)
        #expect(events.map(\.line.time) == events.map(\.line.time).sorted())
        #expect(events.first?.side == .server)
    }

    @Test("a segment whose numbers were sent before counts as a retransmission, also where numbers wrap")
    func counting() {
        let counts = count(mergeLogs(client: client, server: server))
        #expect(counts == LogCounts(segments: 8, retransmissions: 1, dropped: 1))
    }

    @Test("handshake, data and close are drawn with numbers, states and windows") func drawing() {
        let lines = SequenceDiagram.render(
            mergeLogs(client: client, server: server), clientName: "client", serverName: "server")
        let picture = lines.joined(separator: "\n")
        for expected in ["SYN_SENT", "LISTEN", "[S] 4294967295 win 65535", "◄─", "[S.] 900 ack 0", "LOST", "[F.] 200"] {
            #expect(picture.contains(expected), "\(expected) is missing in\n\(picture)")
        }
    }

    @Test("segments between the first data and the close are counted, not drawn") func eliding() {
        let many = (0..<50).map {
            "10.1000000\($0 < 10 ? "0" : "")\($0) [S0] SENT 127.0.0.2.49152 > 127.0.0.1.7 [.] seq=\(200 + $0) ack=901 win=1 len=1"
        }
        let events = mergeLogs(client: (client + "\n" + many.joined(separator: "\n")), server: "")
        let sorted = events.sorted { $0.line.time < $1.line.time }
        let lines = SequenceDiagram.render(sorted, clientName: "client", serverName: "server")
        #expect(lines.contains { $0.contains("segments …") })
        #expect(lines.count < 25)
    }

    @Test("empty logs give a sentence, not a crash") func empty() {
        let lines = SequenceDiagram.render([], clientName: "a", serverName: "b")
        #expect(lines.last == "(the logs hold no segment)")
    }
}

@Suite("numbers as text") struct NumberTextTests {
    @Test(
        "numbers are rounded and grouped",
        arguments: [
            (0.0, 1, "0.0"), (1234.567, 2, "1,234.57"), (-0.04, 1, "0.0"), (999.96, 1, "1,000.0"), (5.0, 0, "5"),
        ])
    func text(value: Double, digits: Int, expected: String) {
        #expect(fixed(value, digits) == expected)
    }
}
