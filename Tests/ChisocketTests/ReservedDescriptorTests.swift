// Descriptor numbers promised to debug handlers.
import Glibc
import Testing

@testable import Chisocket

@Suite("Reserved descriptors")
struct ReservedDescriptorTests {
    /// A descriptor of a pipe, as an accepted connection, and its other end.
    private func connection() throws -> (descriptor: Int32, other: Int32) {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        return (ends[0], ends[1])
    }

    @Test("an accepted connection moves to the number that was promised for it, once")
    func moves() throws {
        let daemonID: UInt64 = 0xa1
        let promised = ReservedDescriptors.reserve(number: 4, daemonID: daemonID)
        #expect(promised >= 0)
        #expect(ReservedDescriptors.reserve(number: 4, daemonID: daemonID) == promised)
        #expect(ReservedDescriptors.number(at: promised) == 4)
        let (descriptor, other) = try connection()
        #expect(ReservedDescriptors.move(descriptor, number: 4, daemonID: daemonID) == promised)
        #expect(write(other, [7] as [UInt8], 1) == 1)
        var byte: UInt8 = 0
        #expect(read(promised, &byte, 1) == 1 && byte == 7)
        #expect(fcntl(promised, F_GETFD) == FD_CLOEXEC)
        #expect(ReservedDescriptors.number(at: promised) == nil)
        let (next, nextOther) = try connection()
        #expect(ReservedDescriptors.move(next, number: 4, daemonID: daemonID) == next)
        for open in [promised, other, next, nextOther] { close(open) }
    }

    @Test("a connection of another socket or daemon keeps its number")
    func others() throws {
        let promised = ReservedDescriptors.reserve(number: 4, daemonID: 0xa2)
        let (descriptor, other) = try connection()
        #expect(ReservedDescriptors.move(descriptor, number: 5, daemonID: 0xa2) == descriptor)
        #expect(ReservedDescriptors.move(descriptor, number: 4, daemonID: 0xa3) == descriptor)
        ReservedDescriptors.release(numbers: [4], daemonID: 0xa2)
        #expect(ReservedDescriptors.number(at: promised) == nil)
        for open in [descriptor, other] { close(open) }
    }

    @Test("a number that the program has used for something else is left to it")
    func taken() throws {
        let promised = ReservedDescriptors.reserve(number: 4, daemonID: 0xa4)
        let (mine, mineOther) = try connection()
        #expect(dup2(mine, promised) == promised)
        #expect(ReservedDescriptors.number(at: promised) == nil)
        let (descriptor, other) = try connection()
        #expect(ReservedDescriptors.move(descriptor, number: 4, daemonID: 0xa4) == descriptor)
        // The program's own descriptor still is what it made of it.
        #expect(write(mineOther, [9] as [UInt8], 1) == 1)
        var byte: UInt8 = 0
        #expect(read(promised, &byte, 1) == 1 && byte == 9)
        for open in [promised, mine, mineOther, descriptor, other] { close(open) }
    }
}
