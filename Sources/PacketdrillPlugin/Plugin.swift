// The host under test: virtual time, the TCP, and the calls that wait for either.
import DequeModule
import Glibc
import SocketLayer
import Synchronization
import TCPEngine
import TCPSegments

/// Everything of one script. One lock guards it; `enter` takes it.
final class Plugin {
    let flags: PluginFlags
    let layer: SocketLayer
    let network: VirtualNetwork
    let descriptors = DescriptorTable()
    let sysctls: SettingsFile
    let log: PluginLog
    private let lock = PluginLock()
    private let threads = Threads()
    private var clock = VirtualClock()
    private var blocked: [BlockedCall] = []
    /// Steps in a row that took no time.
    private var standstill = 0
    /// A blocked call has ended since main last waited.
    private var callHasEnded = false
    /// What the next look at the clock says to a thread whose blocked call has ended: when that was.
    private var endOfCall: (thread: Int32, at: Instant)?

    /// How long a call that waits on main, or for a packet, lets time pass before it gives up.
    private static let patience = TimeInterval.seconds(60), packetPatience = TimeInterval.seconds(120)

    init(_ flags: PluginFlags) {
        self.flags = flags
        log = PluginLog(path: flags.logPath)
        sysctls = SettingsFile(path: SettingsFile.pathFromEnvironment)
        let host = Host(configuration: flags.hostConfiguration, seed: 1)
        layer = SocketLayer(host: host, maximumSockets: 4096)
        network = VirtualNetwork(flags)
        layer.links = network
        layer.bufferUse = .whole(sendHeadroom: flags.personality.sendHeadroom)
        network.layer = layer
        network.log = log
    }

    var now: Instant { clock.now }

    // MARK: Entering

    /// Runs `body` with the lock held. Nothing of it waits.
    func enter<R>(_ body: () -> R) -> R {
        let isMain = threads.isOnMain
        if isMain { threads.mainIsInside.add(1, ordering: .sequentiallyConsistent) }
        lock.lock()
        clock.somethingWasDone(onMain: isMain)
        let result = body()
        lock.unlock()
        if isMain { threads.mainIsInside.subtract(1, ordering: .sequentiallyConsistent) }
        return result
    }

    /// Makes a call that does not wait.
    func call(_ name: @autoclosure () -> String, _ body: () -> Outcome) -> Outcome {
        enter {
            sysctls.refresh(into: self)
            let outcome = body()
            settle()
            log.call(name(), outcome, at: now)
            return outcome
        }
    }

    /// Makes a call that may have to wait: on main time goes on until it need not; any other thread sleeps.
    func waitingCall(_ name: @autoclosure () -> String, _ make: () -> Result<WaitingCall, CallFailure>) -> Outcome {
        enter {
            sysctls.refresh(into: self)
            let outcome: Outcome
            switch make() {
            case .failure(let failure): outcome = .failure(failure.error)
            case .success(let call): outcome = perform(call, name)
            }
            settle()
            log.call(name(), outcome, at: now)
            return outcome
        }
    }

    private func perform(_ call: WaitingCall, _ name: () -> String) -> Outcome {
        if let outcome = call.attempt() { return outcome }
        // What the attempt did may be all it takes.
        settle()
        if let outcome = call.attempt() { return outcome }
        if let deadline = call.deadline, deadline.at <= now.nanoseconds { return deadline.outcome }
        log.note("\(name()) waits", at: now)
        return threads.isOnMain ? waitOnMain(call) : sleep(call)
    }

    /// Nobody else would let time pass while main waits.
    private func waitOnMain(_ call: WaitingCall) -> Outcome {
        let limit = max(now + Self.patience, Instant(nanoseconds: call.deadline?.at ?? 0))
        while true {
            let own = call.deadline.map { Instant(nanoseconds: $0.at) }
            guard let next = [own, nextDeadline].compactMap({ $0 }).min(), next <= limit else {
                return .failure(EDEADLK)
            }
            step(to: next)
            if let outcome = call.attempt() { return outcome }
            if let deadline = call.deadline, deadline.at <= now.nanoseconds { return deadline.outcome }
        }
    }

