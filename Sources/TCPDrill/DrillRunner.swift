// Plays a script against the engine and compares what leaves with what is expected.
import TCPEngine
import TCPSegments

/// Runs scripts in virtual time: the same script gives the same run on every machine.
public struct DrillRunner {
    private let script: DrillScript
    private let host: DrillHost

    /// Plays the whole script; the failure says where the host departed from it.
    public static func run(_ script: DrillScript) throws(DrillFailure) {
        let runner = DrillRunner(script: script, host: DrillHost(script.settings))
        for step in script.steps { try runner.play(step) }
        if let last = script.steps.last { try runner.expectQuiet(last) }
    }

    private func failure(_ step: DrillStep, _ sentence: String) -> DrillFailure {
        DrillFailure(
            script: script.name, line: step.line, sentence: "\(step.text)\n    \(sentence)\n    what happened before:",
            trace: host.recent)
    }

    private func play(_ step: DrillStep) throws(DrillFailure) {
        if case .expect(let expected) = step.action {
            try expect(expected, step)
            return
        }
        host.advance(to: step.time)
        switch step.action {
        case .expect: break
        case .inject(let segment): host.inject(segment, written: step.text)
        case .pathError(let error, let position): host.report(error, about: position, written: step.text)
        case .call(let call, let expected): try play(call, expected, step)
        case .state(let state):
            let actual = host.connection?.state ?? (host.listener == nil ? .closed : .listen)
            guard actual == state else { throw failure(step, "the state is \(actual)") }
        case .check(let value, let comparison, let number):
            guard let actual = host.value(value) else { throw failure(step, "there is no \(value.rawValue) now") }
            let holds =
                switch comparison {
                case .equal: actual == number
                case .atLeast: actual >= number
                case .atMost: actual <= number
                }
            guard holds else { throw failure(step, "\(value.rawValue) is \(actual)") }
        case .event(let event):
            guard host.takeEvent(event) else {
                let events = host.unaskedEvents.map { "\($0)" }.joined(separator: ", ")
                throw failure(step, "the user has not heard of that, but of \(events.isEmpty ? "nothing" : events)")
            }
        case .quiet: try expectQuiet(step)
        }
    }

    private func expectQuiet(_ step: DrillStep) throws(DrillFailure) {
        guard let first = host.sent.first else { return }
        throw failure(step, "nobody expected  > \(host.describe(first))")
    }

    private func play(_ call: DrillCall, _ expected: DrillResult?, _ step: DrillStep) throws(DrillFailure) {
        let result: DrillResult
        do throws(ConnectionError) { result = .count(try host.call(call, written: step.text)) } catch {
            result = .failure(error)
        }
        if case .failure(let error) = result, expected == nil { throw failure(step, "the call failed: \(error)") }
        if case .receive = call, result == .count(-1) {
            throw failure(step, "the bytes are not those that the peer has sent")
        }
        guard let expected, expected != result else { return }
        throw failure(step, "the result is \(result)")
    }

    // MARK: Expected segments

    private func expect(_ expected: DrillSegment, _ step: DrillStep) throws(DrillFailure) {
        let tolerance = script.settings.tolerance
        guard let actual = next(expected, until: step.time + tolerance) else {
            throw failure(step, "nothing has left by \(step.time + tolerance)")
        }
        let left = actual.at - (Instant.origin + .seconds(1))
        guard max(left - step.time, step.time - left) <= tolerance else {
            throw failure(step, "it left at \(left) instead of \(step.time)")
        }
        let differences = Self.differences(expected, actual, host)
        guard differences.isEmpty else {
            throw failure(
                step, "what left:  > \(host.describe(actual))\n    " + differences.joined(separator: "\n    "))
        }
    }

    /// The next segment that left. A script may write a run of segments as one: they are joined up to its length.
    private func next(_ expected: DrillSegment, until limit: TimeInterval) -> SentSegment? {
        if host.sent.isEmpty { host.advance(to: limit, untilSent: true) }
        guard !host.sent.isEmpty else { return nil }
        var whole = host.sent.removeFirst()
        while whole.count > 0, whole.count < expected.count, let more = host.sent.first,
            more.start == whole.start + whole.count, more.count > 0, more.at == whole.at,
            more.count + whole.count <= expected.count
        {
            host.sent.removeFirst()
            whole.count += more.count
            whole.bits = whole.bits.union(more.bits)
            whole.wrongBytes += more.wrongBytes
        }
        return whole
    }

    /// Sentences about what differs.
    private static func differences(
        _ expected: DrillSegment, _ actual: SentSegment, _ host: DrillHost
    ) -> [String] {
        let settings = host.settings
        var found: [String] = []
        func compare<T: Equatable>(_ what: String, _ wanted: T?, _ got: T?) {
            guard let wanted, got != wanted else { return }
            found.append("\(what): \(got.map { "\($0)" } ?? "none") instead of \(wanted)")
        }
        let options = actual.header.options
        compare("control bits", expected.bits.letters, actual.bits.letters)
        compare("sequence number", expected.start, actual.start)
        compare("bytes", expected.count, actual.count)
        if actual.wrongBytes > 0 { found.append("\(actual.wrongBytes) bytes are not those that the user has sent") }
        compare("ack", expected.ack, Int(settings.irs.distance(to: actual.header.acknowledgmentNumber)))
        compare("win", expected.window, actual.header.window.value)

        compare("ecn", expected.ecn?.word, actual.ecn.word)
        compare("urg", expected.urgent, actual.header.urgentPointer)
        compare("mss", expected.mss, options.maximumSegmentSize)
        compare("wscale", expected.windowScale, options.windowScale)
        if expected.sackPermitted { compare("sackok", true, options.sackPermitted) }
        if let t = expected.timestamps {
            compare("TSval", t.value, options.timestamps.map { Int($0.value &- (host.firstTimestamp ?? 0)) })
            compare("TSecr", t.echo, options.timestamps.map { Int($0.echoReply) })
        }
        compare("uto", expected.userTimeout, options.userTimeout?.time)
        compare("fo", expected.fastOpen.map(DrillHost.describe), options.fastOpen.map(DrillHost.describe))
        if !expected.blocks.isEmpty { compare("sack", expected.blocks, host.blocks(of: actual.header)) }
        let present: [(String, Bool)] = [
            ("mss", options.maximumSegmentSize != nil), ("wscale", options.windowScale != nil),
            ("sackok", options.sackPermitted), ("ts", options.timestamps != nil),
            ("sack", options.sackBlocks.count > 0), ("fo", options.fastOpen != nil),
            ("uto", options.userTimeout != nil),
        ]
        for (name, isThere) in present where isThere && expected.absent.contains(name) {
            found.append("\(name) is there")
        }
        return found
    }
}
