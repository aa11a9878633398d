// `chitcp relay`: a bad wire between two TUN devices.
import ArgumentParser
import CLinux
import Glibc
import Impairments
import NetworkLayer

/// Forwards IP packets between two TUN devices, whoever uses them.
struct RelayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay", abstract: "A wire between two TUN devices that loses, delays, reorders and is slow.",
        discussion: """
            Whatever two kernels send each other through the devices meets the impairment, each way with its own chances. \
            NAME@NAMESPACE is a device in a network namespace. A device that does not exist is made, which needs \
            CAP_NET_ADMIN, and goes with the relay. Ctrl-C ends it and prints what it did.
            """)

    @Option(help: ArgumentHelp("A device; say two of them.", valueName: "name[@namespace]"))
    var tun: [String] = []
    @Option(
        help: ArgumentHelp(
            "What happens to packets, e.g. \"loss=1%,delay=20ms,rate=10mbit,seed=7\".", valueName: "words"))
    var impair = ""
    @Option(
        help: ArgumentHelp("What happens from the second device to the first, if not the same.", valueName: "words"))
    var back: String?
    @Option(
        help: ArgumentHelp("Mark packets (ECN) that find more than this in the queue, e.g. 30kB.", valueName: "size"))
    var mark: String?
    @Option(help: "The devices' MTU, in bytes.")
    var mtu = 1500

    func validate() throws {
        guard tun.count == 2 else { throw ValidationError("say two devices: --tun A --tun B") }
        for name in tun where PacketRelay.Place(name) == nil {
            throw ValidationError("--tun \(name): an interface's name (1 to 15 characters), or NAME@NAMESPACE")
        }
        guard tun[0] != tun[1] else { throw ValidationError("--tun \(tun[0]): a wire has two ends") }
        guard (576...65_535).contains(mtu) else { throw ValidationError("--mtu \(mtu): from 576 to 65535 bytes") }
        _ = try ways()
    }

    /// What happens there and back.
    private func ways() throws -> (Impairment, Impairment) {
        func way(_ option: String, _ words: String, seedPlus offset: UInt64) throws -> Impairment {
            var (configuration, seed) = (ImpairmentConfiguration(), UInt64(0))
            do throws(ImpairmentError) { (configuration, seed) = try ImpairmentConfiguration.parse(words) } catch {
                throw ValidationError("\(option) \(error)")
            }
            if let mark {
                guard configuration.rate > 0 else {
                    throw ValidationError("--mark goes with a rate, like \(option) rate=10mbit")
                }
                guard let size = Quantity.size(mark), (1...ImpairmentConfiguration.maximumQueue).contains(size) else {
                    throw ValidationError("--mark \(mark): a size like 30kB, at most 1GiB")
                }
                guard configuration.markThreshold == 0 else {
                    throw ValidationError("--mark and \(option) mark=: say one of them")
                }
                configuration.markThreshold = size
            }
            return Impairment(configuration, seed: seed &+ offset)
        }
        return (
            try way("--impair", impair, seedPlus: 0),
            try way(back == nil ? "--impair" : "--back", back ?? impair, seedPlus: 1)
        )
    }

    func run() throws {
        guard let first = PacketRelay.Place(tun[0]), let second = PacketRelay.Place(tun[1]) else {
            preconditionFailure("validate() has read them")
        }
        let stop = try StopDescriptor.make()
        let (there, back) = try ways()
        let relay: PacketRelay
        do throws(SystemError) {
            relay = try PacketRelay((first, second), mtu: mtu, there: there, back: back) { print("relay: \($0)") }
        } catch { throw CommandError("relay: \(error)") }
        print("\(first) > \(second): \(there.configuration)")
        print("\(second) > \(first): \(back.configuration)")
        print("Ctrl-C ends the relay.")
        fflush(nil)
        relay.run(until: stop)
        print("\(first) > \(second): \(describe(relay.counters.there))")
        print("\(second) > \(first): \(describe(relay.counters.back))")
    }
}

/// What a direction did, for people.
private func describe(_ c: PacketRelay.Counters) -> String {
    let counts: [(String, Int)] = [
        ("lost", c.impairment.lost), ("dropped by the queue", c.impairment.queueDropped),
        ("reordered", c.impairment.reordered), ("duplicated", c.impairment.duplicated),
        ("corrupted", c.impairment.corrupted), ("marked", c.marked), ("dropped for want of memory", c.overflowed),
        ("not taken by the device", c.notTaken),
    ]
    return
        (["\(c.impairment.packets) packets in, \(c.forwarded) out (\(c.bytes) bytes)"]
        + counts.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }).joined(separator: ", ")
}

/// A descriptor that becomes readable when SIGINT or SIGTERM comes.
enum StopDescriptor {
    nonisolated(unsafe) private static var descriptor: Int32 = -1

    /// Makes it; from then on these signals end nothing by themselves.
    static func make() throws -> Int32 {
        // Written once, before the handlers are installed.
        descriptor = clinux_eventfd()
        guard descriptor >= 0 else { throw CommandError("cannot make an event descriptor", errno: errno) }
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in
                var one: UInt64 = 1
                _ = write(StopDescriptor.descriptor, &one, 8)
            }
        }
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGINT, SIGTERM] { sigaddset(&signals, number) }
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        return descriptor
    }
}
