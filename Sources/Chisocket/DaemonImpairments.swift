// What a daemon does to segments on their way: asked and told.
import ControlRecords
import Glibc

extension DaemonControl {
    /// From now on what `rule` says happens to its segments, while connections run. Only root and the daemon's user may.
    public static func impair(_ rule: chitcp_impairment, at daemon: DaemonPath = .standard) throws(ChisocketError) {
        var request = chitcp_request()
        request.operation = CHITCP_OP_IMPAIR.rawValue
        // Bounds: the header asserts that the record fits into data.
        withUnsafeMutableBytes(of: &request.data) { $0.storeBytes(of: rule, as: chitcp_impairment.self) }
        request.data_length = UInt32(MemoryLayout<chitcp_impairment>.size)
        _ = try answer(to: &request, of: daemon)
    }

    /// Removes impairments of the directions in `directions` (CHITCP_IMPAIR_OUT, CHITCP_IMPAIR_IN): all, or the one for `peer`.
    /// Returns how many there were.
    public static func clearImpairments(
        _ directions: Int32, peer: chitcp_address? = nil, at daemon: DaemonPath = .standard
    ) throws(ChisocketError) -> Int {
        var request = chitcp_request()
        request.operation = CHITCP_OP_IMPAIR_CLEAR.rawValue
        request.argument.0 = directions
        if let peer { request.address = peer }
        return Int(try answer(to: &request, of: daemon).result)
    }

    /// All impairments and what they did so far.
    public static func impairments(of daemon: DaemonPath = .standard) throws(ChisocketError)
        -> [chitcp_impairment_status]
    {
        var list: [chitcp_impairment_status] = []
        while true {
            var request = chitcp_request()
            request.operation = CHITCP_OP_IMPAIR_LIST.rawValue
            request.argument.0 = Int32(clamping: list.count)
            let response: chitcp_response
            do throws(ChisocketError) { response = try answer(to: &request, of: daemon) } catch {
                guard error.errno == ENOENT, !error.isDaemonMissing else { throw error }
                return list
            }
            guard response.data_length >= UInt32(MemoryLayout<chitcp_impairment_status>.size),
                list.count < Int32.max
            else { throw ChisocketError(errno: EPROTO, call: "impair") }
            list.append(
                withUnsafeBytes(of: response.data) { $0.loadUnaligned(as: chitcp_impairment_status.self) })
        }
    }

    private static func answer(
        to request: inout chitcp_request, of daemon: DaemonPath
    ) throws(ChisocketError) -> chitcp_response {
        let connection = try ThreadConnections.connection(to: daemon)
        let (response, received) = try connection.exchange(&request, name: "impair", isInterruptible: false)
        if received >= 0 { close(received) }
        guard response.result >= 0 else { throw ChisocketError(errno: response.error, call: "impair") }
        return response
    }
}
