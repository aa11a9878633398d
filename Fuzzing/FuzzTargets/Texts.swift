// What people write: addresses, quantities, scripts.
import Impairments
import TCPDrill
import TCPSegments

func fuzzText(_ bytes: UnsafeRawBufferPointer) {
    let text = String(decoding: bytes, as: UTF8.self)
    if let address = IPAddress(text) {
        precondition(IPAddress("\(address)") == address, "\(text) became \(address)")
    }
    if let prefix = IPPrefix(text) {
        precondition(prefix.contains(prefix.address), "\(text) does not hold its own address")
    }
    if let share = Quantity.probability(text) { precondition((0...1_000_000).contains(share)) }
    if let size = Quantity.size(text) { precondition(size >= 0) }
    if let time = Quantity.time(text) { precondition(time >= .zero) }
}

/// Scripts are read and played. What they say may be wrong; time in them is virtual, but counting to a year takes long.
func fuzzDrill(_ bytes: UnsafeRawBufferPointer) {
    guard let script = try? DrillScript(String(decoding: bytes, as: UTF8.self), name: "fuzz") else { return }
    try? DrillRunner.run(script)
}