    private func sleep(_ call: WaitingCall) -> Outcome {
        threads.noteOther()
        let waiting = BlockedCall(call)
        blocked.append(waiting)
        // How often in a row main was found asleep: then it waits for this thread, and nobody lets time pass.
        var quiet = 0
        while true {
            if let ended = waiting.ended {
                endOfCall = (threads.other ?? 0, Instant(nanoseconds: ended.at))
                return ended.outcome
            }
            if lock.sleep(milliseconds: 10) { continue }
            quiet = threads.mainWaits ? quiet + 1 : 0
            guard quiet >= 5 else { continue }
            for _ in 0..<64 where waiting.ended == nil {
                guard let next = nextDeadline else { break }
                step(to: next)
            }
        }
    }

    // MARK: Time

    /// The earliest moment at which anything happens by itself.
    private var nextDeadline: Instant? {
        var next = layer.host.nextTimeout
        for waiting in blocked {
            guard let at = waiting.call.deadline?.at else { continue }
            next = min(next ?? Instant(nanoseconds: .max), Instant(nanoseconds: at))
        }
        return next
    }

    /// Lets time pass to `time`, which is no later than the next deadline, and does what is due then.
    private func step(to time: Instant) {
        // A deadline that is due and stays due must not stop the clock.
        standstill = time <= now ? standstill + 1 : 0
        clock.advance(to: standstill > 1000 ? now + .milliseconds(1) : time)
        layer.host.handleTimeout(at: now)
        settle()
    }

    /// Lets time pass up to `end`, deadline by deadline.
    private func advance(to end: Instant) {
        while let next = nextDeadline, next <= end { step(to: next) }
        clock.advance(to: end)
    }

    /// Takes everything that has come about: packets, events, room, and the outcomes of blocked calls.
    func settle() {
        var rounds = 0
        repeat {
            layer.run(at: now)
            descriptors.notice(at: now)
            rounds += 1
        } while retryBlocked() && rounds < 1000
    }

    /// True if a blocked call has ended: what it did may have consequences.
    private func retryBlocked() -> Bool {
        let ended = blocked.filter { $0.retry(at: now.nanoseconds) }
        guard !ended.isEmpty else { return false }
        blocked.removeAll { $0.ended != nil }
        callHasEnded = true
        lock.wakeAll()
        return true
    }

    // MARK: packetdrill's own calls

    /// gettimeofday(2) in microseconds.
    func time() -> Int64 {
        let isMain = threads.isOnMain
        if isMain { threads.mainIsInside.add(1, ordering: .sequentiallyConsistent) }
        lock.lock()
        defer {
            lock.unlock()
            if isMain { threads.mainIsInside.subtract(1, ordering: .sequentiallyConsistent) }
        }
        if !isMain, let end = endOfCall, end.thread == threads.other {
            endOfCall = nil
            return VirtualClock.microseconds(end.at)
        }
        if clock.isWatched(onMain: isMain) { advance(to: now + .microseconds(1)) }
        return VirtualClock.microseconds(now)
    }

    /// usleep(3). packetdrill wakes up 20 us before the time of its event and spins from there: those pass as well.
    func pass(microseconds: UInt32) {
        let isMain = threads.isOnMain
        // packetdrill is unlocked only here: the other thread can report what its call came to.
        if isMain, enter({ takeCallHasEnded() }) { threads.awaitOther() }
        enter { advance(to: now + .microseconds(Int64(microseconds) + 20)) }
        if isMain, enter({ takeCallHasEnded() }) { threads.awaitOther() }
    }

    private func takeCallHasEnded() -> Bool {
        defer { callHasEnded = false }
        return callHasEnded
    }

    /// A packet from the script.
    func inject(_ packet: UnsafeRawBufferPointer) {
        enter {
            sysctls.refresh(into: self)
            network.received(packet, at: now)
            settle()
        }
    }

    /// The next packet of ours; nil if none comes, however long one waits.
    func nextPacket() -> (bytes: [UInt8], microseconds: Int64)? {
        enter {
            let limit = now + Self.packetPatience
            while network.sent.isEmpty {
                guard let next = nextDeadline, next <= limit else { return nil }
                step(to: next)
            }
            return network.sent.popFirst().map { ($0.bytes, VirtualClock.microseconds($0.at)) }
        }
    }

    /// The script is over: nobody waits any more.
    func end() {
        enter { log.note("end", at: now) }
    }
}

/// Why a call cannot even be tried.
struct CallFailure: Error {
    let error: Int32
}
