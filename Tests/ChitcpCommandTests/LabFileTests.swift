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
                LabState.Host(name: "a", address: "127.0.0.1", isKernel: false, namespace: nil),
                LabState.Host(name: "b", address: "10.88.0.2", isKernel: true, namespace: "chitcp.x.b"),
            ], namespaces: ["chitcp.x", "chitcp.x.b"])
        #expect(LabState(state.text) == state)
        for broken in [
            "", "file x", "supervisor 1\nfile x", "nonsense", "file x\nsupervisor y", "host a\nfile x\nsupervisor 7",
        ] {
            #expect(LabState(broken) == nil, "\(broken)")
        }
    }

    @Test("the samples are good", arguments: ["bad-link", "bottleneck", "kernel-peer"])
    func samples(name: String) throws {
        let folder = #filePath.prefix(#filePath.count - "Tests/ChitcpCommandTests/LabFileTests.swift".utf8.count)
        let path = "\(folder)Samples/Labs/\(name).yaml"
        let description = try LabDescription(
            String(decoding: try readFile(path), as: UTF8.self), file: path, defaultName: name)
        #expect(description.name == name && description.hosts.count >= 2)
    }
}
