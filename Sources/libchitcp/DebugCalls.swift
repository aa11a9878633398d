// chitcp/debug_api.h: the debug calls, with C's structs for Chisocket's values.
import CChitcp
import Chisocket
import Glibc

/// The handler of one chitcpd_debug call, and the states it has kept, by the daemon's socket numbers. Used by the thread of
/// its session alone.
private final class DebugHandler {
    let function: debug_event_handler
    private var saved: [Int32: UnsafeMutablePointer<debug_socket_state_t>] = [:]
    /// The socket whose event the handler is at.
    private var current: Int32 = -1
    /// States that were replaced while a handler may still look at them.
    private var replaced: [UnsafeMutablePointer<debug_socket_state_t>] = []

    init(_ function: @escaping debug_event_handler) { self.function = function }

    deinit { for state in saved.values { state.discard() } }

    /// The handler of the session whose thread this is.
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        let result = pthread_key_create(&key, nil)
        precondition(result == 0, "a process has 1024 thread-specific keys, and one is wanted here")
        return key
    }()

    /// The handler that runs on this thread, if one does.
    static var running: DebugHandler? {
        pthread_getspecific(key).map { Unmanaged<DebugHandler>.fromOpaque($0).takeUnretainedValue() }
    }

    func answer(_ moment: DebugMoment) -> Int32 {
        current = moment.number
        let state = moment.variables.flatMap { debug_socket_state_t.make($0) }
        // Without memory for the state there is no way to ask the handler.
        if moment.variables != nil, state == nil { return Int32(DBG_RESP_NONE.rawValue) }
        pthread_setspecific(Self.key, Unmanaged.passUnretained(self).toOpaque())
        let response = function(
            moment.descriptor, chitcpd_debug_event(rawValue: UInt32(bitPattern: moment.event)), state,
            state == nil ? nil : saved[moment.number], moment.newDescriptor)
        pthread_setspecific(Self.key, nil)
        state?.discard()
        for old in replaced { old.discard() }
        replaced = []
        return Int32(bitPattern: response.rawValue)
    }

    /// 0 or an errno.
    func save(_ state: UnsafeMutablePointer<debug_socket_state_t>?) -> Int32 {
        var copy: UnsafeMutablePointer<debug_socket_state_t>?
        if let state {
            copy = state.pointee.copy()
            if copy == nil { return ENOMEM }
        }
        if let old = saved[current] { replaced.append(old) }
        saved[current] = copy
        return 0
    }
}

extension debug_socket_state_t {
    /// One on C's heap, with its buffers; nil without memory.
    fileprivate static func make(_ variables: SocketVariables) -> UnsafeMutablePointer<debug_socket_state_t>? {
        var state = debug_socket_state_t()
        state.tcp_state = tcp_state_t(rawValue: UInt32(bitPattern: variables.state))
        state.ISS = variables.iss
        state.IRS = variables.irs
        state.SND_UNA = variables.sendUnacknowledged
        state.RCV_NXT = variables.receiveNext
        state.SND_NXT = variables.sendNext
        state.RCV_WND = variables.receiveWindow
        state.SND_WND = variables.sendWindow
        guard let buffers = variables.buffers else { return state.onHeap(send: nil, recv: nil) }
        return buffers.send.withUnsafeBytes { send in
            buffers.receive.withUnsafeBytes { recv in state.onHeap(send: send, recv: recv) }
        }
    }

    /// A copy on C's heap, with copies of its buffers; nil without memory.
    fileprivate func copy() -> UnsafeMutablePointer<debug_socket_state_t>? {
        onHeap(
            send: send.map { UnsafeRawBufferPointer(start: $0, count: Int(max(0, send_len))) },
            recv: recv.map { UnsafeRawBufferPointer(start: $0, count: Int(max(0, recv_len))) })
    }

