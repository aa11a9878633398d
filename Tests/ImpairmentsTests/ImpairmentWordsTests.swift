// The words of an impairment: read, written, and refused with a sentence.
import Impairments
import TCPSegments
import Testing

@Suite("The words of an impairment")
struct ImpairmentWordsTests {
    @Test(
        "what is read is written again in the same words",
        arguments: [
            "loss=1%", "loss=0.01% delay=20ms", "burst=0.5%/4 delay=1.5ms jitter=300us", "reorder=1%",
            "reorder=1%/7ms duplicate=0.1% corrupt=0.0001%", "rate=10mbit queue=100kB", "rate=1.5gbit queue=64KiB",
            "rate=9.6kbit queue=1500 mark=500", "loss=100%", "delay=90s", "largest=1400",
            "loss=1% largest=1280",
        ])
    func roundTrip(words: String) throws {
        let configuration = try ImpairmentConfiguration(parsing: words)
        #expect("\(configuration)" == words)
        #expect(
            try ImpairmentConfiguration(parsing: words.split(separator: " ").joined(separator: ",")) == configuration)
        #expect(configuration.isWithinBounds)
    }

    @Test("values as they are meant")
    func values() throws {
        let c = try ImpairmentConfiguration(
            parsing:
                "loss=0.02,burst=1%/4,delay=20ms,jitter=5ms,reorder=3%/1ms,duplicate=4%,corrupt=5%,rate=2Mbit,queue=3kB"
        )
        #expect(c.loss == 20_000 && c.burstBegin == 10_000 && c.burstEnd == 250_000)
        #expect(c.delay == .milliseconds(20) && c.jitter == .milliseconds(5))
        #expect(c.reorder == 30_000 && c.reorderDelay == .milliseconds(1))
        #expect(c.duplicate == 40_000 && c.corrupt == 50_000 && c.rate == 2_000_000 && c.queueLimit == 3000)
    }

    @Test(
        "a mistake is named",
        arguments: [
            ("loss", "loss: a word and its value"), ("loss=", "loss="), ("loss=lots", "loss=lots"),
            ("loss=101%", "loss=101%"), ("loss=1%,loss=2%", "loss: said twice"), ("delay=20", "delay=20"),
            ("delay=2h", "delay=2h"), ("delay=3601s", "at most 3600s"), ("burst=1%", "burst=1%"),
            ("burst=1%/0", "burst=1%/0"), ("burst=1%/x", "burst=1%/x"), ("reorder=1%/x", "reorder=1%/x"),
            ("rate=10", "rate=10"), ("rate=1bit", "from 1kbit"), ("rate=9999gbit", "1000gbit"),
            ("queue=1kB", "go with a rate"), ("largest=67", "largest=67"), ("largest=65536", "from 68"),
            ("rate=1mbit queue=2GiB", "at most 1GiB"), ("speed=1", "speed"),
            ("loss=1", "like 1% or 0.01"), ("loss=1.0", "like 1%"), ("corrupt=2", "corrupt=2"),
            ("to=10.0.0.1 from=10.0.0.2 direction=out loss=1%", "leave out one of the three"),
            ("=1", "=1"), ("direction=up", "direction=up"), ("to=nobody", "to=nobody"),
            ("from=0.0.0.0", "from=0.0.0.0"),
            ("seed=-1", "seed=-1"), ("mark=1kB", "go with a rate"),
        ])
    func mistakes(words: String, sentence: String) {
        #expect {
            _ = try ImpairmentRule.parse(words)
        } throws: { error in
            "\(error)".contains(sentence)
        }
    }

    @Test(
        "to, from and direction choose the packets",
        arguments: [
            ("loss=1%", ["out - 1"]), ("loss=1% direction=in", ["in - 2"]),
            ("loss=1% direction=both seed=7", ["out - 7", "in - 8"]), ("to=10.0.0.1 loss=1%", ["out 10.0.0.1 1"]),
            ("from=10.0.0.1 loss=1%", ["in 10.0.0.1 2"]),
            ("to=10.0.0.1 direction=both loss=1%", ["out 10.0.0.1 1", "in 10.0.0.1 2"]),
            ("from=::1 direction=both loss=1%", ["out ::1 1", "in ::1 2"]),
            ("to=10.0.0.1 from=10.0.0.2 loss=1%", ["out 10.0.0.1 1", "in 10.0.0.2 2"]),
        ])
    func directions(words: String, rules: [String]) throws {
        let found = try ImpairmentRule.parse(words)
        #expect(found.map { "\($0.direction) \($0.peer.map { "\($0)" } ?? "-") \($0.seed)" } == rules)
        #expect(found.allSatisfy { $0.configuration.loss == 10_000 })
    }

    @Test("a packet's fate says why it does not arrive")
    func fates() throws {
        var lossy = Impairment(try ImpairmentConfiguration(parsing: "loss=100%"), seed: 1)
        #expect(lossy.fate(size: 100, at: .origin) == .dropped(.lost))
        var slow = Impairment(try ImpairmentConfiguration(parsing: "rate=8kbit,queue=1500,mark=500"), seed: 1)
        // A thousand bytes take a second.
        let second = TimeInterval.seconds(1)
        #expect(slow.fate(size: 1000, at: .origin) == .delivered([Delivery(at: .origin + second)]))
        #expect(
            slow.fate(size: 500, at: .origin)
                == .delivered([Delivery(at: .origin + .milliseconds(1500), isMarked: true)]))
        #expect(slow.fate(size: 100, at: .origin) == .dropped(.queueFull))
        #expect(slow.counters.queueDropped == 1 && slow.counters.marked == 1 && slow.counters.delayed == 2)
        #expect(
            slow.fate(size: 100, at: .origin + .milliseconds(1500))
                == .delivered([Delivery(at: .origin + .milliseconds(1600))]))
    }
}
