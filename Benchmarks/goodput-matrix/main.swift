// Prints the goodput matrix: all of it, as checked in at Documentation/GoodputMatrix.txt, or only the rows whose name contains
// each of the arguments. `--small` prints the cells that `swift test` compares.
import Glibc
import TCPSegments
import TCPSimulation

let arguments = Array(CommandLine.arguments.dropFirst())

if arguments == ["--small"] {
    print(try GoodputMatrix.smallTable(), terminator: "")
} else {
    print(GoodputMatrix.introduction)
    for table in GoodputMatrix.tables {
        print("\n\(table.title)\n\n\(GoodputMatrix.heading)")
        for cell in table.cells where arguments.allSatisfy({ GoodputMatrix.name(of: cell).contains($0) }) {
            print(try GoodputMatrix.row(for: cell, warmUp: GoodputMatrix.warmUp(for: cell), measured: table.measured))
            // Rows are of interest as they come.
            fflush(nil)
        }
    }
}
