// A capture while it runs: from the daemon's pipe to a file or to lines.
import CLinux
import Chisocket
import Glibc

/// Moves a capture's blocks to where they are wanted, until it ends.
final class CaptureSession {
    /// What was captured.
    struct Result: CustomStringConvertible {
        var segments = 0
        var missed: UInt64 = 0
        /// The stream's last blocks came: what was missed is known.
        var isWhole = false

        var description: String {
            let what = segments == 1 ? "1 segment" : "\(segments) segments"
            guard isWhole else { return "\(what); the daemon ended before it could say whether any are missing" }
            return missed == 0 ? what : "\(what); \(missed) more were missed, because the reader was too slow"
        }
    }

    private let capture: DaemonCapture
    private let output: Int32
    private let isText: Bool
    private let most: Int?
    private var reader = PcapngReader()
    private var lines: SegmentLines
    private var result = Result()
    private var isStopping = false

    init(capture: DaemonCapture, output: Int32, isText: Bool, isAbsolute: Bool, most: Int?) {
        self.capture = capture
        self.output = output
        self.isText = isText
        self.most = most
        lines = SegmentLines(isAbsolute: isAbsolute)
    }

    /// Runs to the end of the capture: Ctrl-C, the last segment that is wanted, the reader's end, or the daemon's.
    func run() throws -> Result {
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            var waiting = pollfd(fd: capture.descriptor, events: Int16(POLLIN), revents: 0)
            // Whoever stops is given the rest; a daemon that does not answer any more is not waited for.
            let ready = poll(&waiting, 1, isStopping ? 3000 : -1)
            if ready < 0, errno == EINTR { continue }
            if ready == 0 { break }
            let n = read(capture.descriptor, &buffer, buffer.count)
            if n < 0, errno == EINTR { continue }
            if n <= 0 { break }
            guard try handle(buffer[..<n]) else {
                // Nobody reads what we write any more.
                capture.stop()
                break
            }
        }
        result.missed = reader.interfaces.reduce(0) { $0 + $1.missed }
        // The daemon counts for every interface, at the end.
        result.isWhole = reader.interfaces.allSatisfy { $0.received > 0 }
        return result
    }

    /// False if the output has no reader any more.
    private func handle(_ bytes: ArraySlice<UInt8>) throws -> Bool {
        let blocks: [PcapngReader.Block]
        do { blocks = try reader.feed(bytes) } catch {
            throw CommandError("the daemon sends something else than pcapng: is it of another version?")
        }
        var out: [UInt8] = []
        for block in blocks {
            if case .packet(let packet, _) = block {
                guard !isStopping else { continue }
                result.segments += 1
                if isText {
                    out += Array((lines.line(for: packet, on: reader.interfaces[packet.interface].name) + "\n").utf8)
                }
            }
            if !isText { out += block.bytes }
            if let most, result.segments >= most, !isStopping {
                isStopping = true
                capture.stop()
            }
        }
        return try writeAll(out)
    }

    private func writeAll(_ bytes: [UInt8]) throws -> Bool {
        var done = 0
        while done < bytes.count {
            let n = bytes[done...].withUnsafeBytes { Glibc.write(output, $0.baseAddress, $0.count) }
            if n < 0 {
                if errno == EINTR { continue }
                if errno == EPIPE { return false }
                throw CommandError("cannot write the capture", errno: errno)
            }
            done += n
        }
        return true
    }
}
