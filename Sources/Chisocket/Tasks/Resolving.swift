// Names of hosts for tasks: getaddrinfo(3) waits for name servers, on a thread of its own.
import Glibc

extension ChisocketAddress {
    /// The addresses getaddrinfo(3) finds for a host name or address, in its order; never empty. A cancelled task still waits
    /// for the answer.
    /// - Throws: `ChisocketError` with EHOSTUNREACH if there is none.
    public static func resolve(
        _ host: String, port: UInt16, family: Family? = nil
    ) async throws -> [ChisocketAddress] {
        if let literal = ChisocketAddress(host, port: port), family == nil || family == literal.family {
            return [literal]
        }
        return try await withCheckedThrowingContinuation { continuation in
            let question = Question {
                continuation.resume(
                    with: Result { () throws(ChisocketError) in try resolve(host, port: port, family: family) }
                        .mapError { $0 as any Error })
            }
            var thread = pthread_t()
            let argument = Unmanaged.passRetained(question)
            let code = pthread_create(
                &thread, nil,
                { argument in
                    guard let argument else { return nil }
                    Unmanaged<Question>.fromOpaque(argument).takeRetainedValue().ask()
                    return nil
                }, argument.toOpaque())
            guard code == 0 else {
                argument.release()
                continuation.resume(throwing: ChisocketError(errno: code, call: "resolve", context: host))
                return
            }
            pthread_detach(thread)
        }
    }

    private final class Question: Sendable {
        let ask: @Sendable () -> Void
        init(_ ask: @escaping @Sendable () -> Void) { self.ask = ask }
    }
}
