// Names and options of a chisocket, by blocking calls.
import CLinux
import Glibc

extension Chisocket {
    /// This end's address; nil before bind or connect.
    public var localAddress: ChisocketAddress? {
        get throws(ChisocketError) {
            if let known = connectedNames { return known.local }
            return try withDescriptor("getsockname") { d throws(ChisocketError) in
                try DescriptorCalls.names(d, daemon: daemon).local
            }
        }
    }

    /// The peer's address; nil before connect.
    public var remoteAddress: ChisocketAddress? {
        get throws(ChisocketError) {
            if let known = connectedNames { return known.remote }
            return try withDescriptor("getpeername") { d throws(ChisocketError) in
                try DescriptorCalls.names(d, call: "getpeername", daemon: daemon).remote
            }
        }
    }

    /// Sets an option.
    public func set<Value>(_ option: ChisocketOption<Value>, to value: Value) throws(ChisocketError) {
        let bytes = option.encode(value)
        try withDescriptor("setsockopt") { d throws(ChisocketError) in
            let result = bytes.withUnsafeBytes { bytes in
                Result { () throws(ChisocketError) in
                    try DescriptorCalls.setOption(d, level: option.level, name: option.name, bytes, daemon: daemon)
                }
            }
            try result.get()
        }
    }

    /// An option as it is.
    public func value<Value>(of option: ChisocketOption<Value>) throws(ChisocketError) -> Value {
        try option.value(
            in: try withDescriptor("getsockopt") { d throws(ChisocketError) in
                try DescriptorCalls.option(d, level: option.level, name: option.name, daemon: daemon)
            })
    }

    /// SO_ERROR: the errno of what went wrong since last asked, 0 if nothing did.
    public func takeError() throws(ChisocketError) -> Int32 {
        let bytes = try withDescriptor("getsockopt") { d throws(ChisocketError) in
            try DescriptorCalls.option(d, level: SOL_SOCKET, name: SO_ERROR, daemon: daemon)
        }
        guard bytes.count >= MemoryLayout<Int32>.size else {
            throw ChisocketError(errno: EPROTO, call: "getsockopt", context: "gave \(bytes.count) bytes")
        }
        return bytes.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
    }
}
