// Bytes to header and back (RFC 9293 3.1). Total: no input traps.

/// Why bytes are not a TCP segment.
public enum SegmentError: Error, Hashable, Sendable {
    /// Fewer bytes than the header says, or than a header has at least.
    case truncated
    /// The data offset is below five words.
    case badDataOffset
    /// An option's length is below two, or runs past the header.
    case malformedOption
}

/// Decodes TCP segments.
public enum SegmentDecoder {
    /// The header at the beginning of `bytes`, and where the payload begins.
    public static func decode(
        _ bytes: UnsafeRawBufferPointer
    ) throws(SegmentError) -> (header: SegmentHeader, payloadOffset: Int) {
        var header = SegmentHeader.blank
        let offset = try decode(bytes, into: &header)
        return (header, offset)
    }

    /// As `decode`, into a header that is there already, whatever it holds. For loops over many segments: a copy of fields just
    /// written costs more than writing them (7 ns of 15).
    public static func decode(
        _ bytes: UnsafeRawBufferPointer, into header: inout SegmentHeader
    ) throws(SegmentError) -> Int {
        guard bytes.count >= 20, let base = bytes.baseAddress else { throw .truncated }
        let headerLength = Int(base.load(fromByteOffset: 12, as: UInt8.self) >> 4) * 4
        guard headerLength >= 20 else { throw .badDataOffset }
        guard headerLength <= bytes.count else { throw .truncated }
        // Bounds: all fixed fields lie in the first 20 bytes, which are there.
        let offsetAndBits = base.loadUnaligned(fromByteOffset: 12, as: UInt16.self).bigEndian
        header.sourcePort = base.loadUnaligned(fromByteOffset: 0, as: UInt16.self).bigEndian
        header.destinationPort = base.loadUnaligned(fromByteOffset: 2, as: UInt16.self).bigEndian
        header.sequenceNumber = SequenceNumber(base.loadUnaligned(fromByteOffset: 4, as: UInt32.self).bigEndian)
        header.acknowledgmentNumber = SequenceNumber(base.loadUnaligned(fromByteOffset: 8, as: UInt32.self).bigEndian)
        header.controlBits = ControlBits(rawValue: offsetAndBits & 0x1FF)
        header.window = WindowField(base.loadUnaligned(fromByteOffset: 14, as: UInt16.self).bigEndian)
        header.urgentPointer = base.loadUnaligned(fromByteOffset: 18, as: UInt16.self).bigEndian
        header.options.removeAll()
        if headerLength == 32,
            base.loadUnaligned(fromByteOffset: 20, as: UInt32.self).bigEndian == Self.alignedTimestamps
        {
            // Nearly every segment of a connection: timestamps alone, laid out as RFC 7323 appendix A says.
            header.options.timestamps = Timestamps(
                value: base.loadUnaligned(fromByteOffset: 24, as: UInt32.self).bigEndian,
                echoReply: base.loadUnaligned(fromByteOffset: 28, as: UInt32.self).bigEndian)
        } else if headerLength > 20 {
            try decodeOptions(UnsafeRawBufferPointer(rebasing: bytes[20..<headerLength]), into: &header.options)
        }
        return headerLength
    }

    /// NOP, NOP, and the beginning of a timestamps option (RFC 7323 appendix A).
    static var alignedTimestamps: UInt32 { 0x0101_080A }

    /// RFC 9293 3.1: End of Option List and No-Operation are single bytes, all others carry their length.
    private static func decodeOptions(
        _ bytes: UnsafeRawBufferPointer, into options: inout TCPOptions
    ) throws(SegmentError) {
        func u16(_ i: Int) -> UInt16 { UInt16(bytes[i]) << 8 | UInt16(bytes[i + 1]) }
        func u32(_ i: Int) -> UInt32 { UInt32(u16(i)) << 16 | UInt32(u16(i + 2)) }
        var i = 0
        while i < bytes.count {
            let kind = bytes[i]
            if kind == 0 { return }
            if kind == 1 {
                i += 1
                continue
            }
            guard i + 1 < bytes.count else { throw .malformedOption }
            let length = Int(bytes[i + 1])
            guard length >= 2, i + length <= bytes.count else { throw .malformedOption }
            switch (kind, length) {
            case (2, 4): options.maximumSegmentSize = u16(i + 2)
            case (3, 3): options.windowScale = bytes[i + 2]
            case (4, 2): options.sackPermitted = true
            case (8, 10): options.timestamps = Timestamps(value: u32(i + 2), echoReply: u32(i + 6))
            case (5, 10), (5, 18), (5, 26), (5, 34):
                for block in 0..<(length - 2) / 8 {
                    options.sackBlocks.append(
                        SequenceRange(
                            start: SequenceNumber(u32(i + 2 + block * 8)), end: SequenceNumber(u32(i + 6 + block * 8))))
                }
            default:
                options.unknown.append(UnsafeRawBufferPointer(rebasing: bytes[i..<(i + length)]))
            }
            i += length
        }
    }
}

