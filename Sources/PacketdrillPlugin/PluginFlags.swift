// --so_flags: what packetdrill does not tell by itself.
import TCPEngine
import TCPSegments

/// The TCP whose ways the plugin takes on.
enum Personality: String, CaseIterable {
    /// This project's defaults.
    case chitcp
    /// What scripts for Linux take for granted.
    case linux
    /// What scripts for FreeBSD take for granted.
    case freebsd
}

/// `key=value` pairs with commas between.
struct PluginFlags {
    var personality = Personality.chitcp
    /// The MTU of both families; nil: one that makes the MSS 1460.
    var mtu: Int?
    /// Where to write what happens; nil: nowhere.
    var logPath: String?

    /// The flags of no text.
    init() {}

    /// Reads the text; what it cannot mean is told in a sentence.
    init(_ text: String) throws(FlagError) {
        for part in text.split(whereSeparator: { $0 == "," || $0 == " " }) {
            let pair = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard pair.count == 2 else { throw FlagError("\(part): key=value is expected") }
            switch pair[0] {
            case "personality":
                guard let known = Personality(rawValue: pair[1]) else {
                    let names = Personality.allCases.map(\.rawValue).joined(separator: ", ")
                    throw FlagError("personality=\(pair[1]): one of \(names) is expected")
                }
                personality = known
            case "mtu":
                guard let value = Int(pair[1]), (68...65_535).contains(value) else {
                    throw FlagError("mtu=\(pair[1]): a number from 68 to 65535 is expected")
                }
                mtu = value
            case "log": logPath = pair[1]
            default: throw FlagError("\(pair[0]) is not known; there are personality, mtu and log")
            }
        }
    }

    /// How the host begins; the settings file changes it.
    var hostConfiguration: HostConfiguration {
        var host = HostConfiguration()
        personality.configure(&host)
        return host
    }

    /// The MSS to announce over IPv4 or IPv6.
    func maximumSegmentSize(isIPv4: Bool) -> Int {
        guard let mtu else { return 1460 }
        return max(1, mtu - (isIPv4 ? 40 : 60))
    }
}

/// A flag that makes no sense.
struct FlagError: Error {
    let sentence: String
    init(_ sentence: String) { self.sentence = sentence }
}
