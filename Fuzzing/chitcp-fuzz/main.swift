// Tries inputs on a target. Built by scripts/fuzz it is libFuzzer that makes them up; otherwise it plays those in files.
import FoundationEssentials
import FuzzTargets
import Glibc

func fail(_ sentence: String, _ code: Int32) -> Never {
    let line = sentence + "\n"
    _ = line.withCString { write(2, $0, strlen($0)) }
    exit(code)
}

let names = FuzzTarget.all.map(\.name).joined(separator: ", ")
guard CommandLine.arguments.count > 1, let target = FuzzTarget.named(CommandLine.arguments[1]) else {
    fail("usage: chitcp-fuzz TARGET [FILE|FOLDER…]; targets: \(names)", 2)
}

#if FUZZING
    /// libFuzzer's driver (LLVM's compiler-rt, fuzzer_no_main).
    @_silgen_name("LLVMFuzzerRunDriver")
    func runDriver(
        _ count: UnsafeMutablePointer<Int32>,
        _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
        _ one: @convention(c) (UnsafePointer<UInt8>, Int) -> Int32
    ) -> Int32

    // libFuzzer gets the arguments without the target's name.
    let chosen = target
    let given = [CommandLine.arguments[0], "-max_len=\(target.maximumLength)"] + CommandLine.arguments.dropFirst(2)
    var count = Int32(given.count)
    let list = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: given.count + 1)
    for (index, argument) in given.enumerated() { list[index] = strdup(argument) }
    list[given.count] = nil
    var arguments = list
    exit(
        runDriver(&count, &arguments) { bytes, length in
            chosen.run(UnsafeRawBufferPointer(start: bytes, count: length))
            return 0
        })
#else
    var played = 0
    for path in CommandLine.arguments.dropFirst(2) {
        let inside = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        for file in inside.isEmpty ? [path] : inside.map({ path + "/" + $0 }) {
            guard let data = FileManager.default.contents(atPath: file) else {
                fail("chitcp-fuzz: cannot read \(file)", 1)
            }
            print(file)
            data.withUnsafeBytes { target.run($0) }
            played += 1
        }
    }
    print("\(target.name): \(played) inputs played")
#endif