extension SegmentHeader {
    /// Writes the header with its options to `target`, which has room for 60 bytes, with a checksum of 0. Returns how many
    /// bytes were written: a multiple of four. Options are written in the order MSS, window scale, SACK-permitted,
    /// timestamps, unknown, SACK; what would go beyond 40 bytes is left out. Timestamps alone follow two NOPs (RFC 7323
    /// appendix A).
    @discardableResult
    public func encode(into target: UnsafeMutableRawPointer) -> Int {
        putFixedFields(into: target)
        if options.hasOnlyTimestamps, let t = options.timestamps {
            target.storeBytes(of: SegmentDecoder.alignedTimestamps.bigEndian, toByteOffset: 20, as: UInt32.self)
            target.storeBytes(of: t.value.bigEndian, toByteOffset: 24, as: UInt32.self)
            target.storeBytes(of: t.echoReply.bigEndian, toByteOffset: 28, as: UInt32.self)
            putLength(32, into: target)
            return 32
        }
        let length = putOptions(into: target)
        putLength(length, into: target)
        return length
    }

    /// As `encode(into:)`, with the options in another layout.
    @discardableResult
    public func encode(into target: UnsafeMutableRawPointer, _ layout: OptionLayout) -> Int {
        guard layout != .compact else { return encode(into: target) }
        putFixedFields(into: target)
        var writer = AlignedOptionWriter(target: target)
        writer.put(options, layout)
        putLength(writer.end, into: target)
        return writer.end
    }

    /// Everything in the first 20 bytes but the data offset; the checksum is 0.
    private func putFixedFields(into target: UnsafeMutableRawPointer) {
        target.storeBytes(of: sourcePort.bigEndian, toByteOffset: 0, as: UInt16.self)
        target.storeBytes(of: destinationPort.bigEndian, toByteOffset: 2, as: UInt16.self)
        target.storeBytes(of: sequenceNumber.value.bigEndian, toByteOffset: 4, as: UInt32.self)
        let ack = controlBits.contains(.ack) ? acknowledgmentNumber.value : 0
        target.storeBytes(of: ack.bigEndian, toByteOffset: 8, as: UInt32.self)
        target.storeBytes(of: window.value.bigEndian, toByteOffset: 14, as: UInt16.self)
        target.storeBytes(of: 0, toByteOffset: 16, as: UInt16.self)
        target.storeBytes(of: urgentPointer.bigEndian, toByteOffset: 18, as: UInt16.self)
    }

    /// The data offset and the control bits.
    private func putLength(_ length: Int, into target: UnsafeMutableRawPointer) {
        let offsetAndBits = UInt16(truncatingIfNeeded: length / 4) << 12 | controlBits.rawValue & 0x1FF
        target.storeBytes(of: offsetAndBits.bigEndian, toByteOffset: 12, as: UInt16.self)
    }

    /// Writes the options from byte 20 on; returns where they end.
    private func putOptions(into target: UnsafeMutableRawPointer) -> Int {
        var end = 20
        func put8(_ v: UInt8) {
            target.storeBytes(of: v, toByteOffset: end, as: UInt8.self)
            end += 1
        }
        func put16(_ v: UInt16) {
            target.storeBytes(of: v.bigEndian, toByteOffset: end, as: UInt16.self)
            end += 2
        }
        func put32(_ v: UInt32) {
            target.storeBytes(of: v.bigEndian, toByteOffset: end, as: UInt32.self)
            end += 4
        }
        if let mss = options.maximumSegmentSize {
            put16(0x0204)
            put16(mss)
        }
        if let scale = options.windowScale {
            put16(0x0303)
            put8(scale)
        }
        if options.sackPermitted { put16(0x0402) }
        if let t = options.timestamps {
            put16(0x080A)
            put32(t.value)
            put32(t.echoReply)
        }
        if options.unknown.count > 0, end + options.unknown.count <= 60 {
            options.unknown.withBytes { bytes in for byte in bytes { put8(byte) } }
        }
        let blocks = min(options.sackBlocks.count, (60 - end - 2) / 8)
        if blocks > 0 {
            put8(5)
            put8(UInt8(2 + 8 * blocks))
            for i in 0..<blocks {
                put32(options.sackBlocks[i].start.value)
                put32(options.sackBlocks[i].end.value)
            }
        }
        while end & 3 != 0 { put8(0) }
        return end
    }
}

extension SegmentHeader: CustomStringConvertible {
    /// Flags as tcpdump writes them, e.g. `S.` for SYN and ACK.
    public var flagLetters: String {
        var s = ""
        let letters: [(ControlBits, String)] = [
            (.fin, "F"), (.syn, "S"), (.rst, "R"), (.psh, "P"), (.ack, "."), (.urg, "U"), (.ece, "E"), (.cwr, "W"),
            (.ae, "e"),
        ]
        for (bit, letter) in letters where controlBits.contains(bit) { s += letter }
        return s.isEmpty ? "none" : s
    }

    /// One line like tcpdump's.
    public var description: String {
        var s = "\(sourcePort) > \(destinationPort) [\(flagLetters)] seq \(sequenceNumber)"
        if controlBits.contains(.ack) { s += " ack \(acknowledgmentNumber)" }
        s += " win \(window.value)"
        if let mss = options.maximumSegmentSize { s += " mss \(mss)" }
        if let scale = options.windowScale { s += " wscale \(scale)" }
        return s
    }
}
