// CPU for bulk data: everything between the application that sends and the one that receives.
import TCPEngine
import TCPSegments

struct TransferFigures {
    /// CPU nanoseconds for each 1460 bytes delivered.
    var perSegment: Double
    var segmentsPerTransmission: Double
    var acknowledgmentsPer100: Double
}

/// Sends `total` bytes over a new connection.
func transfer(window: Int, wire: Wire, total: Int) throws -> TransferFigures {
    let pair = Pair(window: window, wire: wire)
    let listener = try pair.server.listen(on: Endpoint(pair.serverAddress, 7), backlog: 1)
    let (sender, receiver) = try pair.connect(to: 7, listener)
    let source = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    let sink = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    defer {
        source.deallocate()
        sink.deallocate()
    }
    for index in 0..<source.count { source[index] = UInt8(truncatingIfNeeded: index) }
    let before = (pair.dataSegments, pair.acknowledgments, pair.transmissions)
    var sent = 0
    var received = 0
    let start = cpuTime()
    while received < total {
        pair.now = pair.now + .microseconds(20)
        let before = sent + received
        if sent < total {
            let piece = UnsafeRawBufferPointer(rebasing: source[..<min(source.count, total - sent)])
            sent += try pair.client.send(sender, piece, at: pair.now)
        }
        try pair.settle()
        while true {
            let count = pair.server.receive(receiver, into: sink, at: pair.now)
            if count == 0 { break }
            received += count
        }
        try pair.settle()
        if sent + received == before { pair.skipToNextTimeout() }
        pair.handleTimeouts()
    }
    let elapsed = Double(cpuTime() - start)
    let data = Double(pair.dataSegments - before.0)
    return TransferFigures(
        perSegment: elapsed * Double(segmentSize) / Double(total),
        segmentsPerTransmission: data / Double(pair.transmissions - before.2),
        acknowledgmentsPer100: 100 * Double(pair.acknowledgments - before.1) / data)
}
