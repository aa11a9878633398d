// Prints the goodput matrix: all of it, as checked in at Documentation/GoodputMatrix.txt, or only the rows whose name contains
// each of the arguments. `--small` prints the cells that `swift test` compares.
import Glibc
import TCPSegments
import TCPSimulation

let arguments = Array(CommandLine.arguments.dropFirst())

func printTable(_ title: String, _ cells: [GoodputCell]) throws {
    print(title + "\n")
    print(GoodputMatrix.heading)
    for cell in cells where arguments.allSatisfy({ GoodputMatrix.name(of: cell).contains($0) }) {
        print(try GoodputMatrix.row(for: cell, warmUp: GoodputMatrix.warmUp(for: cell), measured: .seconds(10)))
        // Rows are of interest as they come.
        fflush(nil)
    }
    print("")
}

if arguments == ["--small"] {
    print(try GoodputMatrix.smallTable(), terminator: "")
} else {
    try printTable("Bulk flows over 10 virtual seconds after warm-up, MSS 1460.", GoodputMatrix.cells)
    try printTable(
        "The same over a path that reorders slightly: 1 % by a quarter of the round trip, loss 0.003 %.",
        GoodputMatrix.reorderingCells)
}
