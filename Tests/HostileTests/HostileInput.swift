// What somebody may do to a daemon: a name, where it is done, and the doing.

/// One hostile input.
struct HostileInput: Sendable, CustomStringConvertible {
    /// Where it meets the daemon.
    enum Surface: String, CaseIterable, Sendable {
        case frames, segments, options, numbers, floods, links, control, messages, clients, signals, files, environment
    }

    let surface: Surface
    /// What is done, as the subject of a sentence: "a frame without a segment".
    let name: String
    /// How the daemon under attack is started.
    var launch = Launch()
    let action: @Sendable (Siege) throws -> Void

    init(
        _ surface: Surface, _ name: String, launch: Launch = Launch(),
        _ action: @escaping @Sendable (Siege) throws -> Void
    ) {
        self.surface = surface
        self.name = name
        self.launch = launch
        self.action = action
    }

    var description: String { name }

    /// All of them. The place in this list decides about the addresses, so that no two share any.
    static let all =
        frames + segments + options + numbers + floods + links + control + messages + clients + signals + files
        + environment

    /// Those of one surface.
    static func of(_ surface: Surface) -> [HostileInput] { all.filter { $0.surface == surface } }
}
