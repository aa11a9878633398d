// What goes wrong in a subcommand, as a sentence for the person who typed it.
import Glibc

/// A failure that ends a subcommand with exit code 1 and this sentence on standard error.
public struct CommandError: Error, CustomStringConvertible {
    /// The sentence: what failed, with which value, and what to do.
    public let description: String

    /// A failure described by `sentence`.
    public init(_ sentence: String) { description = sentence }

    /// A failed system call: what was tried, and errno's text.
    public init(_ attempt: String, errno code: Int32) {
        description = "\(attempt): \(String(cString: strerror(code)))"
    }
}
