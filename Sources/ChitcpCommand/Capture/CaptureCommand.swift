// `chitcp capture`: the segments of a running daemon, for people and for Wireshark.
import ArgumentParser
import CLinux
import Chisocket
import Glibc
import Synchronization
import TCPSegments

/// Shows or writes the segments of a daemon until it is interrupted.
struct CaptureCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capture", abstract: "Show the segments of a running daemon, or write them for Wireshark.",
        discussion: """
            Without -w a line is printed for each segment, as tcpdump does. With -w they are written as pcapng: into a file, \
            or live: chitcp capture -w - | wireshark -k -i -. What an impairment does to segments is said with each, also of those \
            that it drops.
            """)

    @Argument(
        help: ArgumentHelp(
            "Only segments from or to one of these; :PORT for any host, HOST for any port, [ADDRESS]:PORT for IPv6.",
            valueName: "host:port"))
    var filters: [String] = []
    @Option(
        name: .shortAndLong, help: ArgumentHelp("Write pcapng to this file; - is standard output.", valueName: "file"))
    var write: String?
    @Option(name: .shortAndLong, help: "End after this many segments.")
    var count: Int?
    @Option(
        name: [.customShort("s"), .long],
        help: ArgumentHelp("Keep only so many bytes of each packet, IP header included.", valueName: "bytes"))
    var snaplen: Int32?
    @Flag(name: [.customShort("S"), .long], help: "Print sequence numbers as they are on the wire.")
    var absolute = false
    @OptionGroup var daemon: DaemonOption

    func validate() throws {
        if let count, count < 1 { throw ValidationError("-c \(count): at least 1.") }
        // The headers of TCP over IPv6 with all options.
        if let snaplen, snaplen < 100 {
            throw ValidationError("-s \(snaplen): at least 100, so that the headers are whole.")
        }
        guard filters.count <= DaemonCapture.maximumFilters else {
            throw ValidationError("At most \(DaemonCapture.maximumFilters) filters.")
        }
        for filter in filters where !CaptureFilter.isOne(filter) {
            throw ValidationError("\"\(filter)\" is no filter: \(CaptureFilter.forms).")
        }
    }

    func run() throws {
        let chosen = try filters.flatMap { try CaptureFilter.parse($0) }
        let capture = try begin(chosen)
        // Not before: a file that is there keeps what is in it, if there is nothing to capture.
        let output = try openOutput()
        CaptureInterrupt.install(capture)
        say("capturing at \(daemon.path); Ctrl-C ends")
        let session = CaptureSession(
            capture: capture, output: output, isText: write == nil, isAbsolute: absolute, most: count)
        let result = try session.run()
        say(result.description)
    }

    private func begin(_ filters: [DaemonCapture.Filter]) throws -> DaemonCapture {
        do throws(ChisocketError) {
            return try DaemonCapture(filters, limit: snaplen ?? 0, of: daemon.path)
        } catch {
            guard error.errno == EPERM else { throw error }
            throw CommandError("\(error): only root and the daemon's user may see what everybody sends")
        }
    }

    private func openOutput() throws -> Int32 {
        // A reader that is gone is an error of write(2), and no signal.
        signal(SIGPIPE, SIG_IGN)
        guard let write, write != "-" else {
            guard write == nil || isatty(STDOUT_FILENO) == 0 else {
                throw CommandError(
                    "-w -: standard output is a terminal, and pcapng is not for reading; use a pipe or a file")
            }
            return STDOUT_FILENO
        }
        let file = open(write, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw CommandError("cannot write \(write)", errno: errno) }
        return file
    }

    private func say(_ sentence: String) {
        let bytes = Array("chitcp capture: \(sentence)\n".utf8)
        _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
    }
}

/// Filters as people write them.
enum CaptureFilter {
    /// What there is.
    static let forms = "HOST:PORT, HOST, :PORT or [ADDRESS]:PORT, like 127.0.0.1:80, :80 or [::1]:80"

    private static func split(_ text: String) -> (host: Substring, port: UInt16)? {
        var host = text[...]
        var port: UInt16 = 0
        let isBracketed = text.hasPrefix("[")
        // IPv6 addresses have colons of their own: a port needs brackets.
        let hasPort = isBracketed ? text.contains("]:") : text.count { $0 == ":" } == 1
        if hasPort, let colon = text.lastIndex(of: ":") {
            let digits = text[text.index(after: colon)...]
            guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }), let number = UInt16(digits),
                number > 0
            else { return nil }
            port = number
            host = text[..<colon]
        }
        if isBracketed {
            guard host.hasSuffix("]") else { return nil }
            host = host.dropFirst().dropLast()
        }
        guard !host.isEmpty || port > 0, host.isEmpty || isHost(host) else { return nil }
        return (host, port)
    }

    /// False for what can be neither a name nor an address: expressions of tcpdump, networks, addresses with a mistake.
    private static func isHost(_ text: Substring) -> Bool {
        guard text.contains(":") else {
            return text.allSatisfy { !$0.isWhitespace && $0 != "/" && $0 != "[" && $0 != "]" }
        }
        // RFC 4007 11: an interface may stand behind the address.
        return IPAddress(String(text.prefix { $0 != "%" })) != nil
    }

    /// True if `text` may be a filter.
    static func isOne(_ text: String) -> Bool { split(text) != nil }

    /// The filters that `text` means: a name may have several addresses.
    static func parse(_ text: String) throws -> [DaemonCapture.Filter] {
        guard let (host, port) = split(text) else { throw CommandError("\"\(text)\" is no filter: \(forms)") }
        guard !host.isEmpty else { return [DaemonCapture.Filter(host: nil, port: port)] }
        let addresses: [ChisocketAddress]
        do throws(ChisocketError) { addresses = try ChisocketAddress.resolve(String(host), port: port) } catch {
            throw CommandError("\(error) (a filter is \(forms))")
        }
        return addresses.map { DaemonCapture.Filter(host: $0, port: port) }
    }
}

/// SIGINT and SIGTERM end the capture; what is on its way still comes. The second one ends the command.
private enum CaptureInterrupt {
    // Written once, before the handlers are installed.
    nonisolated(unsafe) private static var descriptor: Int32 = -1
    private static let count = Atomic<Int>(0)

    static func install(_ capture: DaemonCapture) {
        descriptor = capture.stopDescriptor
        for number in [SIGINT, SIGTERM] {
            signal(number) { number in
                guard CaptureInterrupt.count.add(1, ordering: .relaxed).newValue == 1 else { _exit(128 + number) }
                DaemonCapture.stop(CaptureInterrupt.descriptor)
            }
        }
    }
}
