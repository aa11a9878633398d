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

    /// The bytes of all options.
    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withUnsafeBytes(of: storage) { body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }
}
