// chiTCP's messages as debugging needs them: bytes that protobuf defines.
import Testing

@testable import Chisocket

@Suite("Messages for debugging")
struct DebugMessageTests {
    /// A message and its bytes.
    struct Example: Sendable {
        let bytes: [UInt8]
        let expected: [UInt8]
        init(_ bytes: [UInt8], _ expected: [UInt8]) { (self.bytes, self.expected) = (bytes, expected) }
    }

    @Test(
        "requests have the bytes protobuf gives them",
        arguments: [
            // code INIT, init_args { connection_type COMMAND_CONNECTION }
            Example(DaemonRequest.initialize, [0x08, 0, 0x12, 2, 0x08, 0]),
            // code INIT, init_args { DEBUG_CONNECTION, debug { sockfd 300, event_flags 9 } }
            Example(
                DaemonRequest.debug(300, events: 9),
                [0x08, 0, 0x12, 9, 0x08, 1, 0x12, 5, 0x08, 0xac, 0x02, 0x10, 9]),
            // code GET_SOCKET_STATE, get_socket_state_args { sockfd 3 }
            Example(DaemonRequest.socketState(of: 3), [0x08, 9, 0x5a, 2, 0x08, 3]),
            // code GET_SOCKET_BUFFER_CONTENTS, get_socket_buffer_contents_args { sockfd 3 }
            Example(DaemonRequest.bufferContents(of: 3), [0x08, 10, 0x62, 2, 0x08, 3]),
            // code WAIT_FOR_STATE, wait_for_state_args { sockfd 3, tcp_state 4 }
            Example(DaemonRequest.waitForState(4, of: 3), [0x08, 14, 0x7a, 4, 0x08, 3, 0x10, 4]),
            // code RESP, resp { ret 6, error_code 0 }
            Example(DaemonRequest.response(6), [0x08, 11, 0x6a, 4, 0x08, 6, 0x10, 0]),
            // A negative int32 has the ten bytes of its 64-bit pattern.
            Example(
                DaemonRequest.socketState(of: -2),
                [0x08, 9, 0x5a, 11, 0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ])
    func requests(example: Example) {
        #expect(example.bytes == example.expected)
    }

    @Test("a response with variables and buffers is read, whatever the order of its fields")
    func response() throws {
        // resp { ret 0, error_code 0, state { 4, iss 0xffffffff, 2, 3, 4, 5, 6, 7 }, contents { snd "ab", rcv "" } }
        let minusOne: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]
        let state = [0x08, 4, 0x10] + minusOne + [0x18, 2, 0x20, 3, 0x28, 4, 0x30, 5, 0x38, 6, 0x40, 7]
        let contents: [UInt8] = [0x0a, 2, 0x61, 0x62, 0x12, 0]
        let inner =
            [0x32, UInt8(contents.count)] + contents + [0x2a, UInt8(state.count)] + state + [0x10, 0, 0x08, 0]
        let bytes = [0x6a, UInt8(inner.count)] + inner + [0x08, 11]
        guard case .response(let response) = try DaemonMessage(bytes[...]) else {
            Issue.record("not a response")
            return
        }
        #expect(response.result == 0 && response.error == 0)
        var expected = SocketVariables()
        expected.state = 4
        expected.iss = 0xffff_ffff
        expected.irs = 2
        expected.sendUnacknowledged = 3
        expected.receiveNext = 4
        expected.sendNext = 5
        expected.receiveWindow = 6
        expected.sendWindow = 7
        #expect(response.variables == expected)
        #expect(response.buffers?.send == [0x61, 0x62])
        #expect(response.buffers?.receive == [])
    }

    @Test("a debug event is read, and fields that are not known are passed over")
    func event() throws {
        // debug_event_args { sockfd 2, event_flag 8, new_sockfd 5, is_active true }, and fields 20 (fixed64), 21 (fixed32)
        let inner: [UInt8] = [0x08, 2, 0x10, 8, 0x18, 5, 0x20, 1]
        let unknown: [UInt8] = [0xa1, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 0xad, 0x01, 1, 2, 3, 4]
        let bytes = [0x08, 13] + unknown + [0x72, UInt8(inner.count)] + inner
        guard case .event(let event) = try DaemonMessage(bytes[...]) else {
            Issue.record("not an event")
            return
        }
        #expect(event.socket == 2 && event.flag == 8 && event.newSocket == 5 && event.isActive)
    }

    @Test(
        "bytes that are no message are refused",
        arguments: [
            [], [0x08], [0x08, 11], [0x08, 11, 0x6a, 5, 0x08, 0], [0x08, 0xff, 0xff], [0x0b, 0x08],
            [0x08, 13, 0x6a, 0], [0x08, 11, 0x6a, 2, 0x12, 9],
            [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            [0x6a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] as [[UInt8]])
    func malformed(bytes: [UInt8]) {
        #expect(throws: ProtobufReader.Malformed.self) { try DaemonMessage(bytes[...]) }
    }

    @Test("no message, cut or changed anywhere, makes the reader fail otherwise than by its error")
    func fuzzed() {
        var seed: UInt64 = 9293
        let valid: [UInt8] = [0x08, 11, 0x6a, 12, 0x08, 0, 0x10, 0, 0x2a, 6, 0x08, 4, 0x10, 0x80, 0x80, 0x01]
        var refused = 0
        for _ in 0..<20_000 {
            var bytes = valid
            for _ in 0..<3 {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                bytes[Int(seed >> 33) % bytes.count] = UInt8(truncatingIfNeeded: seed >> 24)
            }
            bytes.removeLast(Int(seed >> 40) % 4)
            do { _ = try DaemonMessage(bytes[...]) } catch { refused += 1 }
        }
        #expect(refused > 0 && refused < 20_000)
    }
}
