// The daemon's log: swift-log in front, a writer thread behind.
import Glibc
import Logging
import NetworkLayer

/// chiTCP's levels of verbosity, by the number of -v.
public enum Verbosity: Int, Sendable {
    case errors = 0
    case minimal = 1
    case info = 2
    case debug = 3
    case trace = 4

    /// swift-log's level: MINIMAL is its notice.
    var level: Logger.Level {
        switch self {
        case .errors: return .error
        case .minimal: return .notice
        case .info: return .info
        case .debug: return .debug
        case .trace: return .trace
        }
    }
}

/// Writes lines through a background writer. What a stalled terminal or a full disk does not take is dropped and counted.
struct DaemonLogHandler: LogHandler {
    let writer: BackgroundWriter
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        writer.write(Array("chitcpd: \(event.level): \(event.message)\n".utf8))
    }
}
