// The one-line-per-segment log of level MINIMAL: written by the daemon, read by the demo.
import TCPSegments

/// A line of the MINIMAL log: a segment, or a change of state.
public struct MinimalLine: Equatable, Sendable {
    /// A segment as the line shows it.
    public struct Segment: Equatable, Sendable {
        /// SENT, RCVD, DROP_SENT or DROP_RCVD.
        public var event: String
        /// Where it comes from, as address.port.
        public var source: String
        /// Where it goes, as address.port.
        public var destination: String
        /// Flags as tcpdump writes them: `S.`, `P.`, …
        public var flags: String
        /// SEG.SEQ.
        public var seq: UInt32
        /// SEG.ACK; 0 without ACK.
        public var ack: UInt32
        /// The window field, unscaled.
        public var win: UInt32
        /// Bytes of payload.
        public var len: Int
    }

    /// What the line is about.
    public enum Kind: Equatable, Sendable {
        case segment(Segment)
        case transition(from: String, to: String)
    }

    /// Nanoseconds since 1970.
    public var time: Int64
    /// The daemon's socket number, if the connection belongs to a socket.
    public var socket: Int?
    /// What the line is about.
    public var kind: Kind

    /// One with these values.
    public init(time: Int64, socket: Int?, kind: Kind) {
        self.time = time
        self.socket = socket
        self.kind = kind
    }

    /// The line for a segment with `count` bytes of payload on its way from `source` to `destination`.
    public init(
        time: Int64, socket: Int?, event: SegmentEvent, header: SegmentHeader, count: Int, source: IPAddress,
        destination: IPAddress
    ) {
        let bits = header.controlBits
        let segment = Segment(
            event: event.rawValue, source: "\(source).\(header.sourcePort)",
            destination: "\(destination).\(header.destinationPort)", flags: header.flagLetters,
            seq: header.sequenceNumber.value, ack: bits.contains(.ack) ? header.acknowledgmentNumber.value : 0,
            win: UInt32(header.window.value), len: count)
        self.init(time: time, socket: socket, kind: .segment(segment))
    }
}

extension MinimalLine: CustomStringConvertible {
    /// The text for people.
    public var description: String {
        let stamp = "\(Instant(nanoseconds: time)) [S\(socket.map(String.init) ?? "-")] "
        switch kind {
        case .segment(let s):
            return stamp + "\(s.event) \(s.source) > \(s.destination) [\(s.flags)] seq=\(s.seq) ack=\(s.ack)"
                + " win=\(s.win) len=\(s.len)"
        case .transition(let from, let to):
            return stamp + "\(from) -> \(to)"
        }
    }

    /// Reads back what `description` writes; nil for any other line.
    public init?(parsing line: some StringProtocol) {
        let words = line.split(separator: " ")
        guard words.count >= 5, words[1].hasPrefix("[S"), words[1].hasSuffix("]") else { return nil }
        let stamp = words[0].split(separator: ".")
        guard stamp.count == 2, stamp[1].count == 9, let seconds = Int64(stamp[0]), let fraction = Int64(stamp[1]),
            seconds < 1 << 33
        else { return nil }
        time = seconds * 1_000_000_000 + fraction
        socket = Int(words[1].dropFirst(2).dropLast())
        if words.count == 5, words[3] == "->" {
            kind = .transition(from: String(words[2]), to: String(words[4]))
            return
        }
        func number(_ word: Substring, _ name: String) -> UInt32? {
            word.hasPrefix(name) ? UInt32(word.dropFirst(name.count)) : nil
        }
        let w = words.map { Substring($0) }
        guard w.count == 11, w[4] == ">", let seq = number(w[7], "seq="), let ack = number(w[8], "ack="),
            let win = number(w[9], "win="), let len = number(w[10], "len=")
        else { return nil }
        kind = .segment(
            Segment(
                event: String(w[2]), source: String(w[3]), destination: String(w[5]),
                flags: String(w[6].dropFirst().dropLast()), seq: seq, ack: ack, win: win, len: Int(len)))
    }
}
