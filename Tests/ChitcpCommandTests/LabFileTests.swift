// Lab files: what they mean, and where their mistakes are.
import Glibc
import Impairments
import TCPSegments
import Testing

@testable import ChitcpCommand

private func lab(_ text: String) throws -> LabDescription {
    try LabDescription(text, file: "pair.yaml", defaultName: "pair")
}

@Suite("Lab files")
struct LabFileTests {
    @Test("hosts, options, links and their impairments")
    func means() throws {
        let description = try lab(
            """
            # a comment
            name: pair-of-two   # and another
            hosts:
              alice:
              bob: {options: [--mss, "536"], impair: 'loss=1%,seed=9'}
              carol:
                options: --congestion reno --mss 1460
              linux:
                kernel: true
            links:
            - between: [alice, bob]
              impair: delay=20ms, rate=1mbit
            -   between:
                  - bob
                  - carol
                there: "loss=2%"
            - between: [alice, linux]
              there: delay=1ms
              back: delay=2ms,seed=5
            """)
        #expect(description.name == "pair-of-two")
        #expect(description.hosts.map(\.name) == ["alice", "bob", "carol", "linux"])
        #expect(description.hosts.map(\.isKernel) == [false, false, false, true])
        #expect(description.hosts[1].options == ["--mss", "536"])
        #expect(description.hosts[1].impairment?.configuration.loss == 10_000)
        #expect(description.hosts[1].impairment?.seed == 9)
        #expect(description.hosts[2].options == ["--congestion", "reno", "--mss", "1460"])
        let links = description.links
        #expect(links.map { [$0.first, $0.second] } == [["alice", "bob"], ["bob", "carol"], ["alice", "linux"]])
        #expect(links[0].there?.configuration.rate == 1_000_000 && links[0].there?.seed == 1)
        #expect(links[0].back?.configuration == links[0].there?.configuration && links[0].back?.seed == 2)
        #expect(links[1].there?.configuration.loss == 20_000 && links[1].back == nil)
        #expect(links[2].back?.configuration.delay == .milliseconds(2) && links[2].back?.seed == 5)
    }

