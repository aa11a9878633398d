// Where this package's products are, and the compilers that build C programs against them.
import Glibc
import TestSupport
import Testing

/// The checkout and what SwiftPM has built of it.
enum Toolbox {
    /// The folder of the package.
    static let root: String = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }

    /// The folder of the built products, which the running test program is one of.
    static let products = productFolder

    /// libchitcp.so, by the name of its product.
    static let library = products + "/libchitcp-c.so"
    static let daemon = products + "/chitcpd"
    static let headers = root + "/Sources/CChitcp/include"
    static let samples = root + "/Samples/C"

    /// The C and C++ compilers of this machine, of those that are known to it.
    static let cCompilers = ["gcc", "clang"].filter(isOnPath)
    static let cxxCompilers = ["g++", "clang++"].filter(isOnPath)

    private static func isOnPath(_ program: String) -> Bool {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        return path.split(separator: ":").contains { access("\($0)/\(program)", X_OK) == 0 }
    }

    /// Compiles and links C files against libchitcp, with every warning an error.
    static func build(_ sources: [String], into program: String, options: [String] = []) throws {
        let compiler = try #require(cCompilers.first)
        let arguments =
            ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I", headers] + options + sources + [
                "-o", program, library, "-Wl,-rpath,\(products)", "-pthread",
            ]
        let result = try run(compiler, arguments, seconds: 300)
        try #require(result.status == 0, "\(result.text)")
    }

    /// The files with `suffix` in a folder, sorted.
    static func files(in folder: String, suffix: String) -> [String] {
        guard let open = opendir(folder) else { return [] }
        defer { closedir(open) }
        var found: [String] = []
        while let entry = readdir(open) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(suffix) { found.append(folder + "/" + name) }
        }
        return found.sorted()
    }
}

/// A folder under /tmp that is removed with the files in it.
final class ScratchFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/chitcp-c-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for file in Toolbox.files(in: path, suffix: "") { unlink(file) }
        rmdir(path)
    }
}

/// A chitcpd of its own, at an address of its own, with its applications' socket in a folder.
final class DaemonProcess {
    private let program: RunningProgram
    /// What programs need in their environment to use it.
    let environment: [String: String]

    init(_ address: String, in folder: ScratchFolder, options: [String]) throws {
        let socket = "\(folder.path)/\(address)"
        environment = ["CHITCPD_SOCK": socket, "CHITCP_TESTER_ADDRESS": address, "CHITCPD_PORT": "23300"]
        program = try RunningProgram(
            Toolbox.daemon, ["--address", address, "--socket", socket, "--msl", "100ms"] + options)
        let isListening = program.read(seconds: 60) { $0.contains("listening") }
        guard isListening, program.text.contains("listening") else {
            program.send(SIGKILL)
            let status = program.awaitEnd()
            throw DaemonFailure(description: "chitcpd \(options) did not start (\(status)): \(program.text)")
        }
    }

    /// Ends it in order; returns what it said besides its greeting, if anything.
    func stop() -> String {
        program.send(SIGTERM)
        let ended = program.read(seconds: 60)
        if !ended { program.send(SIGKILL) }
        let status = program.awaitEnd()
        let lines = program.text.split(separator: "\n").dropFirst().joined(separator: "\n")
        return ended && status == 0 ? lines : lines + "\nchitcpd ended with \(status)"
    }
}

/// A daemon that did not start.
struct DaemonFailure: Error, CustomStringConvertible {
    let description: String
}
