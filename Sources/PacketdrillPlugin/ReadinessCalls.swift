// poll and epoll.
import CPacketdrill
import Glibc
import TCPSegments

extension Plugin {
    /// The deadline of a timeout in milliseconds: negative waits for ever, 0 not at all.
    private func readinessDeadline(_ timeout: Int32) -> (at: Int64, outcome: Outcome)? {
        timeout < 0 ? nil : deadline(.milliseconds(Int64(timeout)), .success)
    }

    /// poll(2).
    func poll(
        _ entries: UnsafeMutablePointer<pollfd>?, _ count: nfds_t, _ timeout: Int32
    ) -> Result<WaitingCall, CallFailure> {
        guard count <= 65_536 else { return .failure(CallFailure(error: EINVAL)) }
        guard let entries = entries ?? (count == 0 ? UnsafeMutablePointer(bitPattern: 8) : nil) else {
            return .failure(CallFailure(error: EFAULT))
        }
        return .success(
            WaitingCall(deadline: readinessDeadline(timeout)) { [unowned self] in
                var found = 0
                for index in 0..<Int(count) {
                    let entry = entries[index]
                    var told: Int16 = 0
                    if entry.fd >= 0 {
                        if let descriptor = descriptors[entry.fd] {
                            let asked = UInt32(UInt16(bitPattern: entry.events)) | Readiness.error | Readiness.hangUp
                            told = Int16(truncatingIfNeeded: descriptor.readiness & asked)
                        } else {
                            told = Int16(POLLNVAL)
                        }
                    }
                    entries[index].revents = told
                    if told != 0 { found += 1 }
                }
                return found > 0 ? .value(found) : nil
            })
    }

    /// epoll_create(2).
    func createWatchSet(_ size: Int32) -> Outcome {
        guard size > 0 else { return .failure(EINVAL) }
        switch descriptors.add({ WatchSet(number: $0) }) {
        case .failure(let failure): return .failure(failure.error)
        case .success(let set): return .value(Int(set.number))
        }
    }

    /// epoll_ctl(2).
    func controlWatchSet(
        _ number: Int32, _ operation: Int32, _ target: Int32, _ event: UnsafeMutablePointer<epoll_event>?
    ) -> Outcome {
        guard let descriptor = descriptors[number], let watched = descriptors[target] else { return .failure(EBADF) }
        guard let set = descriptor as? WatchSet else { return .failure(EINVAL) }
        // EPOLL_CTL_DEL, 2, needs no event.
        guard let event else { return operation == 2 ? set.control(2, watched, events: 0, data: 0) : .failure(EFAULT) }
        return set.control(
            operation, watched, events: event.pointee.events, data: packetdrill_event_data(event))
    }

    /// epoll_wait(2).
    func waitForEvents(
        _ number: Int32, _ room: UnsafeMutablePointer<epoll_event>?, _ limit: Int32, _ timeout: Int32
    ) -> Result<WaitingCall, CallFailure> {
        guard let descriptor = descriptors[number] else { return .failure(CallFailure(error: EBADF)) }
        guard let set = descriptor as? WatchSet, limit > 0 else { return .failure(CallFailure(error: EINVAL)) }
        guard let room else { return .failure(CallFailure(error: EFAULT)) }
        return .success(
            WaitingCall(deadline: readinessDeadline(timeout)) {
                let taken = set.take(Int(limit))
                for (index, event) in taken.enumerated() {
                    packetdrill_set_event(room, Int32(index), event.events, event.data)
                }
                return taken.isEmpty ? nil : .value(taken.count)
            })
    }
}