    private func onHeap(
        send: UnsafeRawBufferPointer?, recv: UnsafeRawBufferPointer?
    ) -> UnsafeMutablePointer<debug_socket_state_t>? {
        guard let place = malloc(MemoryLayout<Self>.size) else { return nil }
        let state = place.initializeMemory(as: Self.self, to: self)
        (state.pointee.send, state.pointee.send_len) = Self.bytesOnHeap(send)
        (state.pointee.recv, state.pointee.recv_len) = Self.bytesOnHeap(recv)
        if send != nil, state.pointee.send == nil || recv != nil && state.pointee.recv == nil {
            state.discard()
            return nil
        }
        return state
    }

    /// A copy of the bytes, not NULL even if there are none; NULL for nil.
    private static func bytesOnHeap(_ bytes: UnsafeRawBufferPointer?) -> (UnsafeMutablePointer<UInt8>?, Int32) {
        guard let bytes, let place = malloc(max(1, bytes.count)) else { return (nil, 0) }
        // Bounds: the block has at least bytes.count bytes.
        if let base = bytes.baseAddress { place.copyMemory(from: base, byteCount: bytes.count) }
        return (place.assumingMemoryBound(to: UInt8.self), Int32(clamping: bytes.count))
    }
}

extension UnsafeMutablePointer<debug_socket_state_t> {
    /// Frees the state and its buffers.
    fileprivate func discard() {
        free(pointee.send)
        free(pointee.recv)
        free(self)
    }
}

/// Sets breakpoints.
@c @implementation
public func chitcpd_debug(_ sockfd: Int32, _ event_flags: Int32, _ handler: debug_event_handler?) -> Int32 {
    answer { () throws(ChisocketError) in
        guard let handler else {
            throw ChisocketError(errno: EINVAL, call: "chitcpd_debug", context: "without handler")
        }
        let asked = DebugHandler(handler)
        try DebugSession.start(on: sockfd, events: event_flags) { asked.answer($0) }
        return 0
    }
}

/// Keeps a state for the next calls of the running handler.
@c @implementation
public func chitcpd_debug_save_socket_state(_ state: UnsafeMutablePointer<debug_socket_state_t>?) -> Int32 {
    DebugHandler.running?.save(state) ?? EINVAL
}

/// A socket's state on C's heap.
@c @implementation
public func chitcpd_get_socket_state(
    _ sockfd: Int32, _ include_buffers: bool_t
) -> UnsafeMutablePointer<debug_socket_state_t>? {
    var state: UnsafeMutablePointer<debug_socket_state_t>?
    _ = answer { () throws(ChisocketError) -> Int32 in
        let number = try DescriptorNumbers.number(of: sockfd)
        let variables = try SocketInquiry.variables(of: number, withBuffers: include_buffers != 0)
        state = debug_socket_state_t.make(variables)
        guard state != nil else { throw ChisocketError(errno: ENOMEM, call: "chitcpd_get_socket_state") }
        return 0
    }
    return state
}

/// Waits for a state.
@c @implementation
public func chitcpd_wait_for_state(_ sockfd: Int32, _ tcp_state: tcp_state_t) -> Int32 {
    answer { () throws(ChisocketError) in
        try SocketInquiry.waitForState(
            Int32(bitPattern: tcp_state.rawValue), of: DescriptorNumbers.number(of: sockfd))
        return 0
    }
}

/// The daemon's number of a chisocket.
@c @implementation
public func chitcp_socket_number(_ sockfd: Int32) -> Int32 {
    answer { () throws(ChisocketError) in try DescriptorNumbers.number(of: sockfd) }
}

/// Waits for a state of the socket with that number.
@c @implementation
public func chitcp_wait_for_state_of_number(_ number: Int32, _ tcp_state: tcp_state_t) -> Int32 {
    answer { () throws(ChisocketError) in
        try SocketInquiry.waitForState(Int32(bitPattern: tcp_state.rawValue), of: number)
        return 0
    }
}
