// Scripts in files.
import Glibc

/// Finds scripts and reads them.
public enum DrillFiles {
    private static let largest = 1 << 20

    /// The script at `path`, or all files ending in `.drill` in the folder there and below it, sorted by name.
    public static func scripts(at path: String) throws(DrillFailure) -> [String] {
        guard let names = folder(path) else {
            guard access(path, R_OK) == 0 else { throw failure(path, String(cString: strerror(errno))) }
            return [path]
        }
        let scripts = found(in: path, names)
        guard !scripts.isEmpty else { throw failure(path, "there is no .drill file in this folder") }
        return scripts
    }

    private static func found(in path: String, _ names: [String]) -> [String] {
        names.flatMap { name -> [String] in
            let inner = path + "/" + name
            if let more = folder(inner) { return found(in: inner, more) }
            return name.hasSuffix(".drill") ? [inner] : []
        }
    }

    /// The sorted names in a folder, without hidden ones; nil if it is none.
    private static func folder(_ path: String) -> [String]? {
        guard let folder = opendir(path) else { return nil }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    /// What stands in the file at `path`.
    public static func text(of path: String) throws(DrillFailure) -> String {
        guard let file = fopen(path, "re") else { throw failure(path, String(cString: strerror(errno))) }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: largest + 1)
        let count = fread(&bytes, 1, bytes.count, file)
        guard ferror(file) == 0 else { throw failure(path, "cannot be read") }
        guard count <= largest else { throw failure(path, "is larger than 1 MiB") }
        guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
            throw failure(path, "is not UTF-8 text")
        }
        return text
    }

    private static func failure(_ path: String, _ sentence: String) -> DrillFailure {
        DrillFailure(script: path, line: 0, sentence: sentence, trace: [])
    }
}
