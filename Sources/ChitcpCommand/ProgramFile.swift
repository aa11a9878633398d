// The file of a program, and whether a library can be put in front of it.
import CLinux
import Glibc

/// An executable file.
struct ProgramFile {
    /// Where it lies.
    let path: String

    /// Finds `name` as a shell does: in PATH, unless it has a slash.
    static func find(_ name: String) throws -> ProgramFile {
        if name.contains("/") {
            guard access(name, X_OK) == 0 else { throw CommandError("cannot run \(name)", errno: errno) }
            return ProgramFile(path: name)
        }
        let folders = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        for folder in folders.split(separator: ":", omittingEmptySubsequences: false) {
            let path = folder.isEmpty ? name : "\(folder)/\(name)"
            if access(path, X_OK) == 0, isRegular(path) { return ProgramFile(path: path) }
        }
        throw CommandError("cannot run \(name): it is not in PATH")
    }

    private static func isRegular(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// Throws the reason if the program would go past the library and use the kernel's TCP.
    func checkIsReachable() throws {
        var file = path
        // A script is as reachable as its interpreter; Linux follows four of them.
        for _ in 0..<5 {
            try checkPrivileges(file)
            let head = try beginning(of: file)
            guard head.starts(with: Array("#!".utf8)) else {
                if let reason = ElfImage(head)?.whyUnreachable(from: try ElfImage(beginning(of: "/proc/self/exe"))) {
                    throw CommandError("\(path) cannot be run on chitcpd's TCP: \(reason)")
                }
                return
            }
            let line = head.dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }
            let words = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
            guard let interpreter = words.first else { return }
            file = String(decoding: interpreter, as: UTF8.self)
        }
    }

    private func checkPrivileges(_ file: String) throws {
        var status = stat()
        guard stat(file, &status) == 0 else { throw CommandError("cannot run \(file)", errno: errno) }
        let changesUser = status.st_mode & S_ISUID != 0 && status.st_uid != getuid()
        let changesGroup = status.st_mode & S_ISGID != 0 && status.st_gid != getgid()
        let hasCapabilities = getuid() != 0 && clinux_has_capabilities(file) != 0
        if changesUser || changesGroup || hasCapabilities {
            throw CommandError(
                "\(path) cannot be run on chitcpd's TCP: \(file) gets other privileges (set-uid, set-gid or file "
                    + "capabilities), and the loader ignores preloaded libraries then")
        }
    }

    private func beginning(of file: String) throws -> [UInt8] {
        let fd = open(file, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else {
            // Executable, but not to be read: the kernel may run it, we cannot look at it.
            throw CommandError("cannot look at \(file)", errno: errno)
        }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let n = bytes.withUnsafeMutableBytes { readSome(fd, $0) }
        return Array(bytes.prefix(max(0, n)))
    }
}

/// What the program headers of an ELF file say.
struct ElfImage {
    private let is64: Bool
    private let machine: UInt16
    private let hasInterpreter: Bool
    private let isGo: Bool

    /// Reads the headers out of the first bytes of a file; nil if they are not ELF's in this machine's byte order.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 64, bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46]), bytes[5] == 1 else { return nil }
        func number(_ at: Int, _ size: Int) -> Int {
            // Bounds: nothing beyond what was read; a value that is too large for a position is none.
            guard at >= 0, at + size <= bytes.count else { return 0 }
            let value = (0..<size).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64(bytes[at + $1]) }
            return Int(exactly: value) ?? 0
        }
        let wide = bytes[4] == 2
        let table = wide ? number(32, 8) : number(28, 4)
        let entrySize = wide ? number(54, 2) : number(42, 2)
        let count = wide ? number(56, 2) : number(44, 2)
        var interpreter = false
        var go = false
        for i in 0..<count where table < bytes.count {
            let entry = table + i * entrySize
            let kind = number(entry, 4)
            let offset = wide ? number(entry + 8, 8) : number(entry + 4, 4)
            let length = wide ? number(entry + 32, 8) : number(entry + 16, 4)
            if kind == 3 { interpreter = true }  // PT_INTERP
            // PT_NOTE: Go's build id is a note named "Go".
            if kind == 4, offset < bytes.count, number(offset, 4) == 4, length >= 16 {
                go = go || Array(bytes[offset...].dropFirst(12).prefix(4)) == [0x47, 0x6F, 0, 0]
            }
        }
        is64 = wide
        machine = UInt16(truncatingIfNeeded: number(18, 2))
        hasInterpreter = interpreter
        isGo = go
    }

    /// Why a library for the machine of `own` cannot stand in front of this program; nil if it can.
    func whyUnreachable(from own: ElfImage?) -> String? {
        if isGo { return "it is a Go program, and Go makes its system calls itself" }
        if !hasInterpreter { return "it is linked statically, and asks no C library for its sockets" }
        if let own, own.is64 != is64 || own.machine != machine { return "it is made for another kind of machine" }
        return nil
    }
}