    @Test(
        "mistakes are named with their line",
        arguments: [
            ("", 1, "a lab has hosts"), ("hosts:\n", 1, "a lab has hosts"), ("host:\n  a:\n", 1, "host is not known"),
            ("hosts:\n  a:\n  a:\n", 3, "there already, in line 2"), ("hosts:\n  Alice:\n", 2, "lower-case"),
            ("hosts:\n  a:\n    color: red\n", 3, "color is not known"), ("hosts:\n\ta:\n", 2, "a tab"),
            ("hosts:\n  a:\n   b:\n  c:\n", 3, "b is not known"), ("hosts:\n    a:\n  b:\n", 3, "indented differently"),
            ("hosts:\n  a:\n    options: --socket /tmp/x\n", 3, "--socket: the lab itself"),
            ("hosts:\n  a:\n    options: [--port=1]\n", 3, "the lab itself"),
            ("hosts:\n  a:\n    impair: loss=lots\n", 3, "loss=lots"),
            ("hosts:\n  a:\n    impair:\n", 3, "what happens"), ("hosts:\n  a:\n    kernel: yes\n", 3, "true or false"),
            ("hosts:\n  a:\n    kernel: true\n    impair: loss=1%\n", 2, "takes no options and impairs nothing"),
            ("hosts: [a, b]\n", 1, "hosts are wanted"), ("- a\n- b\n", 1, "hosts and links are wanted"),
            ("hosts:\n  a:\nlinks:\n  a: b\n", 4, "links are a list"),
            ("hosts:\n  a:\n  b:\nlinks:\n- impair: loss=1%\n", 5, "between two hosts"),
            ("hosts:\n  a:\n  b:\nlinks:\n- between: [a]\n", 5, "between two hosts"),
            ("hosts:\n  a:\n  b:\nlinks:\n- between: [a, c]\n", 5, "c is not among the hosts: a, b"),
            ("hosts:\n  a:\nlinks:\n- between: [a, a]\n", 4, "no link to itself"),
            ("hosts:\n  a:\n  b:\nlinks:\n- between: [a, b]\n- between: [b, a]\n", 6, "already, in line 5"),
            ("hosts:\n  a:\n  b:\nlinks:\n- between: [a, b]\n  impair: mark=1kB\n", 6, "go with a rate"),
            ("hosts:\n  a:\n  b:\nlinks:\n- between: [a, b]\n  impair: loss=1%\n  back: loss=1%\n", 5, "each way"),
            (
                "hosts:\n  a: {kernel: true}\n  b: {kernel: true}\nlinks:\n- between: [a, b]\n  impair: loss=1%\n", 5,
                "two kernels"
            ),
            ("hosts:\n  a: [b\n", 2, "] is missing"), ("hosts:\n  a: {b: c\n", 2, "} is missing"),
            ("hosts:\n  a: {b}\n", 2, "a name and a colon"), ("hosts:\n  a: [] x\n", 2, "not expected here"),
            ("hosts: &x\n  a:\n", 1, "no anchors"), ("hosts:\n  a: \"x\n", 2, "does not end"),
            ("---\nhosts:\n", 1, "one document"),
            ("hosts:\n  a\n", 2, "hosts are wanted"), ("name: Pair\nhosts:\n  a:\n", 1, "Pair cannot be"),
            ("hosts:\n  a: [[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]\n", 2, "too deep"),
        ])
    func mistakes(text: String, line: Int, sentence: String) {
        #expect {
            _ = try lab(text)
        } throws: { error in
            "\(error)".hasPrefix("pair.yaml:\(line): ") && "\(error)".contains(sentence)
        }
    }

    @Test(
        "a host may say its addresses: one, or one of each family",
        arguments: [
            ("address: 10.88.0.7", ["10.88.0.7"]), ("address: fd88::7", ["fd88::7"]),
            ("address: [10.88.0.7, 'fd88::7']", ["10.88.0.7", "fd88::7"]), ("address: ['::1']", ["::1"]),
            ("options: []", []),
        ])
    func addresses(setting: String, expected: [String]) throws {
        let host = try lab("hosts:\n  a:\n    \(setting)\n").hosts[0]
        #expect(host.addresses.map { "\($0)" } == expected)
    }

    @Test(
        "addresses that cannot be a host's are refused where they stand",
        arguments: [
            ("ten", "cannot be a host's address"), ("0.0.0.0", "cannot be"), ("224.0.0.1", "cannot be"),
            ("'::'", "cannot be"), ("ff02::1", "cannot be"), ("10.88.0.7/24", "cannot be"),
            ("[10.88.0.1, 10.88.0.2]", "one of each"), ("['::1', 'fd88::1']", "one of each"), ("[]", "one of each"),
            ("fe80::1", "link-local"), ("", "an address like"), ("{a: b}", "an address like"),
            ("10.0.0.9", "10.0.0.9 is other's, in line 3"),
        ])
    func wrongAddresses(text: String, sentence: String) {
        #expect {
            _ = try lab("hosts:\n  other:\n    address: 10.0.0.9\n  a:\n    address: \(text)\n")
        } throws: { "\($0)".hasPrefix("pair.yaml:5: ") && "\($0)".contains(sentence) }
    }

    private func planned(_ text: String, hasIPv6: Bool = true) throws -> [String] {
        try LabAddresses(description: lab(text), file: "pair.yaml").inNamespaces(hasIPv6: hasIPv6)
            .map { $0.map { "\($0)" }.joined(separator: " ") }
    }

    @Test("with namespaces hosts have both families, but for what the file says; nobody's address is given twice")
    func namespaceAddresses() throws {
        #expect(try planned("hosts:\n  a:\n  b:\n") == ["10.88.0.1 fd88::1", "10.88.0.2 fd88::2"])
        #expect(try planned("hosts:\n  a:\n  b:\n", hasIPv6: false) == ["10.88.0.1", "10.88.0.2"])
        let mixed = "hosts:\n  a: {address: fd88::2}\n  b:\n  c: {address: [192.168.7.1, 'fd88::4']}\n  d:\n"
        #expect(
            try planned(mixed) == ["fd88::2", "10.88.0.5 fd88::5", "192.168.7.1 fd88::4", "10.88.0.6 fd88::6"])
    }

    @Test("what goes over the bridge: the lab's networks, as far as hosts are in them, and addresses outside of them")
    func reachable() {
        func reachable(_ texts: String...) -> [String] {
            LabNamespaces.reachable(texts.compactMap { IPAddress($0) }).map { "\($0)" }
        }
        #expect(reachable("10.88.0.1", "10.88.0.2") == ["10.88.0.0/24"])
        #expect(reachable("10.88.0.1", "fd88::1") == ["10.88.0.0/24", "fd88::/64"])
        #expect(reachable("fd88::1", "192.168.7.1", "fd00::7") == ["fd88::/64", "192.168.7.1/32", "fd00::7/128"])
    }

    @Test(
        "with namespaces an address that leads nowhere is refused",
        arguments: [
            ("127.0.0.5", "a loopback address"), ("'::1'", "a loopback address"),
            ("10.88.1.7", "the lab keeps 10.88.1.0/24"), ("fd88:0:0:1::7", "the lab keeps fd88:0:0:1::/64"),
        ])
    func namespaceMistakes(text: String, sentence: String) {
        #expect {
            _ = try planned("hosts:\n  a:\n    address: \(text)\n")
        } throws: { "\($0)".hasPrefix("pair.yaml:3: a cannot have ") && "\($0)".contains(sentence) }
    }

    @Test("hosts of different families have no link, and a kernel without IPv6 has none of its addresses")
    func families() throws {
        let apart = """
            hosts:
              a: {address: 10.88.0.1}
              b: {address: fd88::1}
            links:
              - between: [b, a]
                impair: loss=1%

            """
        #expect { _ = try planned(apart) } throws: { "\($0)".contains("pair.yaml:5: a has only IPv4 and b only IPv6") }
        #expect {
            _ = try planned(apart, hasIPv6: false)
        } throws: { "\($0)".contains("pair.yaml:3: b cannot have fd88::1: this kernel has no IPv6") }
    }

    @Test("on loopback a file may name what this machine has; what speaks against others is said with what to do")
    func loopbackAddresses() throws {
        func planned(_ text: String, _ errors: [String: Int32] = [:]) throws -> [String] {
            try LabAddresses(description: lab(text), file: "pair.yaml").onLoopback(
                free: { "127.70.1" }, obstacle: { errors["\($0)"] }
            ).map { $0.map { "\($0)" }.joined(separator: " ") }
        }
        let both = "hosts:\n  a:\n    address: ['::1', 127.7.7.7]\n  b:\n"
        #expect(try planned(both) == ["::1 127.7.7.7", "127.70.1.2"])
        for (errors, sentence) in [
            (["::1": EAFNOSUPPORT], "a cannot have ::1 without --namespaces: this kernel has no IPv6"),
            (["::1": EADDRNOTAVAIL], "As root: ip address add ::1/128 dev lo, or chitcp lab up --namespaces"),
            (["127.7.7.7": EADDRINUSE], "port 23300 is taken there"),
        ] {
            #expect {
                _ = try planned(both, errors)
            } throws: { "\($0)".hasPrefix("pair.yaml:3: ") && "\($0)".contains(sentence) }
        }
    }

    @Test(
        "@HOST in an argument is the host's address, of a family where one is wanted",
        arguments: [
            ("@a", "10.0.0.1"), ("http://@a:80/", "http://10.0.0.1:80/"), ("@a.4", "10.0.0.1"),
            ("[@a.6]:80", "[fd88::1]:80"),
            ("@b", "fd88::2"), ("@a.6.", "fd88::1."), ("@a.64", "10.0.0.1.64"), ("@a.b", "10.0.0.1.b"), ("@c", "@c"),
            ("me@example", "me@example"), ("@b.6@a.4", "fd88::210.0.0.1"), ("", ""),
        ])
    func substitution(word: String, expected: String) throws {
        let state = LabState(
            file: "x", supervisor: 7,
            hosts: [("a", ["10.0.0.1", "fd88::1"]), ("b", ["fd88::2"])].map { name, addresses in
                LabState.Host(
                    name: name, addresses: addresses.compactMap { IPAddress($0) }, isKernel: false, namespace: nil)
            }, namespaces: [])
        #expect(try state.withAddresses(word) == expected)
        #expect { _ = try state.withAddresses("@b.4") } throws: { "\($0)" == "@b.4: b has no IPv4 address" }
    }

    @Test("bytes at random, and pieces of a good file, are read or refused")
    func arbitrary() {
        var random = SeededGenerator(seed: 5)
        let pieces = [
            "hosts:", "\n", "  ", "a", ":", " ", "- ", "[", "]", "{", "}", ",", "'", "\"", "#", "links:", "between",
            "\t", "é",
        ]
        for _ in 0..<5000 {
            var text = ""
            for _ in 0..<Int(random.below(40)) { text += pieces[Int(random.below(Int64(pieces.count)))] }
            do { _ = try lab(text) } catch { #expect("\(error)".hasPrefix("pair.yaml:"), "\(text)") }
        }
    }

    @Test("what a lab consists of is read back as it was written")
    func state() {
        let state = LabState(
            file: "a file with blanks.yaml", supervisor: 4711,
            hosts: [
                LabState.Host(name: "a", addresses: [IPAddress(127, 0, 0, 1)], isKernel: false, namespace: nil),
                LabState.Host(
                    name: "b", addresses: ["10.88.0.2", "fd88::2"].compactMap { IPAddress($0) }, isKernel: true,
                    namespace: "chitcp.x.b"),
            ], namespaces: ["chitcp.x", "chitcp.x.b"])
        #expect(LabState(state.text) == state)
        for broken in [
            "", "file x", "supervisor 1\nfile x", "nonsense", "file x\nsupervisor y", "host a\nfile x\nsupervisor 7",
            "file x\nsupervisor 7\nhost a 127.0.0.1,b daemon -", "file x\nsupervisor 7\nhost a , daemon -",
        ] {
            #expect(LabState(broken) == nil, "\(broken)")
        }
    }

    @Test("the samples are good", arguments: ["bad-link", "bottleneck", "kernel-peer", "two-families"])
    func samples(name: String) throws {
        let folder = #filePath.prefix(#filePath.count - "Tests/ChitcpCommandTests/LabFileTests.swift".utf8.count)
        let path = "\(folder)Samples/Labs/\(name).yaml"
        let description = try LabDescription(
            String(decoding: try readFile(path), as: UTF8.self), file: path, defaultName: name)
        #expect(description.name == name && description.hosts.count >= 2)
    }
}
