// Inline storage of SACK blocks and of options that are only carried along.

extension SACKBlocks {
    /// Adds a block. False if there are four already.
    @discardableResult
    public mutating func append(_ block: SequenceRange) -> Bool {
        guard count < 4 else { return false }
        storage[count] = block
        used += 1
        return true
    }

    /// Block `index`, which must be below `count`.
    public subscript(index: Int) -> SequenceRange {
        precondition(index >= 0 && index < count, "there are \(count) SACK blocks")
        return storage[index]
    }
}

extension UnknownOptions {
    /// Adds a whole option. What goes beyond 40 bytes is not kept: no header holds more.
    public mutating func append(_ option: UnsafeRawBufferPointer) {
        guard count + option.count <= 40 else { return }
        for byte in option {
            storage[count] = byte
            used += 1
        }
    }

    /// What follows kind and length of the first option of this kind, written to `target` as far as it fits; nil if there is
    /// none. The options are whole, as the decoder keeps no others.
    public func value(ofKind kind: UInt8, into target: inout InlineArray<9, UInt8>) -> Int? {
        var at = 0
        while at + 1 < count {
            let length = Int(storage[at + 1])
            guard length >= 2, at + length <= count else { return nil }
            if storage[at] == kind {
                let bytes = min(length - 2, 9)
                for i in 0..<bytes { target[i] = storage[at + 2 + i] }
                return bytes
            }
            at += length
        }
        return nil
    }

    /// The bytes of all options.
    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withUnsafeBytes(of: storage) { body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }
}
