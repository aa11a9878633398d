// What a listening chisocket accepts, and what a connection receives, as sequences.
import Glibc

extension Chisocket {
    /// The connections of a listening chisocket, one after another as they are asked for: who waits in between waits in the
    /// daemon, at most `backlog` of them. Ends when the chisocket is closed or its daemon is gone.
    public var connections: Connections { Connections(listener: self) }

    /// What a connection receives, in pieces of at most `maximum` bytes, up to the end of the stream. What is not asked for
    /// stays where it is, and TCP's window holds the peer back.
    public func pieces(maximum: Int = 65_536) -> Pieces { Pieces(connection: self, maximum: maximum) }

    /// See `connections`.
    public struct Connections: Sequence, AsyncSequence, Sendable {
        let listener: Chisocket

        /// For loops that block.
        public func makeIterator() -> Iterator { Iterator(listener: listener) }

        /// For tasks.
        public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listener: listener) }

        /// Waits for each connection.
        public struct Iterator: IteratorProtocol {
            let listener: Chisocket

            /// The next connection; nil when the listener has ended.
            public mutating func next() -> Chisocket? {
                while true {
                    do throws(ChisocketError) { return try listener.accept() } catch {
                        guard error.concernsOneConnection else { return nil }
                    }
                }
            }
        }

        /// Awaits each connection.
        public struct AsyncIterator: AsyncIteratorProtocol {
            let listener: Chisocket

            /// The next connection; nil when the listener was closed. A cancelled task closes the listener and gets nil:
            /// whoever connects from then on is refused.
            /// - Throws: what ended the listener otherwise.
            public mutating func next() async throws -> Chisocket? {
                while true {
                    do { return try await listener.accept() } catch is CancellationError {
                        listener.close()
                        return nil
                    } catch let error as ChisocketError {
                        if error.concernsOneConnection { continue }
                        if error.errno == EBADF { return nil }
                        throw error
                    }
                }
            }
        }
    }

    /// See `pieces`.
    public struct Pieces: AsyncSequence, Sendable {
        let connection: Chisocket
        let maximum: Int

        /// For tasks.
        public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(connection: connection, maximum: maximum) }

        /// Awaits each piece.
        public struct AsyncIterator: AsyncIteratorProtocol {
            let connection: Chisocket
            let maximum: Int

            /// The next piece; nil at the end of the stream.
            public mutating func next() async throws -> [UInt8]? {
                let piece = try await connection.receive(maximum: maximum)
                return piece.isEmpty ? nil : piece
            }
        }
    }
}

extension ChisocketError {
    /// True if accept failed for the connection it took, which is lost, and not for the listener.
    package var concernsOneConnection: Bool {
        errno == ECONNABORTED || errno == EMFILE || errno == ENFILE
    }
}
