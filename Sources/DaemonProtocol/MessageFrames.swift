// How messages lie in the UNIX stream: an 8-byte length in host byte order, then the message.
import SwiftProtobuf

/// Why a stream is given up: after such bytes nobody knows where the next message begins.
public enum MessageFrameError: Error, Hashable, Sendable {
    /// The length says more than `MessageFrames.maximumSize`; the associated value is what it says.
    case tooLong(UInt64)
    /// The bytes are no `ChitcpdMsg`.
    case malformed
}

/// Takes messages out of a stream of bytes, and puts them into one.
public struct MessageFrames {
    /// The largest message in bytes, without its length: 1 MiB.
    public static let maximumSize = 1 << 20
    private static let lengthSize = 8

    private var bytes: [UInt8] = []
    private var start = 0

    /// An empty stream.
    public init() {}

    /// Bytes that are not part of a whole message yet.
    public var waiting: Int { bytes.count - start }

    /// Appends what was read.
    public mutating func append(_ more: UnsafeRawBufferPointer) {
        if start > 0 {
            bytes.removeFirst(start)
            start = 0
        }
        bytes.append(contentsOf: more)
    }

    /// Takes out the next whole message, or nil if it has not arrived completely. Required fields may be missing, and a code
    /// may be unknown: whoever acts on the message looks at what it needs.
    public mutating func next() throws(MessageFrameError) -> ChitcpdMsg? {
        guard waiting >= Self.lengthSize else { return nil }
        // Bounds: the eight bytes are there.
        let length = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: start, as: UInt64.self) }
        guard length <= Self.maximumSize else { throw .tooLong(length) }
        let end = start + Self.lengthSize + Int(length)
        guard bytes.count >= end else { return nil }
        let body = Array(bytes[(start + Self.lengthSize)..<end])
        let message: ChitcpdMsg
        do { message = try ChitcpdMsg(serializedBytes: body, partial: true) } catch { throw .malformed }
        start = end
        if start == bytes.count {
            bytes = []
            start = 0
        }
        return message
    }

    /// The message as it travels, with its length in front.
    public static func encode(_ message: ChitcpdMsg) -> [UInt8] {
        let body: [UInt8]
        do { body = try message.serializedBytes() } catch {
            preconditionFailure("a message of ours lacks a required field: \(error)")
        }
        var framed = [UInt8]()
        framed.reserveCapacity(lengthSize + body.count)
        withUnsafeBytes(of: UInt64(body.count)) { framed.append(contentsOf: $0) }
        framed.append(contentsOf: body)
        return framed
    }
}
