// What tests with several threads share.
import Chisocket
import Glibc
import Synchronization

extension Chisocket {
    /// Calls `body` whenever the chisocket can be written, until it was not for `milliseconds` or `body` returns false.
    func withPoll(for milliseconds: Int32, _ body: () -> Bool) {
        while true {
            var ready: Int32 = 0
            try? withDescriptor { descriptor throws(ChisocketError) in
                var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                ready = poll(&entry, 1, milliseconds)
            }
            guard ready > 0, body() else { return }
        }
    }
}

/// Counts from 0.
final class Counter: Sendable {
    private let value = Mutex(0)

    func next() -> Int {
        value.withLock { value in
            defer { value += 1 }
            return value
        }
    }
}

/// Numbers from 0 to 1 that follow from a seed.
final class SeededChoice: Sendable {
    private let state: Mutex<UInt64>

    init(_ seed: UInt64) { state = Mutex(seed) }

    func next() -> Double {
        state.withLock { state in
            // SplitMix64 (Steele, Lea, Flood, 2014).
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return Double((z ^ z >> 31) >> 11) / Double(1 << 53)
        }
    }
}
