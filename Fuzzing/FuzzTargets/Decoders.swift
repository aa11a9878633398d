// The decoders: bytes from a peer, a router or a client. What they accept, they also write, and read again as the same.
import DaemonProtocol
import NetworkLayer
import TCPSegments

func fuzzSegment(_ bytes: UnsafeRawBufferPointer) {
    guard let (header, offset) = try? SegmentDecoder.decode(bytes) else { return }
    precondition((20...60).contains(offset) && offset <= bytes.count, "the payload begins at \(offset)")
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 4) { space in
        guard let base = space.baseAddress else { return }
        let length = header.encode(into: base)
        precondition(length == header.encodedLength, "\(length) bytes written, \(header.encodedLength) announced")
        let written = UnsafeRawBufferPointer(start: base, count: length)
        guard let (again, end) = try? SegmentDecoder.decode(written) else {
            preconditionFailure("cannot read what was written for \(header)")
        }
        precondition(end == length)
        precondition(
            again.sourcePort == header.sourcePort && again.destinationPort == header.destinationPort
                && again.sequenceNumber == header.sequenceNumber && again.controlBits == header.controlBits
                && again.window == header.window && again.urgentPointer == header.urgentPointer,
            "\(header) became \(again)")
        precondition(
            again.options.maximumSegmentSize == header.options.maximumSegmentSize
                && again.options.windowScale == header.options.windowScale
                && again.options.sackPermitted == header.options.sackPermitted
                && again.options.timestamps?.value == header.options.timestamps?.value
                && again.options.timestamps?.echoReply == header.options.timestamps?.echoReply,
            "options of \(header) became those of \(again)")
        // A second time nothing changes any more.
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 4) { second in
            guard let target = second.baseAddress else { return }
            let count = again.encode(into: target)
            precondition(
                count == length && UnsafeRawBufferPointer(start: target, count: count).elementsEqual(written),
                "\(again) is written in two ways")
        }
    }
}

/// The first byte says where the stream is cut; both halves together have to give what the whole gives.
func fuzzFrames(_ bytes: UnsafeRawBufferPointer) {
    var input = FuzzInput(bytes)
    let cut = Int(input.byte()) << 3
    let stream = input.rest()
    func frames(_ part: UnsafeRawBufferPointer, _ found: inout [[UInt8]]) -> Int? {
        var payloads: [[UInt8]] = []
        let used = try? FrameParser.parse(part) { payloads.append(Array($0)) }
        found += payloads
        if let used { precondition((0...part.count).contains(used), "\(used) of \(part.count) bytes used") }
        return used
    }
    var whole: [[UInt8]] = []
    let used = frames(stream, &whole)
    var parts: [[UInt8]] = []
    let first = UnsafeRawBufferPointer(rebasing: stream.prefix(cut))
    if let begun = frames(first, &parts) {
        let end = frames(UnsafeRawBufferPointer(rebasing: stream.dropFirst(begun)), &parts)
        precondition((end.map { $0 + begun }) == used, "a cut at \(cut) changes where the frames end")
    } else {
        precondition(used == nil, "only the beginning is malformed")
    }
    precondition(whole == parts, "a cut at \(cut) changes the frames")
}

func fuzzIP(_ bytes: UnsafeRawBufferPointer) {
    guard let (header, payload) = try? IPHeader.decode(bytes) else { return }
    precondition(payload.lowerBound >= 20 && payload.upperBound <= bytes.count, "the payload is \(payload)")
    precondition(header.isIPv4 == header.source.isIPv4 && header.isIPv4 == header.destination.isIPv4)
    guard payload.count <= 1000 else { return }
    var packet = [UInt8](repeating: 0, count: (header.isIPv4 ? 20 : 40) + payload.count)
    packet.withUnsafeMutableBytes {
        guard let base = $0.baseAddress else { return }
        header.encode(payloadLength: payload.count, into: base)
    }
    guard let (again, place) = packet.withUnsafeBytes({ try? IPHeader.decode($0) }) else {
        preconditionFailure("cannot read what was written for \(header)")
    }
    precondition(
        again.source == header.source && again.destination == header.destination && again.ecn == header.ecn
            && again.protocolNumber == header.protocolNumber && place.count == payload.count,
        "\(header) became \(again)")
}

/// An ICMP message in an IP packet whose checksums are mended, so that what they protect is reached.
func fuzzICMP(_ bytes: UnsafeRawBufferPointer) {
    var input = FuzzInput(bytes)
    let isIPv4 = input.byte() & 1 == 0
    let source = isIPv4 ? IPAddress(192, 0, 2, 1) : IPAddress(high: 0xfd00 << 48, low: 1)
    let destination = isIPv4 ? IPAddress(192, 0, 2, 2) : IPAddress(high: 0xfd00 << 48, low: 2)
    let header = IPHeader(source: source, destination: destination, protocolNumber: isIPv4 ? 1 : 58)
    var message = [UInt8](input.rest())
    guard message.count >= 4 else { return }
    message[2] = 0
    message[3] = 0
    var sum = InternetChecksum()
    if !isIPv4 {
        sum.addPseudoHeader(from: source, to: destination, length: message.count, protocolNumber: 58)
    }
    message.withUnsafeBytes { sum.add($0) }
    message[2] = UInt8(sum.value >> 8)
    message[3] = UInt8(sum.value & 0xFF)
    let decoded = message.withUnsafeBytes { ICMPMessage.decode($0, header) }
    if decoded == .echoRequest {
        let reply = message.withUnsafeBytes { ICMPMessage.echoReply(to: $0, header) }
        precondition(reply.count == message.count)
        let answer = IPHeader(source: destination, destination: source, protocolNumber: header.protocolNumber)
        precondition(reply.withUnsafeBytes { ICMPMessage.decode($0, answer) } != nil, "the echo is malformed")
    }
}

/// The first byte says in which pieces the stream of chiTCP's messages arrives.
func fuzzMessages(_ bytes: UnsafeRawBufferPointer) {
    var input = FuzzInput(bytes)
    let piece = max(1, Int(input.byte()))
    var pieces = MessageFrames()
    var whole = MessageFrames()
    let stream = input.rest()
    whole.append(stream)
    var expected: [ChitcpdMsg] = []
    var isMalformed = false
    do { while let message = try whole.next() { expected.append(message) } } catch { isMalformed = true }
    var found: [ChitcpdMsg] = []
    do {
        var at = 0
        while at < stream.count {
            let end = min(at + piece, stream.count)
            pieces.append(UnsafeRawBufferPointer(rebasing: stream[at..<end]))
            at = end
            while let message = try pieces.next() { found.append(message) }
        }
        precondition(!isMalformed, "malformed at once, and well in pieces of \(piece)")
    } catch { precondition(isMalformed, "malformed in pieces of \(piece) only") }
    precondition(found == expected, "pieces of \(piece) change the messages")
}
