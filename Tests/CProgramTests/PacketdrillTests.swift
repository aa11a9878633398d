// The packetdrill plugin, loaded and called as packetdrill does it: situations in a small language of their own, played by a
// program in C with two threads.
import Glibc
import Testing

@Suite("The packetdrill plugin", .serialized, .timeLimit(.minutes(15)))
struct PacketdrillTests {
    /// Which packets and sockets: IPv4, IPv6, IPv4 in sockets of IPv6.
    enum Family: String, CaseIterable, Sendable {
        case ipv4 = "4"
        case ipv6 = "6"
        case mapped = "46"
    }

    private static let plugin = Toolbox.products + "/libchitcp-packetdrill.so"
    private static let folder = Toolbox.root + "/Tests/CProgramTests/Packetdrill"
    /// At least this many situations have to be there, or something was lost.
    private static let expectedSituations = 40

    private let scratch: ScratchFolder
    private let player: String

    init() throws {
        scratch = try ScratchFolder()
        player = scratch.path + "/player"
        let compiler = try #require(Toolbox.cCompilers.first)
        let sources = Toolbox.files(in: Self.folder + "/Programs", suffix: ".c")
        let built = try run(
            compiler,
            [
                "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I",
                Toolbox.root + "/Sources/CPacketdrill/include",
            ]
                + sources + ["-o", player, "-pthread", "-ldl"], seconds: 120)
        try #require(built.status == 0, "\(built.text)")
    }

    /// The situations whose name begins so, or does not.
    private func situations(_ prefix: String, _ begins: Bool = true) -> [String] {
        Toolbox.files(in: Self.folder + "/Situations", suffix: ".txt").filter {
            ($0.split(separator: "/").last?.hasPrefix(prefix) ?? false) == begins
        }
    }

    private func play(_ situations: [String], _ family: Family, preloads: Bool = false) throws -> ProgramResult {
        var environment = ["PD_SYSCTL_FILE": scratch.path + "/settings"]
        if preloads { environment["LD_PRELOAD"] = Self.plugin }
        return try run(
            player, [Self.plugin, family.rawValue] + situations, environment: environment, seconds: 120)
    }

    @Test(
        "situations come out as expected, one after the other in a process, and the same way twice",
        arguments: Family.allCases)
    func situations(_ family: Family) async throws {
        let files = situations("preloaded-", false)
        #expect(files.count >= Self.expectedSituations)
        let (first, second) = try await onThread { (try play(files, family), try play(files, family)) }
        #expect(first.status == 0, "\(first.text.suffix(1500))")
        #expect(first.text.hasSuffix("all played\n"))
        #expect(first.text == second.text)
    }

    @Test("preloaded, the plugin answers what packetdrill asks of the C library", arguments: Family.allCases)
    func preloaded(_ family: Family) async throws {
        let files = situations("preloaded-")
        #expect(!files.isEmpty)
        let result = try await onThread { try play(files, family, preloads: true) }
        #expect(result.status == 0, "\(result.text.suffix(1500))")
        #expect(result.text.hasSuffix("all played\n"))
    }

    @Test(
        "flags that make no sense end the program with a sentence",
        arguments: ["personality=plan9", "mtu=10", "colour=blue", "personality"])
    func flags(_ text: String) async throws {
        let file = scratch.path + "/situation"
        let open = try #require(fopen(file, "w"))
        fputs("flags \(text)\n0 socket -> s\n", open)
        fclose(open)
        let result = try await onThread { try play([file], .ipv4) }
        #expect(result.status == 1)
        #expect(result.text.contains("chitcp-packetdrill: --so_flags: "), "\(result.text)")
    }
}
