// The command `chitcp` and its subcommands.
import ArgumentParser
import Daemon

/// `chitcp`: what a person types.
public struct ChitcpCommand: ParsableCommand {
    /// Name, abstract and subcommands.
    public static let configuration = CommandConfiguration(
        commandName: "chitcp", abstract: "A TCP you can read, run and take apart.",
        subcommands: [
            DaemonSubcommand.self, DemoCommand.self, EchoCommand.self, CatCommand.self, PerfCommand.self,
            SocketsCommand.self, CaptureCommand.self, ImpairCommand.self, RelayCommand.self, LabCommand.self,
            RunCommand.self, DrillCommand.self, SimulateCommand.self,
        ])

    /// The command without arguments, as the parser wants it.
    public init() {}
}

/// `chitcp daemon`: chitcpd under another name, so that the demo can start daemons by executing itself.
struct DaemonSubcommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "daemon", abstract: "The daemon: the same as chitcpd.")

    @OptionGroup var daemon: DaemonCommand

    func run() throws { try daemon.run() }
}
