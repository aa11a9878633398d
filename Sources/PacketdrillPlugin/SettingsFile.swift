// $PD_SYSCTL_FILE: the sysctls of a script as `key=value` lines. It may appear and change at any time.
import Glibc
import TCPEngine

/// Reads the file again whenever it may have changed.
final class SettingsFile {
    private let path: String?
    /// What it said when last read.
    private var text: [UInt8] = []

    init(path: String?) { self.path = path }

    static var pathFromEnvironment: String? { getenv("PD_SYSCTL_FILE").map { String(cString: $0) } }

    /// Lets new settings take effect.
    func refresh(into plugin: Plugin) {
        guard let path, let current = Self.read(path), current != text else { return }
        text = current
        var host = plugin.flags.hostConfiguration
        for (key, value) in Self.pairs(current) {
            Sysctl.apply(key, value, to: &host.connection)
            Sysctl.apply(key, value, to: &host.fastOpen)
        }
        plugin.log.note("the settings have changed", at: plugin.now)
        plugin.layer.setDefaults(host.connection, at: plugin.now)
        plugin.layer.host.fastOpen = host.fastOpen
    }

    /// At most 1 MiB; nil: there is no such file.
    private static func read(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        var all: [UInt8] = []
        while all.count < 1 << 20 {
            let count = fread(&bytes, 1, bytes.count, file)
            if count == 0 { break }
            all += bytes[..<count]
        }
        return all
    }

    /// Later lines count more. Spaces around, and quotes around values, do not matter.
    static func pairs(_ text: [UInt8]) -> [(key: String, value: String)] {
        String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline).compactMap { line in
            let pair = line.split(separator: "=", maxSplits: 1)
            guard pair.count == 2, !line.hasPrefix("#") else { return nil }
            func trimmed(_ part: Substring) -> String {
                var part = part
                while let first = part.first, " \t\"'".contains(first) { part.removeFirst() }
                while let last = part.last, " \t\"'".contains(last) { part.removeLast() }
                return String(part)
            }
            return (trimmed(pair[0]), trimmed(pair[1]))
        }
    }
}
