import TCPDrill
// Every script in Scripts/, a folder per topic, and what the language says to mistakes.
import Testing

private let scripts = try? DrillFiles.scripts(at: #filePath.dropLast("ScriptTests.swift".count) + "Scripts")

@Suite("Drills") struct ScriptTests {
    @Test("the TCP does what the script says", arguments: scripts ?? [])
    func plays(_ path: String) throws {
        try DrillRunner.run(DrillScript(try DrillFiles.text(of: path), name: path))
    }

    @Test("there are scripts") func there() { #expect((scripts?.count ?? 0) > 0) }

    @Test(
        "mistakes in a script are named with their line",
        arguments: [
            ("", "no steps"), ("set mss 70000\nlisten", "mss"), ("set speed 1", "nothing called"),
            ("lissen", "nothing that a script can do"), ("listen\nset mss 5", "come before"),
            ("< Q 0", "letters of"), ("< S 5:2", "no range"), ("< S 0 sack", "one to four"), ("+5 listen", "unit"),
            ("check speed = 1", "no value"), ("check cwnd < 1", "compares nothing"), ("state OPEN", "no state"),
            ("accept = maybe", "no error"), ("listen 5 6", "too much"), ("+1ms", "a time without"),
            ("< S 0 no luck", "options are"), ("send", "is missing"), ("send -1", "from 0 to"),
            ("read 9000000000", "from 0 to"), ("sendto -5", "from 0 to"),
            ("nodelay maybe", "neither on nor off"),
        ])
    func mistakes(_ text: String, _ part: String) {
        #expect {
            try DrillScript(text, name: "script")
        } throws: { error in "\(error)".contains(part) && "\(error)".hasPrefix("script:") }
    }

    @Test(
        "what departs from the script is told expected against actual",
        arguments: [
            ("listen\n< S 0\n> S. 0 ack 2", "ack: 1 instead of 2"),
            ("listen\n< S 0\n> S. 0 ack 1 mss 9", "mss: 1460 instead of 9"),
            ("listen\n< S 0", "nobody expected"),
            ("listen\n< S 0\n+5ms > S. 0 ack 1", "it left at 0ns instead of 5.0ms"),
            ("listen\n+1s > S. 0", "nothing has left"),
            ("listen\nstate ESTABLISHED", "the state is LISTEN"),
            ("listen\naccept", "the call failed"),
            ("listen\nevent readable", "of nothing"),
            ("connect\n> S 0\ncheck cwnd = 1", "cwnd is"),
        ])
    func departures(_ text: String, _ part: String) {
        #expect {
            try DrillRunner.run(DrillScript(text, name: "script"))
        } throws: { error in "\(error)".contains(part) }
    }
}
