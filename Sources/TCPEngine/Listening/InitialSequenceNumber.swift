// Initial sequence numbers (RFC 6528) and the offsets of ephemeral ports (RFC 6056), both from one secret.
import TCPSegments

/// The host's secret and what is derived from it.
struct Secrets {
    private let hash: SipHash
    private let portHash: SipHash
    /// Mixes the demultiplexing table's keys.
    let tableKey: UInt64
    /// The key of Fast Open's cookies, where none is configured.
    let fastOpenKey: FastOpenKey
    let synCookies: SynCookies

    init(seed: UInt64) {
        var state = seed
        // SplitMix64: the seed comes from the caller, so that a simulation can be repeated.
        func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
        hash = SipHash(k0: next(), k1: next())
        portHash = SipHash(k0: next(), k1: next())
        tableKey = next()
        fastOpenKey = FastOpenKey(k0: next(), k1: next())
        synCookies = SynCookies(SipHash(k0: next(), k1: next()), SipHash(k0: next(), k1: next()))
    }

    /// RFC 6528 3: ISN = M + F(localip, localport, remoteip, remoteport, secretkey), M a 4-microsecond clock.
    func initialSequenceNumber(for tuple: FourTuple, at now: Instant) -> SequenceNumber {
        let f = hash.hash(
            tuple.local.address.high, tuple.local.address.low, tuple.remote.address.high, tuple.remote.address.low,
            UInt64(tuple.local.port) << 16 | UInt64(tuple.remote.port))
        let m = UInt64(bitPattern: now.nanoseconds) / 4_000
        return SequenceNumber(UInt32(truncatingIfNeeded: m &+ f))
    }

    /// RFC 7323 5.4: the offset of the timestamp clock, the same for every incarnation of a connection, so that a new one
    /// continues where the old one ended (RFC 6191).
    func timestampOffset(for tuple: FourTuple) -> UInt32 {
        UInt32(
            truncatingIfNeeded: portHash.hash(
                tuple.local.address.high, tuple.local.address.low, tuple.remote.address.high, tuple.remote.address.low,
                UInt64(tuple.local.port) << 16 | UInt64(tuple.remote.port), 4))
    }

    /// RFC 6056 3.3.4, the F and G of algorithm 4.
    func portOffset(local: IPAddress, remote: Endpoint, salt: UInt64) -> UInt64 {
        portHash.hash(local.high, local.low, remote.address.high, remote.address.low, UInt64(remote.port), salt)
    }
}
