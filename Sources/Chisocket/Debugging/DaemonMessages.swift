// The messages of chiTCP's protocol that debugging needs: `ChitcpdMsg` in proto2, by field numbers.

/// `ChitcpdMsgCode`.
private enum MessageCode {
    static let initialize: Int32 = 0
    static let getSocketState: Int32 = 9
    static let getSocketBufferContents: Int32 = 10
    static let response: Int32 = 11
    static let debugEvent: Int32 = 13
    static let waitForState: Int32 = 14
}

/// Messages to the daemon, encoded.
enum DaemonRequest {
    /// The first message on a command connection.
    static var initialize: [UInt8] {
        var arguments = ProtobufWriter()
        arguments.write(0, field: 1)
        return message(MessageCode.initialize, arguments, field: 2)
    }

    /// The first message on a debug connection: breakpoints of socket `number` for `events`.
    static func debug(_ number: Int32, events: Int32) -> [UInt8] {
        var debug = ProtobufWriter()
        debug.write(number, field: 1)
        debug.write(events, field: 2)
        var arguments = ProtobufWriter()
        arguments.write(1, field: 1)
        arguments.write(debug, field: 2)
        return message(MessageCode.initialize, arguments, field: 2)
    }

    /// Asks for a socket's variables.
    static func socketState(of number: Int32) -> [UInt8] {
        message(MessageCode.getSocketState, socketArguments(number), field: 11)
    }

    /// Asks for the bytes in a socket's buffers.
    static func bufferContents(of number: Int32) -> [UInt8] {
        message(MessageCode.getSocketBufferContents, socketArguments(number), field: 12)
    }

    /// Answered when the socket is in `state`.
    static func waitForState(_ state: Int32, of number: Int32) -> [UInt8] {
        var arguments = socketArguments(number)
        arguments.write(state, field: 2)
        return message(MessageCode.waitForState, arguments, field: 15)
    }

    /// The answer to a debug event.
    static func response(_ value: Int32) -> [UInt8] {
        var response = ProtobufWriter()
        response.write(value, field: 1)
        response.write(0, field: 2)
        return message(MessageCode.response, response, field: 13)
    }

    private static func socketArguments(_ number: Int32) -> ProtobufWriter {
        var arguments = ProtobufWriter()
        arguments.write(number, field: 1)
        return arguments
    }

    private static func message(_ code: Int32, _ arguments: ProtobufWriter, field: Int) -> [UInt8] {
        var message = ProtobufWriter()
        message.write(code, field: 1)
        message.write(arguments, field: field)
        return message.bytes
    }
}

/// A connection's variables (RFC 9293 3.3.1), and its buffers if they were asked for.
package struct SocketVariables: Equatable, Sendable {
    /// The state, by chiTCP's numbers.
    package var state: Int32 = 0
    package var iss: UInt32 = 0
    package var irs: UInt32 = 0
    package var sendUnacknowledged: UInt32 = 0
    package var receiveNext: UInt32 = 0
    package var sendNext: UInt32 = 0
    package var receiveWindow: UInt32 = 0
    package var sendWindow: UInt32 = 0
    /// Bytes not yet acknowledged or not yet sent, and bytes received and not yet read; nil if not asked for.
    package var buffers: (send: [UInt8], receive: [UInt8])?

    package init() {}

    package static func == (a: SocketVariables, b: SocketVariables) -> Bool {
        a.state == b.state && a.iss == b.iss && a.irs == b.irs && a.sendUnacknowledged == b.sendUnacknowledged
            && a.receiveNext == b.receiveNext && a.sendNext == b.sendNext && a.receiveWindow == b.receiveWindow
            && a.sendWindow == b.sendWindow && a.buffers?.send == b.buffers?.send
            && a.buffers?.receive == b.buffers?.receive
    }
}

/// A message from the daemon, decoded.
enum DaemonMessage {
    /// `ChitcpdResp`.
    struct Response {
        var result: Int32 = 0
        var error: Int32 = 0
        var variables: SocketVariables?
        var buffers: (send: [UInt8], receive: [UInt8])?
    }

    /// `ChitcpdDebugEventArgs`; sockets by the daemon's numbers.
    struct Event {
        var socket: Int32 = -1
        var flag: Int32 = 0
        var newSocket: Int32 = -1
        var isActive = false
    }

    case response(Response)
    case event(Event)

    /// The message in `bytes`; unknown fields are passed over.
    init(_ bytes: ArraySlice<UInt8>) throws(ProtobufReader.Malformed) {
        var code: Int32?
        var response: Response?
        var event: Event?
        var reader = ProtobufReader(bytes)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .integer(let number)): code = number
            case (13, .bytes(let inner)): response = try Response(inner)
            case (14, .bytes(let inner)): event = try Event(inner)
            default: break
            }
        }
        if code == MessageCode.response, let response {
            self = .response(response)
        } else if code == MessageCode.debugEvent, let event {
            self = .event(event)
        } else {
            throw ProtobufReader.Malformed()
        }
    }
}

extension DaemonMessage.Response {
    init(_ bytes: ArraySlice<UInt8>) throws(ProtobufReader.Malformed) {
        var reader = ProtobufReader(bytes)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .integer(let number)): result = number
            case (2, .integer(let number)): error = number
            case (5, .bytes(let inner)): variables = try SocketVariables(inner)
            case (6, .bytes(let inner)): buffers = try Self.bufferContents(inner)
            default: break
            }
        }
    }

    private static func bufferContents(
        _ bytes: ArraySlice<UInt8>
    ) throws(ProtobufReader.Malformed) -> (send: [UInt8], receive: [UInt8]) {
        var contents: (send: [UInt8], receive: [UInt8]) = ([], [])
        var reader = ProtobufReader(bytes)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let inner)): contents.send = Array(inner)
            case (2, .bytes(let inner)): contents.receive = Array(inner)
            default: break
            }
        }
        return contents
    }
}

extension DaemonMessage.Event {
    init(_ bytes: ArraySlice<UInt8>) throws(ProtobufReader.Malformed) {
        var reader = ProtobufReader(bytes)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .integer(let number)): socket = number
            case (2, .integer(let number)): flag = number
            case (3, .integer(let number)): newSocket = number
            case (4, .integer(let number)): isActive = number != 0
            default: break
            }
        }
    }
}

extension SocketVariables {
    /// `ChitcpdSocketState`: int32 fields that hold 32-bit patterns.
    init(_ bytes: ArraySlice<UInt8>) throws(ProtobufReader.Malformed) {
        self.init()
        var reader = ProtobufReader(bytes)
        while let (field, value) = try reader.next() {
            guard case .integer(let number) = value else { continue }
            let pattern = UInt32(bitPattern: number)
            switch field {
            case 1: state = number
            case 2: iss = pattern
            case 3: irs = pattern
            case 4: sendUnacknowledged = pattern
            case 5: receiveNext = pattern
            case 6: sendNext = pattern
            case 7: receiveWindow = pattern
            case 8: sendWindow = pattern
            default: break
            }
        }
    }
}
