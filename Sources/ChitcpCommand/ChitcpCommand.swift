// The command `chitcp` and its subcommands.
import ArgumentParser

/// `chitcp`: what a person types.
public struct ChitcpCommand: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "chitcp", abstract: "A TCP you can read, run and take apart.",
        subcommands: [DemoCommand.self, EchoCommand.self, CatCommand.self, SocketsCommand.self])

    /// The command without arguments, as the parser wants it.
    public init() {}
}
