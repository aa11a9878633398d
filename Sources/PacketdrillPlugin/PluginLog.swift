// log=PATH: a line for every call and packet, with its virtual time since the script began.
import Glibc
import TCPSegments

/// Writes lines to a file, or nowhere.
final class PluginLog {
    private let file: UnsafeMutablePointer<FILE>?
    var isOn: Bool { file != nil }

    /// A path that cannot be written to is told once, on standard error.
    init(path: String?) {
        guard let path else {
            file = nil
            return
        }
        file = fopen(path, "ae")
        if file == nil {
            complain("cannot write to \(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit { if let file { fclose(file) } }

    func note(_ sentence: @autoclosure () -> String, at now: Instant) {
        guard let file else { return }
        let microseconds = (now - VirtualClock.begin).nanoseconds / 1000
        let fraction = String(microseconds % 1_000_000 + 1_000_000).dropFirst()
        fputs("\(microseconds / 1_000_000).\(fraction) \(sentence())\n", file)
        fflush(file)
    }

    func call(_ name: @autoclosure () -> String, _ outcome: Outcome, at now: Instant) {
        switch outcome {
        case .value(let value): note("\(name()) = \(value)", at: now)
        case .failure(let error): note("\(name()) = -1, \(String(cString: strerror(error)))", at: now)
        }
    }
}

/// A sentence on standard error.
func complain(_ sentence: String) {
    let line = Array("chitcp-packetdrill: \(sentence)\n".utf8)
    _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
