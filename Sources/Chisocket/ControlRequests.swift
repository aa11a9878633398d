// How a control record is filled in: in one place for the calls that block and those that tasks await.
import CLinux
import ControlRecords
import Glibc

extension chitcp_request {
    /// A request for `operation`; whoever sends it fills in which socket and call it is.
    init(
        _ operation: chitcp_operation, _ arguments: (Int32, Int32, Int32, Int32) = (0, 0, 0, 0),
        address: ChisocketAddress? = nil
    ) {
        self.init()
        self.operation = operation.rawValue
        argument = arguments
        if let address { self.address = address.record }
    }

    /// CHITCP_OP_SOCKET for a socket(2) with these arguments.
    /// - Throws: what socket(2) says to arguments that are none of ours.
    static func socket(
        domain: Int32, type: Int32, protocol number: Int32
    ) throws(ChisocketError) -> chitcp_request {
        let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        guard domain == AF_INET || domain == AF_INET6 else { throw ChisocketError(errno: EAFNOSUPPORT, call: "socket") }
        guard type & ~flags == Int32(SOCK_STREAM.rawValue) else {
            throw ChisocketError(errno: ESOCKTNOSUPPORT, call: "socket", context: "of type \(type & ~flags)")
        }
        guard number == 0 || number == Int32(IPPROTO_TCP) else {
            throw ChisocketError(errno: EPROTONOSUPPORT, call: "socket", context: "of protocol \(number)")
        }
        return chitcp_request(CHITCP_OP_SOCKET, (domain, Int32(SOCK_STREAM.rawValue), number, 0))
    }

    /// CHITCP_OP_SET_OPTION.
    static func setOption(
        level: Int32, name: Int32, _ value: UnsafeRawBufferPointer
    ) throws(ChisocketError) -> chitcp_request {
        guard value.count <= Int(CHITCP_DATA_MAX) else { throw ChisocketError(errno: EINVAL, call: "setsockopt") }
        var request = chitcp_request(CHITCP_OP_SET_OPTION, (level, name, 0, 0))
        request.data_length = UInt32(value.count)
        withUnsafeMutableBytes(of: &request.data) { $0.copyBytes(from: value) }
        return request
    }
}

extension chitcp_response {
    /// The bytes that came along.
    var bytes: [UInt8] {
        // Bounds: the length is the daemon's word, `prefix` keeps it inside the record.
        withUnsafeBytes(of: data) { Array($0.prefix(Int(data_length))) }
    }

    /// Throws what the daemon found wrong with the request.
    func check(_ call: String, _ context: @autoclosure () -> String = "") throws(ChisocketError) {
        guard result < 0 else { return }
        throw ChisocketError(errno: error == 0 ? EPROTO : error, call: call, context: context())
    }
}
