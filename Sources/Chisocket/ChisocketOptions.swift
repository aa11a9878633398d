// Names and options of a chisocket.
import CLinux
import Glibc

extension Chisocket {
    /// This end's address; nil before bind or connect.
    public var localAddress: ChisocketAddress? {
        get throws(ChisocketError) {
            try withDescriptor("getsockname") { d throws(ChisocketError) in
                try DescriptorCalls.names(d, daemon: daemon).local
            }
        }
    }

    /// The peer's address; nil before connect.
    public var remoteAddress: ChisocketAddress? {
        get throws(ChisocketError) {
            try withDescriptor("getpeername") { d throws(ChisocketError) in
                try DescriptorCalls.names(d, call: "getpeername", daemon: daemon).remote
            }
        }
    }

    /// TCP_NODELAY: small segments are sent at once (no Nagle, RFC 9293 3.7.4).
    public func setNoDelay(_ on: Bool) throws(ChisocketError) {
        try set(Int32(IPPROTO_TCP), TCP_NODELAY, Int32(on ? 1 : 0))
    }

    /// TCP_NODELAY as it is.
    public var noDelay: Bool {
        get throws(ChisocketError) { try get(Int32(IPPROTO_TCP), TCP_NODELAY) != 0 }
    }

    /// SO_REUSEADDR: bind to a port of which connections linger in TIME-WAIT.
    public func setReuseAddress(_ on: Bool) throws(ChisocketError) {
        try set(SOL_SOCKET, SO_REUSEADDR, Int32(on ? 1 : 0))
    }

    /// SO_REUSEADDR as it is.
    public var reuseAddress: Bool {
        get throws(ChisocketError) { try get(SOL_SOCKET, SO_REUSEADDR) != 0 }
    }

    /// SO_LINGER in seconds; 0 makes close a reset, nil leaves the close to the daemon.
    public func setLinger(seconds: Int32?) throws(ChisocketError) {
        try set(SOL_SOCKET, SO_LINGER, linger(l_onoff: seconds == nil ? 0 : 1, l_linger: seconds ?? 0))
    }

    /// SO_ERROR: the errno of what went wrong since last asked, 0 if nothing did.
    public func takeError() throws(ChisocketError) -> Int32 { try get(SOL_SOCKET, SO_ERROR) }

    private func set<Value: BitwiseCopyable>(_ level: Int32, _ name: Int32, _ value: Value) throws(ChisocketError) {
        try withDescriptor("setsockopt") { d throws(ChisocketError) in
            try withUnsafeBytes(of: value) { bytes throws(ChisocketError) in
                try DescriptorCalls.setOption(d, level: level, name: name, bytes, daemon: daemon)
            }
        }
    }

    private func get(_ level: Int32, _ name: Int32) throws(ChisocketError) -> Int32 {
        let bytes = try withDescriptor("getsockopt") { d throws(ChisocketError) in
            try DescriptorCalls.option(d, level: level, name: name, daemon: daemon)
        }
        guard bytes.count >= MemoryLayout<Int32>.size else {
            throw ChisocketError(errno: EPROTO, call: "getsockopt", context: "gave \(bytes.count) bytes")
        }
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
    }
}
