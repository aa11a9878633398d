// Reading and writing descriptors in full.
import Glibc

/// Writes all bytes; false if the other side has gone.
func writeAll(_ fd: Int32, _ bytes: UnsafeRawBufferPointer) -> Bool {
    var done = 0
    while done < bytes.count {
        let n = write(fd, bytes.baseAddress! + done, bytes.count - done)
        if n > 0 {
            done += n
        } else if n == 0 || errno != EINTR {
            return false
        }
    }
    return true
}

/// One read(2), repeated after a signal: the count, 0 at the end, negative with errno.
func readSome(_ fd: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Int {
    while true {
        let n = read(fd, buffer.baseAddress, buffer.count)
        if n >= 0 || errno != EINTR { return n }
    }
}

/// Fills all of `buffer`; false, with errno, if the stream ends or fails before that.
func readAll(_ fd: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Bool {
    var done = 0
    while done < buffer.count {
        let n = readSome(fd, UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
        if n == 0 { errno = ECONNRESET }
        guard n > 0 else { return false }
        done += n
    }
    return true
}

/// Copies until the end of `source`: the number of bytes, or nil if one side failed.
func copyAll(from source: Int32, to destination: Int32, buffer: UnsafeMutableRawBufferPointer) -> Int? {
    var total = 0
    while true {
        let n = readSome(source, buffer)
        if n == 0 { return total }
        guard n > 0, writeAll(destination, UnsafeRawBufferPointer(rebasing: buffer[..<n])) else { return nil }
        total += n
    }
}

/// Nanoseconds of the monotonic clock.
func monotonicNow() -> Int64 {
    var t = timespec()
    clock_gettime(CLOCK_MONOTONIC, &t)
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
}

/// Writes a line, or part of one, to standard error.
func note(_ text: String) {
    var copy = text
    _ = copy.withUTF8 { writeAll(2, UnsafeRawBufferPointer($0)) }
}

/// A line of progress on standard error that rewrites itself; silent unless standard error is a terminal.
struct Progress {
    private let shows = isatty(2) == 1
    private var next: Int64 = 0

    /// Shows `text` at most ten times a second.
    mutating func show(_ text: @autoclosure () -> String) {
        guard shows else { return }
        let now = monotonicNow()
        guard now >= next else { return }
        next = now + 100_000_000
        note("\r\u{1B}[K\(text())")
    }

    /// Removes the line.
    func clear() { if shows { note("\r\u{1B}[K") } }
}

/// `value` with `digits` digits after the point.
func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "-" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 1e18 else { return "\(value)" }
    let whole = UInt64(scaled)
    let unit = UInt64(scale)
    let sign = value < 0 && whole > 0 ? "-" : ""
    guard digits > 0 else { return sign + grouped(whole) }
    let fraction = String(whole % unit)
    return sign + grouped(whole / unit) + "." + String(repeating: "0", count: digits - fraction.count) + fraction
}

/// The number with a comma between groups of three digits.
func grouped(_ value: UInt64) -> String {
    var text = ""
    for (i, digit) in String(value).reversed().enumerated() {
        if i > 0 && i % 3 == 0 { text.append(",") }
        text.append(digit)
    }
    return String(text.reversed())
}

/// Removes a folder with its files; folders in it stay, and it with them.
func removeFolder(_ path: String) {
    guard let directory = opendir(path) else { return }
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { unlink("\(path)/\(name)") }
    }
    closedir(directory)
    rmdir(path)
}
