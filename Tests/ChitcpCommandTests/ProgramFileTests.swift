// Which programs `chitcp run` can reach, by the headers of their files.
import Testing

@testable import ChitcpCommand

@Suite("Programs that can be reached")
struct ProgramFileTests {
    /// An ELF file of 64 bits with program headers of these kinds, and what the notes among them hold.
    private func image(_ kinds: [UInt8], note: [UInt8] = [], machine: UInt8 = 62, wide: Bool = true) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 64 + kinds.count * 56)
        bytes.replaceSubrange(0..<6, with: [0x7F, 0x45, 0x4C, 0x46, wide ? 2 : 1, 1])
        bytes[18] = machine
        bytes[32] = 64
        bytes[54] = 56
        bytes[56] = UInt8(kinds.count)
        for (i, kind) in kinds.enumerated() {
            let entry = 64 + i * 56
            bytes[entry] = kind
            let place = bytes.count
            bytes[entry + 8] = UInt8(place & 0xFF)
            bytes[entry + 9] = UInt8(place >> 8)
            bytes[entry + 32] = UInt8(note.count)
        }
        return bytes + note
    }

    private let goNote: [UInt8] = [4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0x47, 0x6F, 0, 0, 1, 2, 3, 4]
    private let gnuNote: [UInt8] = [4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 0x47, 0x4E, 0x55, 0, 1, 2, 3, 4]

    @Test("what asks the C library can be reached, everything else has a reason")
    func reasons() throws {
        let own = try #require(ElfImage(image([3, 1])))
        #expect(ElfImage(image([1, 3, 4], note: gnuNote))?.whyUnreachable(from: own) == nil)
        #expect(try #require(ElfImage(image([1]))?.whyUnreachable(from: own)).contains("statically"))
        #expect(try #require(ElfImage(image([3, 4], note: goNote))?.whyUnreachable(from: own)).contains("Go"))
        let other = ElfImage(image([3, 1], machine: 183))
        #expect(try #require(other?.whyUnreachable(from: own)).contains("another kind of machine"))
    }

    @Test("a file that is cut off or full of nonsense is no program, or one without headers")
    func nonsense() {
        #expect(ElfImage([]) == nil)
        #expect(ElfImage(Array("#!/bin/sh\n".utf8)) == nil)
        let whole = image([3, 4], note: goNote)
        for length in 0..<whole.count { _ = ElfImage(Array(whole.prefix(length))) }
        for place in 0..<64 {
            var bytes = whole
            bytes[place] = 0xFF
            _ = ElfImage(bytes)
        }
    }

    @Test(
        "ranges of addresses as people write them",
        arguments: [
            ("10.0.0.0/8", 8), ("127.0.0.1", 32), ("::1", 128), ("fe80::/10", 10), ("0.0.0.0/0", 0),
            ("10.0.0.0/33", nil),
            ("::/129", nil), ("10.0.0.0/", nil), ("10.0.0.0/-1", nil), ("10.0.0.0/8/8", nil), ("localhost", nil),
            ("", nil),
        ] as [(String, Int?)])
    func ranges(_ text: String, _ bits: Int?) { #expect(AddressRange(text)?.bits == bits) }
}
