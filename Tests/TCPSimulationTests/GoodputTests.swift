// The goodput matrix: small cells against the text that is checked in, and what must hold of the sender whatever the text says.
import Foundation
import TCPEngine
import TCPSegments
import TCPSimulation
import Testing

@Suite struct GoodputTests {
    @Test("the small cells give what is checked in, line by line; `goodput-matrix --small` prints them anew")
    func smallCells() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "GoodputSmall.txt")
        let expected = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
        let actual = try GoodputMatrix.smallTable().split(separator: "\n")
        #expect(actual.count == expected.count)
        for (new, old) in zip(actual, expected) { #expect(new == old) }
    }

    @Test("every algorithm fills a path without loss", arguments: CongestionControlAlgorithm.allCases)
    func fills(algorithm: CongestionControlAlgorithm) throws {
        let cell = GoodputCell(algorithm, loss: 0, delay: .milliseconds(10), queueTenths: 10, rate: 10_000_000)
        let result = try cell.run(warmUp: .seconds(5), measured: .seconds(5), seed: 3)
        #expect(result.share >= 940, "\(result)")
        #expect(result.timeouts == 0, "\(result)")
    }

    @Test(
        "a path that reorders slightly is used to 95 %: needless recoveries are avoided or taken back",
        arguments: CongestionControlAlgorithm.allCases)
    func slightlyReordering(algorithm: CongestionControlAlgorithm) throws {
        let cell = GoodputCell(
            algorithm, loss: 0, delay: .milliseconds(33), queueTenths: 10, disturbance: .slightly, rate: 10_000_000)
        let result = try cell.run(warmUp: .seconds(10), measured: .seconds(10), seed: 4)
        #expect(result.share >= 950, "\(result)")
    }

    @Test("what loss allows to an algorithm is the ideal where it is less than the link")
    func idealUnderLoss() throws {
        func ideal(_ algorithm: CongestionControlAlgorithm) throws -> Int64 {
            let cell = GoodputCell(
                algorithm, loss: 0, delay: .milliseconds(33), queueTenths: 10, disturbance: .slightly,
                rate: 100_000_000)
            return try cell.run(warmUp: .milliseconds(1), measured: .milliseconds(1), seed: 1).ideal
        }
        // 1448 bytes in 66.12 ms, times sqrt(3 / 2 * 0.00003); the links's 100 Mbit/s are 96.53 of payload.
        #expect((39_170_000...39_180_000).contains(try ideal(.reno)))
        #expect((59_200_000...59_500_000).contains(try ideal(.cubic)))
        #expect((96_520_000...96_540_000).contains(try ideal(.bbr)))
    }

    @Test("segments of any size fill a path", arguments: [536, 1460, 8960, 65_495] as [UInt16])
    func segmentSizes(size: UInt16) throws {
        for loss in [0, 1_000] {
            let cell = GoodputCell(
                .cubic, loss: loss, delay: .milliseconds(5), queueTenths: 40, rate: 100_000_000,
                maximumSegmentSize: size)
            let result = try cell.run(warmUp: .seconds(2), measured: .seconds(2), seed: 5)
            #expect(result.share >= (loss == 0 ? 950 : 700), "\(size) bytes, loss \(loss): \(result)")
        }
    }

    @Test(
        "a queue that marks in time drops nothing and stays short, whatever the algorithm and the feedback",
        arguments: CongestionControlAlgorithm.allCases, [ECNUse.classic, .accurate])
    func marks(algorithm: CongestionControlAlgorithm, ecn: ECNUse) throws {
        func run(_ ecn: ECNUse) throws -> GoodputCell.Result {
            let cell = GoodputCell(
                algorithm, loss: 0, delay: .milliseconds(10), queueTenths: 10, rate: 10_000_000, ecn: ecn,
                markTenths: 2)
            return try cell.run(warmUp: .seconds(5), measured: .seconds(10), seed: 7)
        }
        let marked = try run(ecn)
        #expect(marked.marked > 0 && marked.dropped == 0 && marked.retransmitted == 0, "\(marked)")
        #expect(marked.share >= 940, "\(marked)")
        // Who has not agreed to marks gets none, fills the queue and is told by losses.
        let unmarked = try run(.accept)
        #expect(unmarked.marked == 0 && unmarked.dropped > 0, "\(unmarked)")
        #expect(marked.queueing * 2 < unmarked.queueing, "\(marked.queueing) with marks, \(unmarked.queueing) without")
    }
}
