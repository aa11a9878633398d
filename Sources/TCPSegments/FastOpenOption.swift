// The TCP Fast Open option (RFC 7413 4.1.1), and the experimental one that came before it (RFC 6994). Both travel among the
// options that the codec only carries along.

/// A Fast Open cookie: an even number of bytes, 4 to 16, or none, which asks for one.
public struct FastOpenCookie: Hashable, Sendable {
    /// How many bytes there are: 0, or an even number from 4 to 16.
    public let count: Int
    /// The bytes in network order; those beyond `count` are 0.
    private let first: UInt64, second: UInt64

    /// No bytes: a request for a cookie.
    public static var request: FastOpenCookie { FastOpenCookie(count: 0, first: 0, second: 0) }

    private init(count: Int, first: UInt64, second: UInt64) {
        self.count = count
        self.first = first
        self.second = second
    }

    /// A cookie of these bytes; nil if their number is none that RFC 7413 allows.
    public init?(_ bytes: some Collection<UInt8>) {
        let count = bytes.count
        guard count == 0 || ((4...16).contains(count) && count % 2 == 0) else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        for (place, byte) in bytes.enumerated() {
            let shifted = UInt64(byte) << UInt64(56 - place % 8 * 8)
            if place < 8 { words.0 |= shifted } else { words.1 |= shifted }
        }
        self.init(count: count, first: words.0, second: words.1)
    }

    /// A cookie of the eight bytes of `word` in little-endian order, as Linux writes the hash that its cookies are.
    public init(littleEndian word: UInt64) { self.init(count: 8, first: word.byteSwapped, second: 0) }

    /// True for a request.
    public var isEmpty: Bool { count == 0 }

    /// The bytes in the order of the wire.
    public var bytes: [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 < 8 ? first : second) >> UInt64(56 - $0 % 8 * 8)) }
    }
}

/// What a SYN or SYN-ACK says about Fast Open.
public struct FastOpenOption: Hashable, Sendable {
    /// The cookie, or a request for one.
    public var cookie: FastOpenCookie
    /// True for kind 254 with the identifier 0xF989, false for kind 34.
    public var isExperimental: Bool

    /// One with these values.
    public init(_ cookie: FastOpenCookie, isExperimental: Bool = false) {
        self.cookie = cookie
        self.isExperimental = isExperimental
    }

    private static var kind: UInt8 { 34 }
    private static var experimentalKind: UInt8 { 254 }
    private static var identifier: [UInt8] { [0xF9, 0x89] }

    /// Reads one whole option; nil if it is another one, or has a length that RFC 7413 does not allow: that counts as none.
    init?(option bytes: UnsafeRawBufferPointer) {
        let isExperimental: Bool
        let begin: Int
        switch bytes.first {
        case Self.kind:
            isExperimental = false
            begin = 2
        case Self.experimentalKind where bytes.count >= 4 && bytes[2...3].elementsEqual(Self.identifier):
            isExperimental = true
            begin = 4
        default: return nil
        }
        guard bytes.count >= begin, let cookie = FastOpenCookie(bytes[begin...]) else { return nil }
        self.init(cookie, isExperimental: isExperimental)
    }

    /// The option, and behind it as many No-Operation options as a whole number of words takes.
    var encoded: [UInt8] {
        let body = (isExperimental ? Self.identifier : []) + cookie.bytes
        let option = [isExperimental ? Self.experimentalKind : Self.kind, UInt8(2 + body.count)] + body
        return option + [UInt8](repeating: 1, count: (4 - option.count % 4) % 4)
    }
}

extension TCPOptions {
    /// The Fast Open option, if there is a well-formed one.
    public var fastOpen: FastOpenOption? { unknown.first(of: [34, 254]) { FastOpenOption(option: $0) } }

    /// Adds the option behind the others.
    public mutating func append(_ option: FastOpenOption) { unknown.append(option.encoded) }
}

extension UnknownOptions {
    /// What `read` makes of the first option of one of these kinds that it makes something of.
    func first<Option>(of kinds: [UInt8], _ read: (UnsafeRawBufferPointer) -> Option?) -> Option? {
        guard count > 0 else { return nil }
        return withBytes { bytes in
            var place = 0
            // Bounds: only whole options are kept, and padding, which is single bytes.
            while place < bytes.count {
                guard bytes[place] > 1, place + 1 < bytes.count else {
                    place += 1
                    continue
                }
                let end = min(place + max(2, Int(bytes[place + 1])), bytes.count)
                if kinds.contains(bytes[place]),
                    let option = read(UnsafeRawBufferPointer(rebasing: bytes[place..<end]))
                {
                    return option
                }
                place = end
            }
            return nil
        }
    }

    /// Adds whole options.
    mutating func append(_ options: [UInt8]) { options.withUnsafeBytes { append($0) } }
}
