// Congestion marks: what SYNs agree on, counters that go round, and the AccECN option.
import TCPSegments
import Testing

@testable import TCPEngine

@Suite struct ECNTests {
    struct Request: Sendable, CustomStringConvertible {
        let use: ECNUse
        /// By AE, CWR, ECE from 000 to 111.
        let answers: [ECNFeedback]
        var description: String { use.rawValue }
    }

    static let requests: [Request] = [
        Request(use: .off, answers: Array(repeating: .none, count: 8)),
        Request(
            use: .accept,
            answers: [.none, .accurate, .accurate, .classic, .accurate, .accurate, .accurate, .accurate]),
        Request(use: .classic, answers: [.none, .none, .none, .classic, .none, .none, .none, .classic]),
        Request(
            use: .accurate,
            answers: [.none, .accurate, .accurate, .classic, .accurate, .accurate, .accurate, .accurate]),
    ]

    @Test("a SYN gets the feedback it asks for (RFC 3168 6.1.1, RFC 9768 3.1.2)", arguments: requests)
    func asked(request: Request) {
        for (ace, answer) in request.answers.enumerated() {
            let bits = ControlBits(ace: ace).union(.syn)
            #expect(ECNNegotiation.answer(to: bits, request.use) == answer, "\(ace)")
        }
    }

    static let agreements: [Request] = [
        Request(use: .off, answers: Array(repeating: .none, count: 8)),
        Request(use: .accept, answers: Array(repeating: .none, count: 8)),
        Request(use: .classic, answers: [.none, .classic, .none, .none, .none, .classic, .none, .none]),
        Request(
            use: .accurate,
            answers: [.none, .classic, .accurate, .accurate, .accurate, .accurate, .accurate, .none]),
    ]

    @Test("a SYN-ACK agrees as RFC 3168 6.1.1 and RFC 9768 table 2 say", arguments: agreements)
    func agreed(request: Request) {
        for (ace, answer) in request.answers.enumerated() {
            let bits = ControlBits(ace: ace).union([.syn, .ack])
            #expect(ECNNegotiation.agreed(by: bits, request.use) == answer, "\(ace)")
        }
    }

    @Test(
        "each codepoint of a SYN comes back as the bits that mean it",
        arguments: [ECNField.notCapable, .capable0, .capable1, .congestionExperienced])
    func handshake(codepoint: ECNField) {
        let bits = ECNNegotiation.agreement(.accurate, synCameWith: codepoint)
        #expect(ECNNegotiation.codepoint(from: bits) == codepoint)
        #expect(ECNNegotiation.agreed(by: bits, .accurate) == .accurate)
    }

    /// What one ACK tells: marks before it, marks since, and how many segments and bytes it covers.
    struct Told: Sendable {
        var before = 0
        let marks: Int
        let segments: Int
        var withOption = true
        let counted: Int
    }

    static let told: [Told] = [
        Told(marks: 0, segments: 2, counted: 0), Told(marks: 1, segments: 2, counted: 1),
        // The three bits go round at 8, from 5 on.
        Told(before: 2, marks: 2, segments: 4, counted: 2), Told(before: 6, marks: 7, segments: 7, counted: 7),
        // Eight marks look like none, and none like eight: the bytes tell.
        Told(marks: 8, segments: 8, counted: 8), Told(marks: 0, segments: 44, counted: 0),
        Told(before: 3, marks: 44, segments: 44, counted: 44), Told(marks: 21, segments: 44, counted: 21),
        Told(marks: 17, segments: 20, counted: 17),
        // Without them the smaller number counts.
        Told(marks: 9, segments: 44, withOption: false, counted: 1),
        Told(marks: 0, segments: 44, withOption: false, counted: 0),
    ]

    @Test("marks are counted right although three bits tell of them (RFC 9768 3.2.2.5)", arguments: told)
    func counted(told: Told) {
        let sender = CongestionMarks(.accurate, synCameWith: .notCapable)
        let receiver = CongestionMarks(.accurate, synCameWith: .notCapable)
        func acknowledge(_ marks: Int, of segments: Int) -> Int {
            for i in 0..<segments {
                _ = receiver.arrived(i < marks ? .congestionExperienced : .capable0, segments: 1, payload: 1448)
            }
            var options = TCPOptions()
            if told.withOption {
                AccurateECNOption.add(
                    capable0: receiver.bytes.capable0, marked: receiver.bytes.marked, to: &options)
            }
            return sender.take(
                ace: receiver.bits(isPureAck: true).ace, option: AccurateECNOption(options.unknown), segments: segments,
                bytes: segments * 1448)
        }
        for _ in 0..<told.before { #expect(acknowledge(1, of: 1) == 1) }
        #expect(acknowledge(told.marks, of: told.segments) == told.counted)
    }

    @Test("a counter of bytes that passes 24 bits goes on (RFC 9768 3.2.1)")
    func largeCounters() {
        let sender = CongestionMarks(.accurate, synCameWith: .notCapable)
        let receiver = CongestionMarks(.accurate, synCameWith: .notCapable)
        for _ in 0..<300 {
            for _ in 0..<44 { _ = receiver.arrived(.congestionExperienced, segments: 1, payload: 1448) }
            var options = TCPOptions()
            AccurateECNOption.add(capable0: receiver.bytes.capable0, marked: receiver.bytes.marked, to: &options)
            let count = sender.take(
                ace: receiver.bits(isPureAck: true).ace, option: AccurateECNOption(options.unknown), segments: 44,
                bytes: 44 * 1448)
            #expect(count == 44)
        }
        #expect(receiver.bytes.marked > 1 << 24)
        #expect(sender.marksReported == 300 * 44)
    }

    @Test("the option is read in both orders and in each of its lengths; others are none (RFC 9768 3.2.3)")
    func option() {
        func read(_ bytes: [UInt8]) -> AccurateECNOption? {
            var unknown = UnknownOptions()
            bytes.withUnsafeBytes { unknown.append($0) }
            return AccurateECNOption(unknown)
        }
        // Another option in front: an experimental one of four bytes.
        let full = read([254, 4, 1, 2, 172, 11, 0, 0, 1, 0, 2, 0, 3, 0, 0])
        #expect(full?.capable0 == 1 && full?.marked == 512 && full?.capable1 == 3 << 16)
        let other = read([174, 11, 0, 0, 1, 0, 2, 0, 3, 0, 0])
        #expect(other?.capable1 == 1 && other?.marked == 512 && other?.capable0 == 3 << 16)
        let short = read([172, 5, 0, 0, 9])
        #expect(short?.capable0 == 9 && short?.marked == nil && short?.capable1 == nil)
        #expect(read([172, 2]).map { $0.capable0 == nil } ?? false)
        #expect(read([172, 4, 0, 0]) == nil)
        #expect(read([254, 4, 1, 2]) == nil)
        #expect(read([]) == nil)
    }

    @Test(
        "each congestion control takes back for a mark what its rule says",
        arguments: CongestionControlAlgorithm.allCases)
    func reaction(algorithm: CongestionControlAlgorithm) {
        var control = CongestionControl(algorithm, segmentSize: 1000, at: .origin)
        control.marked(flight: 10_000, at: .origin + .seconds(1))
        switch algorithm {
        case .reno: #expect(control.window == 8000 && control.slowStartThreshold == 8000)
        case .cubic: #expect(control.window == 8500 && control.slowStartThreshold == 8500)
        // The model's bounds take effect with the next ACK.
        case .bbr: #expect(control.window <= 10_000)
        }
    }
}
