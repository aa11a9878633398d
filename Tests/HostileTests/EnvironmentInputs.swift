// Environment, options and limits that make no sense: a sentence, or service.
import Chisocket
import Glibc
import TCPSegments

extension HostileInput {
    static let environment: [HostileInput] = variables + senselessOptions + limits

    private static func refuses(_ name: String, _ launch: Launch, saying text: String = "") -> HostileInput {
        HostileInput(.environment, name) { siege in
            let said = try siege.refused(launch)
            guard said.contains(text) else { throw Failure("it said: \(said)") }
        }
    }

    private static func serves(_ name: String, _ launch: Launch) -> HostileInput {
        HostileInput(.environment, name) { siege in try siege.served(launch) }
    }

    private static let variables: [HostileInput] =
        ["abc", "0", "99999", "65536", "-1", " 23300", "2e4", "0x5B04", "23300 ", "4294990596", "☃"].map { value in
            refuses("CHITCPD_PORT=\(value)", Launch(environment: ["CHITCPD_PORT": value]), saying: "ort")
        }
        + [
            serves("CHITCPD_PORT empty", Launch(environment: ["CHITCPD_PORT": ""])),
            serves("CHITCPD_SOCK empty beside --socket", Launch(environment: ["CHITCPD_SOCK": ""])),
            serves("CHITCPD_SOCK nonsense beside --socket", Launch(environment: ["CHITCPD_SOCK": "/no/where"])),
            refuses(
                "CHITCPD_SOCK of five hundred characters",
                Launch(environment: ["CHITCPD_SOCK": "/tmp/" + String(repeating: "y", count: 500)], setsSocket: false)),
            refuses(
                "CHITCPD_SOCK in a folder that does not exist",
                Launch(environment: ["CHITCPD_SOCK": "/no/such/folder/socket"], setsSocket: false)),
            serves(
                "a language, a time zone and a home that do not exist",
                Launch(environment: ["LANG": "xx_XX.UTF-77", "TZ": ":/no/where", "HOME": "/no/where", "TERM": ""])),
        ]

    private static let senselessOptions: [HostileInput] =
        [
            ["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--address", "256.1.1.1"], ["--address", ""],
            ["--address", "0.0.0.0"], ["--address", "203.0.113.77"], ["--address", "::"], ["--address", "localhost"],
            ["--msl", "-1s"], ["--msl", "1"], ["--msl", "99999999999s"], ["--rto-min", "abc"], ["--rto-initial", "s"],
            ["--loss", "200%"], ["--loss", "-1"], ["--delay", "1e9s"], ["--send-buffer", "0"],
            ["--receive-buffer", "1GiB"], ["--max-sockets", "0"], ["--max-sockets", "-5"], ["--no-such-option"],
            ["--impair", "loss"], ["--impair", "to=0.0.0.0,loss=1%"], ["--impair", "rate=0bit"], ["--tun", ""],
            ["--mtu", "1"], ["--route", "x"], ["stray"],
        ].map { arguments in
            refuses("the options \(arguments)", Launch(arguments: arguments))
        } + [
            serves("buffers of one byte", Launch(arguments: ["--send-buffer", "1", "--receive-buffer", "1"])),
            serves(
                "timeouts of nothing", Launch(arguments: ["--rto-min", "0s", "--rto-initial", "0s", "--msl", "0s"])),
        ]

    private static let limits: [HostileInput] =
        [3, 4, 6, 8, 10].map { count in
            refuses("\(count) descriptors", Launch(prelude: "ulimit -n \(count)"))
        } + [
            HostileInput(.environment, "every number of descriptors from 11 to 30") { siege in
                for count in 11...30 {
                    let twin = try DaemonProcess(
                        "twin", at: siege.twinAddress, in: siege.folder, Launch(prelude: "ulimit -n \(count)"))
                    // It serves until it is ended, or it says why not.
                    try waitUntil("it listens or ends") {
                        twin.pollEnding() != nil
                            || (try? RawLink(from: siege.attackerAddress, to: twin.address)) != nil
                    }
                    twin.signal(SIGTERM)
                    let ending = try twin.waitForEnding()
                    guard ending == .exit(0) || twin.said.contains("too many open files") else {
                        throw Failure("with \(count) descriptors it ended with \(ending): \(twin.said)")
                    }
                    try siege.requireNothingLeft(of: twin)
                }
            },
            HostileInput(
                .environment, "clients that take every descriptor", launch: Launch(prelude: "ulimit -n 64")
            ) { siege in
                var clients: [RawControl] = []
                for _ in 0..<200 { clients.append(try RawControl(siege.victim)) }
                try siege.waitForBlocks(5)
            },
            HostileInput(
                .environment, "sockets that take every descriptor", launch: Launch(prelude: "ulimit -n 64")
            ) { siege in
                let client = try RawControl(siege.victim)
                var descriptors: [Int32] = []
                defer { for descriptor in descriptors { close(descriptor) } }
                while let descriptor = try? client.makeSocket().descriptor { descriptors.append(descriptor) }
                guard descriptors.count > 20 else { throw Failure("only \(descriptors.count) sockets") }
                try siege.waitForBlocks(5)
            },
            HostileInput(
                .environment, "real connections that take every descriptor", launch: Launch(prelude: "ulimit -n 64")
            ) { siege in
                let links = try (0..<200).map { try siege.link(from: siege.spareAddress($0)) }
                try siege.waitForBlocks(5)
                for link in links { link.close() }
            },
            HostileInput(
                .environment, "connections that take every descriptor", launch: Launch(prelude: "ulimit -n 64")
            ) { siege in
                let link = try siege.link()
                for i in 0..<100 { try RawConversation(link, from: UInt16(10_000 + i)).establish() }
                try siege.waitForBlocks(5)
                link.close(resetting: true)
                siege.server.keepOnly([siege.victimAddress, siege.neighbourAddress])
            },
            HostileInput(
                .environment, "as many sockets as --max-sockets allows",
                launch: Launch(arguments: ["--max-sockets", "20"])
            ) { siege in
                let client = try RawControl(siege.victim)
                var descriptors: [Int32] = []
                defer { for descriptor in descriptors { close(descriptor) } }
                while let descriptor = try? client.makeSocket().descriptor { descriptors.append(descriptor) }
                guard descriptors.count <= 20 else { throw Failure("\(descriptors.count) sockets") }
                try siege.waitForBlocks(5)
            },
        ]
}
