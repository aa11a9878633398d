// Plays the fuzzers' corpus, so that what was found once stays found.
import FoundationEssentials
import FuzzTargets
import Testing

@Suite("Inputs of fuzzers") struct FuzzTests {
    static let corpus = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fuzzing/Corpus")

    @Test("every input of the corpus is survived", arguments: FuzzTarget.all.map(\.name))
    func corpus(_ name: String) throws {
        let target = try #require(FuzzTarget.named(name))
        let folder = Self.corpus.appending(path: name).path
        let files = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(!files.isEmpty)
        for file in files {
            let data = try #require(FileManager.default.contents(atPath: folder + "/" + file))
            #expect(data.count <= target.maximumLength, "\(name)/\(file)")
            data.withUnsafeBytes { target.run($0) }
        }
    }

    @Test("inputs of seeded bytes are survived", arguments: FuzzTarget.all.map(\.name))
    func random(_ name: String) throws {
        let target = try #require(FuzzTarget.named(name))
        var state: UInt64 = 1
        for round in 0..<200 {
            var bytes = [UInt8](repeating: 0, count: (round * 37) % target.maximumLength + 1)
            for index in bytes.indices {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                bytes[index] = UInt8(truncatingIfNeeded: state >> 56)
            }
            bytes.withUnsafeBytes { target.run($0) }
        }
    }
}
