// The headers compile alone, in C and C++, with every warning an error, and beside the system's.
import Glibc
import Testing

@Suite("C headers", .timeLimit(.minutes(15)))
struct HeaderTests {
    /// A compiler and a language standard.
    struct Compilation: Sendable, CustomTestStringConvertible {
        let compiler: String
        let standard: String
        let suffix: String
        var testDescription: String { "\(compiler) -std=\(standard)" }
    }

    static let compilations: [Compilation] =
        Toolbox.cCompilers.flatMap { compiler in
            ["c99", "c11", "gnu17"].map { Compilation(compiler: compiler, standard: $0, suffix: "c") }
        }
        + Toolbox.cxxCompilers.flatMap { compiler in
            ["c++11", "c++20"].map { Compilation(compiler: compiler, standard: $0, suffix: "cc") }
        }

    @Test("each header compiles alone and without a warning", arguments: compilations)
    func alone(_ compilation: Compilation) throws {
        let folder = try ScratchFolder()
        let headers = Toolbox.files(in: Toolbox.headers + "/chitcp", suffix: ".h")
        #expect(headers.count >= 11)
        for header in headers {
            let name = try #require(header.split(separator: "/").last)
            try compile("#include <chitcp/\(name)>\nint main(void) { return 0; }\n", compilation, folder)
        }
    }

    @Test("all headers compile together, and with those of the system", arguments: compilations)
    func together(_ compilation: Compilation) throws {
        let folder = try ScratchFolder()
        let names = Toolbox.files(in: Toolbox.headers + "/chitcp", suffix: ".h").compactMap {
            $0.split(separator: "/").last
        }
        let system = ["netinet/tcp.h", "sys/param.h", "sys/un.h", "poll.h", "netdb.h"].map { "#include <\($0)>\n" }
        let ours = names.map { "#include <chitcp/\($0)>\n" }
        try compile((system + ours).joined() + "tcphdr_t header;\nint main(void) { return 0; }\n", compilation, folder)
        try compile(
            (ours.reversed() + ours).joined() + "struct tcphdr header;\nint main(void) { return 0; }\n", compilation,
            folder)
    }

    @Test("-DDEBUG does not break the log levels")
    func debugMacro() throws {
        let folder = try ScratchFolder()
        let compilation = try #require(Self.compilations.first)
        try compile(
            "#include <chitcp/log.h>\nint main(void) { chilog(DEBUG, \"x\"); return DEBUG != 60; }\n", compilation,
            folder,
            options: ["-DDEBUG=1"])
    }

    private func compile(
        _ source: String, _ compilation: Compilation, _ folder: ScratchFolder, options: [String] = []
    ) throws {
        let path = "\(folder.path)/program.\(compilation.suffix)"
        let file = try #require(fopen(path, "w"))
        fputs(source, file)
        fclose(file)
        let result = try run(
            compilation.compiler,
            [
                "-std=\(compilation.standard)", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I",
                Toolbox.headers,
            ] + options + [path])
        #expect(result.status == 0, "\(source)\(result.text)")
    }
}
